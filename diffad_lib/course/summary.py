"""The executed course as a web page."""

import html
import os
import urllib.parse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffad_lib.files import write_text
from diffad_lib.metrics import tabled
from diffad_lib.runs.record import Record
from diffad_lib.runs.tables import CAPTION, cells, headings

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .3rem .9rem; text-align: right; vertical-align: top }
th, td { border-bottom: 1px solid #bbb }
th:first-child, td:first-child { text-align: left }
td { white-space: pre-line }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem }
figure { margin: 0; border: 1px solid #bbb; padding: .5rem }
img { max-width: 100% }
pre { overflow-x: auto; background: #f3f3f3; padding: 1rem }
"""


@dataclass(frozen=True)
class JobResult:
    """What came of executing a notebook.

    error: empty, or one line; details: the cell that failed and its traceback.
    """

    title: str
    page: Path
    picture: str | None  # an address with the picture in it
    seconds: float
    record: Record | None
    error: str
    details: str


def write_summary(page: Path, outcomes: Sequence[JobResult]) -> None:
    """Write the page of a course: what ran, what failed and why, metrics, a picture of each."""
    parts = [
        "<h1>The course, executed</h1>",
        _html_table(
            ("notebook", "result", "time"), [_result(outcome, page) for outcome in outcomes]
        ),
    ]
    for outcome in outcomes:
        if outcome.error:
            text = html.escape(f"{outcome.error}\n\n{outcome.details}".strip())
            parts.append(f"<h2>{html.escape(outcome.title)} failed</h2><pre>{text}</pre>")
    records = [outcome.record for outcome in outcomes if outcome.record]
    if records:
        rows = [[html.escape(cell) for cell in cells(record)] for record in records]
        parts.append(f"<h2>Metrics</h2><p>{CAPTION}.</p>{_html_table(headings(), rows)}")
    figures = [
        f"<figure><figcaption>{_link(outcome, page)}</figcaption>"
        f"<img src='{html.escape(outcome.picture)}' alt=''></figure>"
        for outcome in outcomes
        if outcome.picture and not outcome.error
    ]
    parts.append(f"<h2>Pictures</h2><div class='pictures'>{''.join(figures)}</div>")
    write_text(
        page,
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>The course</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n",
    )


def _result(outcome: JobResult, page: Path) -> tuple[str, str, str]:
    result = "failed" if outcome.error else "ok"
    if outcome.record:
        name, title = next(iter(tabled().items()))
        metric = outcome.record.metric(name)
        result = f"{title} {metric.value:.3f}" if metric and metric.value is not None else result
    return _link(outcome, page), result, f"{outcome.seconds:.0f} s"


def _link(outcome: JobResult, page: Path) -> str:
    title = html.escape(outcome.title)
    if not outcome.page.exists():
        return title
    address = urllib.parse.quote(os.path.relpath(outcome.page, page.parent))
    return f"<a href='{html.escape(address)}'>{title}</a>"


def _html_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
