"""The table of finished runs."""

import io

import pytest
from rich.console import Console

from diffad_lib.metrics import tabled
from diffad_lib.runs.record import Record
from diffad_lib.runs.tables import cells, metrics_table


def record(category: str = "x" * 200, **metrics: dict) -> Record:
    return Record.model_validate(
        {
            "config": {"dataset": "custom", "category": category, "method": "draem"},
            "metrics": metrics,
            "seconds": {"train": 1.0, "total": 2.0},
        }
    )


def test_a_long_category_leaves_room_for_the_metrics() -> None:
    measured = {key: {"value": 0.75, "low": 0.7, "high": 0.8} for key in tabled()}
    text = io.StringIO()
    width = 40 + 10 * len(tabled())  # 80 for four metrics
    Console(file=text, width=width).print(metrics_table([record(**measured)]))
    assert tabled() and text.getvalue().count("0.750") == len(tabled())


def test_a_metric_that_is_missing_or_undefined_is_told_apart() -> None:
    row = cells(record(image_auroc={"value": None}, aupro={"value": 0.5}))
    shown = dict(zip(tabled(), row[2:-1], strict=True))
    assert (shown.pop("image_auroc"), shown.pop("aupro")) == ("undefined", "0.500")
    assert {*shown.values()} == {"–"}


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        *((name, name) for name in ("part[v2]", "[red]x", "[link=evil]p", ":smile:", "a\\")),
        ("\x1b[2Jp", r"\x1b[2Jp"),
        ("a\nb", r"a\nb"),
    ],
)
def test_a_category_is_shown_as_it_is_called(category: str, expected: str) -> None:
    text = io.StringIO()
    Console(file=text, width=100, force_terminal=True).print(metrics_table([record(category)]))
    assert f"{expected} " in text.getvalue()
    assert "\x1b]8" not in text.getvalue() and "\x1b[2J" not in text.getvalue()
