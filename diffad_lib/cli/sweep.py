"""`diffad sweep`: many runs, and which of them are missing."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from diffad_lib.cli.options import (
    Budgets,
    Categories,
    Datasets,
    Limit,
    Methods,
    RunData,
    RunsDir,
    Seeds,
    SetOptions,
    Textures,
    Tflops,
    Variants,
)
from diffad_lib.cli.plan import print_costs
from diffad_lib.errors import DiffadError, shown

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
    dataset: Datasets,
    category: Categories,
    method: Methods,
    budget: Budgets = ["mini"],
    seed: Seeds = ["0"],
    data_root: RunData = None,
    textures: Textures = None,
    runs_dir: RunsDir = Path("runs"),
    variant: Variants = [],
    set_: SetOptions = [],
    max_train_seconds: Limit = None,
    profile: Profile = "local",
    jobs: JobCount = None,
    dry_run: DryRun = False,
    device_tflops: Tflops = None,
) -> None:
    """Every combination of datasets, categories, methods, budgets and seeds, through Snakemake."""
    from diffad_lib.mini import is_mini
    from diffad_lib.runs import sweep as sweeps
    from diffad_lib.runs.config import parse_overrides
    from diffad_lib.runs.data import MINI_LINE
    from diffad_lib.runs.matrix import ALL, LISTS, absent, matrix
    from diffad_lib.runs.sweep_page import write_sweep_page

    lists = dict(zip(LISTS, (dataset, category, method, budget, seed), strict=True))
    configs = matrix(
        lists, variant, parse_overrides(set_),
        data_root=data_root, textures=textures, runs_dir=runs_dir,
        max_train_seconds=max_train_seconds,
    )  # fmt: skip
    for line in absent(configs) if ALL in category else ():
        print(shown(f"note: {line}"))
    is_small = any(config.budget == "mini" for config in configs)
    if is_small and data_root is not None and not is_mini(data_root):
        print(f"note: {MINI_LINE}")
    standings = sweeps.standings(configs)
    if dry_run:
        Console().print(sweeps.plan_table(standings))
    print(sweeps.in_sum(standings))
    if dry_run:
        if missing := [one.config for one in standings if one.is_missing]:
            print_costs(missing, device_tflops)
        return
    outcomes = sweeps.sweep(configs, profile, jobs)
    page = write_sweep_page(sweeps.sweep_folder(runs_dir), outcomes)
    failed = [one for one in outcomes if one.error]
    for one in failed:
        print(shown(f"{sweeps.title(one.config)}: FAILED: {one.error}; log: {one.log}"))
    print(shown(f"the page with everything: {page}"))
    if failed:
        raise DiffadError(f"{len(failed)} of {len(outcomes)} runs failed; see the lines above")
