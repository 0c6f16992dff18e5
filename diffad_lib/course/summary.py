"""Finished runs as a table on the terminal, and the course as a web page."""

import html
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from diffad_lib.files import write_text
from diffad_lib.runs.record import METRICS

_CAPTION = "Metrics, with 95 % bootstrap intervals over test images below them"
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
class Outcome:
    """What came of executing a notebook.

    error: empty, or one line; details: the cell that failed and its traceback.
    """

    title: str
    page: Path
    picture: str | None  # an address with the picture in it
    seconds: float
    record: dict[str, Any] | None
    error: str
    details: str


def metrics_table(records: Iterable[dict[str, Any]]) -> Table:
    """One row a run: metrics over their 95 % bootstrap intervals, training and total time."""
    table = Table(title=_CAPTION, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("category", no_wrap=True, max_width=30)
    table.add_column("method", no_wrap=True)
    for heading in METRICS.values():
        table.add_column(heading, justify="right", width=len("0.93–0.97"))
    table.add_column("train, total s", justify="right", width=7)
    for record in records:
        category, *rest = _row(record)
        table.add_row(category.replace("/", "/\n"), *rest)
    return table


def write_summary(page: Path, outcomes: Sequence[Outcome]) -> None:
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
        rows = [[html.escape(cell) for cell in _row(record)] for record in records]
        headings = ("category", "method", *METRICS.values(), "train, total s")
        parts.append(f"<h2>Metrics</h2><p>{_CAPTION}.</p>{_html_table(headings, rows)}")
    figures = [
        f"<figure><figcaption>{_link(outcome, page)}</figcaption>"
        f"<img src='{outcome.picture}' alt=''></figure>"
        for outcome in outcomes
        if outcome.picture and not outcome.error
    ]
    parts.append(f"<h2>Pictures</h2><div class='pictures'>{''.join(figures)}</div>")
    write_text(
        page,
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'><title>The course</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n",
    )


def _row(record: dict[str, Any]) -> list[str]:
    config, seconds = record["config"], record["seconds"]
    return [
        f"{config['dataset']}/{config['category']}",
        config["method"],
        *(_with_interval(record["metrics"][name]) for name in METRICS),
        f"{seconds['train']:.0f}, {seconds['total']:.0f}",
    ]


def _with_interval(metric: dict[str, float | None]) -> str:
    if metric["value"] is None:
        return "undefined"
    text = f"{metric['value']:.3f}"
    if metric["low"] is not None:
        text += f"\n{metric['low']:.2f}–{metric['high']:.2f}"
    return text


def _result(outcome: Outcome, page: Path) -> tuple[str, str, str]:
    result = "failed" if outcome.error else "ok"
    if outcome.record:
        result = f"image AUROC {outcome.record['metrics']['image_auroc']['value']:.3f}"
    return _link(outcome, page), result, f"{outcome.seconds:.0f} s"


def _link(outcome: Outcome, page: Path) -> str:
    title = html.escape(outcome.title)
    if not outcome.page.exists():
        return title
    return f"<a href='{os.path.relpath(outcome.page, page.parent)}'>{title}</a>"


def _html_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
