"""Tables of finished runs."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.table import Table

_METRICS = {
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
}


def metrics_table(records: Iterable[dict[str, Any]]) -> Table:
    """One row a run: metrics over their 95 % bootstrap intervals, training and total time."""
    table = Table(
        title="Metrics, with 95 % bootstrap intervals over test images below them",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    table.add_column("category", no_wrap=True)
    table.add_column("method", no_wrap=True)
    for heading in _METRICS.values():
        table.add_column(heading, justify="right", width=len("0.93–0.97"))
    table.add_column("train, total s", justify="right", width=7)
    for record in records:
        config = record["config"]
        table.add_row(
            f"{config['dataset']}/\n{config['category']}",
            config["method"],
            *(_with_interval(record["metrics"][name]) for name in _METRICS),
            f"{record['seconds']['train']:.0f}, {record['seconds']['total']:.0f}",
        )
    return table


def _with_interval(metric: dict[str, float | None]) -> str:
    if metric["value"] is None:
        return "undefined"
    text = f"{metric['value']:.3f}"
    if metric["low"] is not None:
        text += f"\n{metric['low']:.2f}–{metric['high']:.2f}"
    return text
