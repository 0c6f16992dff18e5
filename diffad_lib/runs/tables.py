"""Finished runs as a table on the terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from diffad_lib.errors import shown, shown_lines
from diffad_lib.metrics import tabled
from diffad_lib.runs.record import Measured, Record

CAPTION = "Metrics, with 95 % bootstrap intervals over test images below them"
TIMES = "train, total s"


def plain_table(title: str = "", **options: Any) -> Table:
    """A table without a frame; its title is no markup."""
    heading = Text(shown(title)) if title else None
    style: dict[str, Any] = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0), "show_edge": False}
    return Table(title=heading, **style, **options)


def add_row(table: Table, cells: Iterable[str]) -> None:
    """Cells as they are: names from files hold neither markup nor codes for the terminal."""
    table.add_row(*(Text(shown_lines(cell)) for cell in cells))


def metrics_table(records: Iterable[Record]) -> Table:
    """One row a run: metrics over their 95 % bootstrap intervals, training and total time."""
    table = plain_table(CAPTION)
    table.add_column("category", no_wrap=True, max_width=30)
    table.add_column("method", no_wrap=True)
    for heading in tabled().values():
        table.add_column(heading, justify="right", width=len("0.93–0.97"))
    table.add_column(TIMES, justify="right", width=7)
    for record in records:
        category, *rest = cells(record)
        add_row(table, (category.replace("/", "/\n"), *rest))
    return table


def headings() -> tuple[str, ...]:
    """Headings of `cells`."""
    return ("category", "method", *tabled().values(), TIMES)


def cells(record: Record) -> list[str]:
    """Category, method, metrics with intervals, times."""
    config, seconds = record.config, record.seconds
    return [
        shown(f"{config.dataset}/{config.category}"),
        config.method,
        *(_with_interval(record.metric(name)) for name in tabled()),
        f"{seconds.train:.0f}, {seconds.total:.0f}",
    ]


def _with_interval(metric: Measured | None) -> str:
    if metric is None:
        return "–"
    if metric.value is None:
        return "undefined"
    text = f"{metric.value:.3f}"
    if metric.low is not None and metric.high is not None:
        text += f"\n{metric.low:.2f}–{metric.high:.2f}"
    return text


def held_out_table(measured: Mapping[str, Mapping[str, Measured]]) -> Table:
    """One row a condition of `hold_out`: the metrics that tables show."""
    table = plain_table("On defects drawn on held-out normal images")
    for heading in ("condition", *tabled().values()):
        table.add_column(heading)
    for condition, metrics in measured.items():
        add_row(table, (condition, *(_with_interval(metrics.get(name)) for name in tabled())))
    return table
