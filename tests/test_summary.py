"""The table of finished runs."""

import io

from rich.console import Console

from diffad_lib.course.summary import metrics_table


def test_a_long_category_leaves_room_for_the_metrics() -> None:
    names = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")
    record = {
        "config": {"dataset": "custom", "category": "x" * 200, "method": "draem"},
        "metrics": {name: {"value": 0.75, "low": 0.7, "high": 0.8} for name in names},
        "seconds": {"train": 1.0, "total": 2.0},
    }
    text = io.StringIO()
    Console(file=text, width=80).print(metrics_table([record]))
    assert text.getvalue().count("0.750") == 4
