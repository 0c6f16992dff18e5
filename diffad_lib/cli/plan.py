"""`diffad plan`: what runs cost, before they start."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from diffad_lib.cli.options import (
    Budgets,
    Categories,
    Datasets,
    Methods,
    Seeds,
    SetOptions,
    Tflops,
    Variants,
)

if TYPE_CHECKING:
    from diffad_lib.runs.config import RunConfig
    from diffad_lib.runs.forecast import Forecast

Counted = Annotated[
    Path | None, typer.Option(help="Count images there. (default: the official numbers)")
]
Gigabytes = Annotated[
    float | None, typer.Option(min=0.1, help="Memory of the device. (default: all common sizes)")
]
To = Annotated[Path | None, typer.Option(help="Also write the figures there, as JSON.")]


def plan(
    dataset: Datasets,
    category: Categories,
    method: Methods,
    budget: Budgets = ["paper"],
    seed: Seeds = ["0"],
    data_root: Counted = None,
    variant: Variants = [],
    set_: SetOptions = [],
    device_tflops: Tflops = None,
    device_gb: Gigabytes = None,
    to: To = None,
) -> None:
    """Tell what runs cost before they start: steps, FLOP, memory, hours, disk."""
    from diffad_lib.files import write_json
    from diffad_lib.runs.config import parse_overrides
    from diffad_lib.runs.forecast_tables import figures
    from diffad_lib.runs.matrix import LISTS, matrix

    lists = dict(zip(LISTS, (dataset, category, method, budget, seed), strict=True))
    overrides = parse_overrides(set_)
    jobs = matrix(lists, variant, overrides, is_planned=True, data_root=data_root)
    forecasts = print_costs(jobs, device_tflops, device_gb)
    if to is not None:
        write_json(to, [figures(one) for one in forecasts])


def print_costs(
    configs: "Sequence[RunConfig]", device_tflops: float | None, device_gb: float | None = None
) -> "list[Forecast]":
    """What runs cost from their beginning; by a measurement here without a rate."""
    from diffad_lib.runs.forecast import forecast
    from diffad_lib.runs.forecast_tables import shown_forecasts
    from diffad_lib.runs.speed import by_rate, probe

    forecasts = forecast(
        configs, partial(by_rate, tflops=device_tflops) if device_tflops else probe
    )
    for part in shown_forecasts(forecasts, device_gb):
        Console().print(part, soft_wrap=isinstance(part, str), highlight=False, markup=False)
    return forecasts
