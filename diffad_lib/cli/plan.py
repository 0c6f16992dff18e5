"""`diffad plan`: what runs cost, before they start."""

from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console

from diffad_lib.cli.options import SetOptions, Tflops, Variants, one_of
from diffad_lib.datasets.catalog import run_datasets
from diffad_lib.methods import method_names
from diffad_lib.settings import BudgetName

_MANY = "A list with commas, or all; repeatable"
Datasets = Annotated[
    list[str], typer.Option("--dataset", help=f"{_MANY}: {one_of(run_datasets())}")
]
Categories = Annotated[list[str], typer.Option("--category", help=f"{_MANY}.")]
Methods = Annotated[list[str], typer.Option("--method", help=f"{_MANY}: {one_of(method_names())}")]
Budgets = Annotated[
    list[str] | None,
    typer.Option("--budget", help=f"{_MANY}: {one_of(get_args(BudgetName))} (default: paper)"),
]
Seeds = Annotated[
    list[str] | None, typer.Option("--seed", help="Such as 0,1,2; repeatable. (default: 0)")
]
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
    budget: Budgets = None,
    seed: Seeds = None,
    data_root: Counted = None,
    variant: Variants = None,
    set_: SetOptions = None,
    device_tflops: Tflops = None,
    device_gb: Gigabytes = None,
    to: To = None,
) -> None:
    """Tell what runs cost before they start: steps, FLOP, memory, hours, disk."""
    from diffad_lib.files import write_text
    from diffad_lib.runs.config import parse_overrides
    from diffad_lib.runs.forecast import forecast
    from diffad_lib.runs.forecast_tables import as_json, shown_forecasts
    from diffad_lib.runs.matrix import LISTS, matrix
    from diffad_lib.runs.speed import by_rate, probe

    given = dataset, category, method, budget or ["paper"], seed or ["0"]
    lists = dict(zip(LISTS, given, strict=True))
    overrides = parse_overrides(set_ or ())
    jobs = matrix(lists, variant or (), overrides, is_planned=True, data_root=data_root)
    measure = partial(by_rate, tflops=device_tflops) if device_tflops else probe
    forecasts = forecast(jobs, measure)
    for part in shown_forecasts(forecasts, device_gb):
        Console().print(part, soft_wrap=isinstance(part, str), highlight=False, markup=False)
    if to is not None:
        write_text(to, as_json(forecasts))
