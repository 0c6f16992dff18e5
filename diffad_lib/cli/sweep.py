"""`diffad sweep`: many runs, and which of them are missing."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console

from diffad_lib.cli.options import (
    Limit,
    RunData,
    RunsDir,
    SetOptions,
    Textures,
    Tflops,
    Variants,
    one_of,
)
from diffad_lib.datasets.catalog import run_datasets
from diffad_lib.errors import DiffadError, shown
from diffad_lib.methods import method_names
from diffad_lib.settings import BudgetName

if TYPE_CHECKING:
    from diffad_lib.runs.config import RunConfig

SweptDatasets = Annotated[
    list[str],
    typer.Option("--dataset", help=f"all, or of {one_of(run_datasets())} Lists: with commas."),
]
SweptCategories = Annotated[
    list[str], typer.Option("--category", help="all, or folders of the datasets; a list.")
]
SweptMethods = Annotated[
    list[str], typer.Option("--method", help=f"all, or of {one_of(method_names())} A list.")
]
SweptBudgets = Annotated[
    list[str], typer.Option("--budget", help=f"all, or of {one_of(get_args(BudgetName))} A list.")
]
SweptSeeds = Annotated[list[str], typer.Option("--seed", help="Seeds; a list such as 0,1,2.")]
Profile = Annotated[
    str, typer.Option(help="local, slurm, or a folder with a profile of Snakemake.")
]
JobCount = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Runs at a time. (default: the GPUs, or up to 4 on a CPU)"),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only say which runs are missing, and what they cost.")
]


def sweep(
    dataset: SweptDatasets,
    category: SweptCategories,
    method: SweptMethods,
    budget: SweptBudgets = ["mini"],  # noqa: B006 - typer copies it
    seed: SweptSeeds = ["0"],  # noqa: B006
    data_root: RunData = None,
    textures: Textures = None,
    runs_dir: RunsDir = Path("runs"),
    variant: Variants = None,
    set_: SetOptions = None,
    max_train_seconds: Limit = None,
    profile: Profile = "local",
    jobs: JobCount = None,
    dry_run: DryRun = False,
    device_tflops: Tflops = None,
) -> None:
    """Every combination of datasets, categories, methods, budgets and seeds, through Snakemake."""
    from diffad_lib.runs import sweep as sweeps
    from diffad_lib.runs.config import parse_overrides
    from diffad_lib.runs.matrix import ALL, LISTS, absent, matrix
    from diffad_lib.runs.sweep_page import write_sweep_page

    lists = dict(zip(LISTS, (dataset, category, method, budget, seed), strict=True))
    configs = matrix(
        lists, variant or (), parse_overrides(set_ or ()),
        data_root=data_root, textures=textures, runs_dir=runs_dir,
        max_train_seconds=max_train_seconds,
    )  # fmt: skip
    for line in absent(configs) if ALL in category else ():
        print(shown(f"note: {line}"))
    standings = [sweeps.standing(config) for config in configs]
    if dry_run:
        Console().print(sweeps.plan_table(standings))
        _print_costs(
            [one.config for one in standings if one.state in (sweeps.NEW, sweeps.GOES_ON)],
            device_tflops,
        )
    print(sweeps.in_sum(standings))
    if dry_run:
        return
    outcomes = sweeps.sweep(configs, profile, jobs)
    page = write_sweep_page(sweeps.sweep_folder(runs_dir), outcomes)
    failed = [one for one in outcomes if one.error]
    for one in failed:
        print(shown(f"{sweeps.title(one.config)}: FAILED: {one.error}; log: {one.log}"))
    print(shown(f"the page with everything: {page}"))
    if failed:
        raise DiffadError(f"{len(failed)} of {len(outcomes)} runs failed; see the lines above")


def _print_costs(configs: "Sequence[RunConfig]", device_tflops: float | None) -> None:
    """What the runs cost from their beginning, as `diffad plan` tells it."""
    from diffad_lib.runs.forecast import forecast
    from diffad_lib.runs.forecast_tables import shown_forecasts
    from diffad_lib.runs.speed import by_rate, probe

    measure = partial(by_rate, tflops=device_tflops) if device_tflops else probe
    for part in shown_forecasts(forecast(configs, measure)) if configs else ():
        Console().print(part, soft_wrap=isinstance(part, str), highlight=False, markup=False)
