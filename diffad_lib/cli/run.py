"""`diffad run` and `diffad held-out`: one training of one method on one category."""

from pathlib import Path

from rich.console import Console

from diffad_lib.cli.options import (
    Again,
    BudgetOption,
    CategoryName,
    DatasetName,
    Devices,
    Limit,
    MethodName,
    Nodes,
    RunData,
    RunsDir,
    Seed,
    SetOptions,
    Textures,
    Variants,
    Weights,
)
from diffad_lib.errors import shown


def run(
    dataset: DatasetName,
    category: CategoryName,
    method: MethodName,
    budget: BudgetOption = "mini",
    seed: Seed = 0,
    data_root: RunData = None,
    textures: Textures = None,
    runs_dir: RunsDir = Path("runs"),
    variant: Variants = [],
    set_: SetOptions = [],
    max_train_seconds: Limit = None,
    weights: Weights = None,
    devices: Devices = 1,
    num_nodes: Nodes = 1,
    again: Again = False,
) -> None:
    """Train and evaluate one method on one category, through notebook 08."""
    from diffad_lib.runs.config import build_config, parse_overrides
    from diffad_lib.runs.launch import node_rank
    from diffad_lib.runs.notebook import join
    from diffad_lib.runs.notebook import run as run_notebook
    from diffad_lib.runs.tables import metrics_table

    config = build_config(
        dataset, category, method, budget, variant, parse_overrides(set_),
        seed=seed, data_root=data_root, textures=textures, runs_dir=runs_dir,
        max_train_seconds=max_train_seconds, weights=weights,
        devices=devices, num_nodes=num_nodes,
    )  # fmt: skip
    if node_rank(config.training):
        return join(config, again)
    record = run_notebook(config, again=again)
    Console().print(metrics_table([record]))
    print(shown(f"run folder: {config.run_folder}"))


def held_out(
    dataset: DatasetName,
    category: CategoryName,
    method: MethodName,
    budget: BudgetOption = "laptop",
    seed: Seed = 0,
    data_root: RunData = None,
    textures: Textures = None,
    runs_dir: RunsDir = Path("runs"),
    variant: Variants = [],
    set_: SetOptions = [],
    max_train_seconds: Limit = None,
) -> None:
    """Measure a recipe on defects drawn on held-out normal images; no test set takes part."""
    from diffad_lib.runs.config import build_config, parse_overrides
    from diffad_lib.runs.held_out import held_out_path, hold_out
    from diffad_lib.runs.tables import held_out_table

    config = build_config(
        dataset, category, method, budget, variant, parse_overrides(set_),
        seed=seed, data_root=data_root, textures=textures, runs_dir=runs_dir,
        max_train_seconds=max_train_seconds,
    )  # fmt: skip
    Console().print(held_out_table(hold_out(config).metrics))
    print(shown(f"record: {held_out_path(config)}"))
