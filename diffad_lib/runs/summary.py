"""Tables of finished runs."""

from collections.abc import Iterable
from typing import Any

from rich.table import Table

_METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro")


def metrics_table(records: Iterable[dict[str, Any]]) -> Table:
    """One row a run: metrics with 95 % bootstrap intervals, training time and total time."""
    table = Table(title="Metrics with 95 % bootstrap intervals over test images")
    for heading in ("dataset", "category", "method", "budget"):
        table.add_column(heading)
    for heading in (*_METRICS, "train s", "total s"):
        table.add_column(heading.replace("_", " "), justify="right")
    for record in records:
        config = record["config"]
        table.add_row(
            *(str(config[key]) for key in ("dataset", "category", "method", "budget")),
            *(_with_interval(record["metrics"][name]) for name in _METRICS),
            f"{record['seconds']['train']:.0f}",
            f"{record['seconds']['total']:.0f}",
        )
    return table


def _with_interval(metric: dict[str, float | None]) -> str:
    if metric["value"] is None:
        return "undefined"
    text = f"{metric['value']:.3f}"
    if metric["low"] is not None:
        text += f"\n[{metric['low']:.2f}, {metric['high']:.2f}]".replace("[", "\\[")
    return text
