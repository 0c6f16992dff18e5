"""Finished runs as a table on the terminal."""

from collections.abc import Iterable, Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from diffad_lib.errors import shown
from diffad_lib.metrics import tabled
from diffad_lib.runs.record import Measured, Record

CAPTION = "Metrics, with 95 % bootstrap intervals over test images below them"
TIMES = "train, total s"


def metrics_table(records: Iterable[Record]) -> Table:
    """One row a run: metrics over their 95 % bootstrap intervals, training and total time."""
    table = Table(title=CAPTION, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("category", no_wrap=True, max_width=30)
    table.add_column("method", no_wrap=True)
    for heading in tabled().values():
        table.add_column(heading, justify="right", width=len("0.93–0.97"))
    table.add_column(TIMES, justify="right", width=7)
    for record in records:
        category, *rest = cells(record)
        # Not as a string, which rich would read as markup.
        table.add_row(*map(Text, (category.replace("/", "/\n"), *rest)))
    return table


def headings() -> tuple[str, ...]:
    """Headings of `cells`."""
    return ("category", "method", *tabled().values(), TIMES)


def cells(record: Record) -> list[str]:
    """Category, method, metrics with intervals, times."""
    config, seconds = record.config, record.seconds
    return [
        shown(f"{config.dataset}/{config.category}"),
        shown(config.method),
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
    table = Table(title="On defects drawn on held-out normal images", box=box.SIMPLE_HEAD)
    for heading in ("condition", *tabled().values()):
        table.add_column(heading)
    for condition, metrics in measured.items():
        table.add_row(condition, *(_with_interval(metrics.get(name)) for name in tabled()))
    return table
