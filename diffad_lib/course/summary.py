"""The executed course as a web page."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffad_lib.metrics import tabled
from diffad_lib.runs.html import html_table, link, write_page
from diffad_lib.runs.record import Record
from diffad_lib.runs.tables import CAPTION, cells, headings


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
        html_table(
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
        parts.append(f"<h2>Metrics</h2><p>{CAPTION}.</p>{html_table(headings(), rows)}")
    figures = [
        f"<figure><figcaption>{_link(outcome, page)}</figcaption>"
        f"<img src='{html.escape(outcome.picture)}' alt=''></figure>"
        for outcome in outcomes
        if outcome.picture and not outcome.error
    ]
    parts.append(f"<h2>Pictures</h2><div class='pictures'>{''.join(figures)}</div>")
    write_page(page, "The course", parts)


def _result(outcome: JobResult, page: Path) -> tuple[str, str, str]:
    result = "failed" if outcome.error else "ok"
    if outcome.record:
        name, title = next(iter(tabled().items()))
        metric = outcome.record.metric(name)
        result = f"{title} {metric.value:.3f}" if metric and metric.value is not None else result
    return _link(outcome, page), result, f"{outcome.seconds:.0f} s"


def _link(outcome: JobResult, page: Path) -> str:
    return link(outcome.title, outcome.page, page)
