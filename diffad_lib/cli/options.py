"""Options that several commands have."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, get_args

import typer

from diffad_lib.datasets.catalog import run_datasets
from diffad_lib.methods import method_names
from diffad_lib.settings import BudgetName
from diffad_lib.synthesis import FOREGROUND_METHODS


def one_of(names: Iterable[str]) -> str:
    """Names for a sentence: `a, b or c.`"""
    *most, last = names
    return f"{', '.join(most)} or {last}." if most else f"{last}."


DataRoot = Annotated[Path, typer.Option(help="Folder that holds one folder a dataset.")]
DatasetName = Annotated[str, typer.Option("--dataset", help=one_of(run_datasets()))]
CategoryName = Annotated[str, typer.Option(help="A folder of the dataset.")]
MethodName = Annotated[str, typer.Option("--method", help=one_of(method_names()))]
BudgetOption = Annotated[str, typer.Option("--budget", help=one_of(get_args(BudgetName)))]
Seed = Annotated[int, typer.Option(help="Seed of every random number.")]
_LIST = "A list with commas, or all; repeatable"
Datasets = Annotated[
    list[str], typer.Option("--dataset", help=f"{_LIST}: {one_of(run_datasets())}")
]
Categories = Annotated[list[str], typer.Option("--category", help=f"{_LIST}.")]
Methods = Annotated[list[str], typer.Option("--method", help=f"{_LIST}: {one_of(method_names())}")]
Budgets = Annotated[
    list[str], typer.Option("--budget", help=f"{_LIST}: {one_of(get_args(BudgetName))}")
]
Seeds = Annotated[list[str], typer.Option("--seed", help="Such as 0,1,2; repeatable.")]
RunData = Annotated[
    Path | None,
    typer.Option(help="Folder that holds one folder a dataset (default: the mini data)"),
]
Textures = Annotated[
    Path | None, typer.Option(help="Folder of texture images. (default: built-in textures)")
]
RunsDir = Annotated[Path, typer.Option(help="Where run folders go.")]
Variants = Annotated[list[str], typer.Option("--variant", help="A named departure; repeatable.")]
SetOptions = Annotated[
    list[str], typer.Option("--set", help="key=value of any setting; repeatable.")
]
Again = Annotated[bool, typer.Option("--again", help="Run anew; an old run is put aside.")]
Tflops = Annotated[
    float | None,
    typer.Option(
        "--device-tflops",
        min=0.001,
        help="TFLOP/s that another machine sustains in training, instead of a measurement here; "
        "44 on an A100 by the 16 hours a class that were reported, a guess.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Evaluate the detector in this folder as it is; train nothing."),
]
Devices = Annotated[int, typer.Option(help="GPUs, or CPU processes, of this machine that train.")]
Nodes = Annotated[int, typer.Option(help="Machines that train together, see docs/processes.md.")]
Limit = Annotated[float | None, typer.Option(help="Stop training after this many seconds.")]
ForegroundMethod = Annotated[str, typer.Option("--method", help=one_of(FOREGROUND_METHODS))]
