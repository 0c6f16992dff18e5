"""The command line: `diffad run`, `diffad data ...`, `diffad course`. Thin; the library does."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from diffad_lib.errors import DiffadError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Diffusion- and reconstruction-based visual anomaly detection.",
)
data_app = typer.Typer(no_args_is_help=True, help="Make, check and download data.")
app.add_typer(data_app, name="data")

DataRoot = Annotated[Path, typer.Option(help="Folder that holds mvtec/, visa/, dagm/, ...")]


@app.command()
def run(
    dataset: Annotated[str, typer.Option(help="mvtec, visa, dagm, mpdd or custom.")],
    category: Annotated[str, typer.Option(help="For example bottle.")],
    method: Annotated[str, typer.Option(help="autoencoder, draem or diffusionad.")],
    budget: Annotated[str, typer.Option(help="mini, laptop or paper.")] = "mini",
    seed: Annotated[int, typer.Option(help="Seed of every random number.")] = 0,
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder that holds mvtec/, visa/, ...  [default: the mini data]"),
    ] = None,
    textures: Annotated[
        Path | None,
        typer.Option(help="Folder of texture images, such as DTD.  [default: built-in textures]"),
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Where run folders go.")] = Path("runs"),
    variant: Annotated[
        list[str] | None, typer.Option(help="A named departure; repeatable.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of any setting; repeatable.")
    ] = None,
    max_train_seconds: Annotated[
        float | None, typer.Option(help="Stop training after this many seconds.")
    ] = None,
) -> None:
    """Train and evaluate one method on one category, through notebook 08."""
    from diffad_lib.course.summary import metrics_table
    from diffad_lib.runs.config import build_config, parse_overrides
    from diffad_lib.runs.notebook import run as run_notebook

    config = build_config(
        dataset,
        category,
        method,
        budget,
        variants=variant or (),
        overrides=parse_overrides(set_ or ()),
        seed=seed,
        data_root=data_root,
        textures=textures,
        runs_dir=runs_dir,
        max_train_seconds=max_train_seconds,
    )
    record = run_notebook(config)
    Console().print(metrics_table([record]))
    print(f"run folder: {config.run_folder}")


@app.command()
def course(
    runs_dir: Annotated[Path, typer.Option(help="Where run folders go.")] = Path("runs"),
) -> None:
    """Run every notebook on the mini data, and leave a page with results and pictures."""
    from diffad_lib.course.headless import run_course

    run_course(runs_dir)


@data_app.command()
def mini(
    root: Annotated[Path | None, typer.Option(help="Where it goes.  [default: data/mini]")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every picture.")] = 0,
) -> None:
    """Make the procedural mini data in the four official layouts."""
    from diffad_lib.mini import make_mini
    from diffad_lib.runs.data import MINI_ROOT

    root = root or MINI_ROOT
    make_mini(root, seed)
    print(f"mini data: {root}")


@data_app.command()
def download(
    dataset: Annotated[str, typer.Argument(help="mvtec, visa, dagm, mpdd or dtd.")],
    data_root: DataRoot = Path("data"),
) -> None:
    """Download and unpack a dataset, or use an archive that was put there by hand."""
    from diffad_lib.datasets.catalog import dataset_info
    from diffad_lib.datasets.download import download as download_dataset

    print(f"{dataset}: {download_dataset(dataset_info(dataset), data_root)}")


@data_app.command()
def verify(
    dataset: Annotated[str, typer.Argument(help="mvtec, visa, dagm, mpdd or dtd.")],
    data_root: DataRoot = Path("data"),
) -> None:
    """Count what is there against the catalog and name every file that is wrong."""
    from diffad_lib.datasets.verify import verify as verify_dataset

    report = verify_dataset(dataset, data_root)
    print("\n".join(report.lines))
    if not report.ok:
        raise typer.Exit(1)


def main() -> None:
    """Entry point: a DiffadError becomes one line on stderr and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # for names that a terminal cannot show
    try:
        app()
    except DiffadError as error:
        print(f"error: {' '.join(str(error).splitlines())}", file=sys.stderr)  # names may have \n
        sys.exit(1)
