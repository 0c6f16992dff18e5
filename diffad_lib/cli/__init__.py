"""The command line: `diffad run`, `plan`, `sweep`, `results`, `data`, and more. Thin."""

import contextlib
import io
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from diffad_lib.cli.options import (
    CategoryName,
    DataRoot,
    DatasetName,
    ForegroundMethod,
    MethodName,
    RunData,
    RunsDir,
    Seed,
    SetOptions,
    one_of,
)
from diffad_lib.cli.plan import plan
from diffad_lib.cli.predict import predict
from diffad_lib.cli.results import compare, results
from diffad_lib.cli.run import held_out, run
from diffad_lib.cli.sweep import sweep
from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.errors import DiffadError, lacks, shown, shown_lines

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Diffusion- and reconstruction-based visual anomaly detection.",
)
data_app = typer.Typer(no_args_is_help=True, help="Make, check and download data.")
app.add_typer(data_app, name="data")
convert_app = typer.Typer(no_args_is_help=True, help="Checkpoints of the official code.")
app.add_typer(convert_app, name="convert")
cache_app = typer.Typer(help="The folder of resized images: show it, or clear it.")
app.add_typer(cache_app, name="cache")

_DATASETS = one_of(key for key, dataset in CATALOG.items() if dataset.archives)

app.command()(run)
app.command()(predict)
app.command()(sweep)
app.command()(plan)
app.command("held-out")(held_out)


@app.command()
def foregrounds(
    dataset: DatasetName,
    category: CategoryName,
    to: Annotated[Path, typer.Option(help="Folder for the masks, such as DISthresh.")],
    method: ForegroundMethod = "auto",
    data_root: RunData = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Folder of masks to import.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Contact sheet of the masks.")] = None,
    seed: Seed = 0,
) -> None:
    """Make, or import, foreground masks of the training images, which a run then reads."""
    from diffad_lib.runs.foregrounds import Images, Source, write_foregrounds

    images = Images(dataset, category, data_root)
    found = write_foregrounds(images, Source(method, from_, seed), to, sheet)
    print("\n".join(map(shown, found.lines())))
    print(shown(f"masks: {to}; a run reads them with --set foreground_folder={to}"))


app.command()(results)
app.command()(compare)


@contextlib.contextmanager
def _course_packages() -> Iterator[None]:
    """Imports of the school: a headless installation lacks some of its packages."""
    try:
        yield
    except ImportError as error:
        raise lacks("the course", str(error.name), "course") from None


@app.command()
def course(runs_dir: RunsDir = Path("runs")) -> None:
    """Run every notebook on the mini data, and leave a page with results and pictures."""
    with _course_packages():
        from diffad_lib.course.headless import run_course

    run_course(runs_dir)


@app.command(context_settings={"ignore_unknown_options": True})
def lab(
    options: Annotated[
        list[str] | None, typer.Argument(help="Options of JupyterLab, such as --no-browser.")
    ] = None,
) -> None:
    """JupyterLab on your own copy of the notebooks, in the folder work."""
    with _course_packages():
        from diffad_lib.course.lab import open_lab

    open_lab(options or [])


@app.command()
def page(
    notebook: Annotated[Path, typer.Argument(help="An executed notebook.")],
    to: Annotated[Path | None, typer.Option(help="Default: beside it, as .html.")] = None,
) -> None:
    """Write a notebook as one web page that needs no network."""
    with _course_packages():
        from diffad_lib.course.pages import write_page

    to = to or notebook.with_suffix(".html")
    trusted = write_page(notebook, to)
    print(shown(f"page: {to}"))
    if not trusted:
        print("Jupyter does not trust the notebook, so the page has its text and pictures only;")
        print(shown(f"if you do: .venv/bin/jupyter trust {notebook}, then this command again"))


@data_app.command()
def mini(
    root: Annotated[Path | None, typer.Option(help="Where it goes. (default: data/mini)")] = None,
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
    dataset: Annotated[str, typer.Argument(help=_DATASETS)], data_root: DataRoot = Path("data")
) -> None:
    """Download and unpack a dataset, or use an archive that was put there by hand."""
    from diffad_lib.datasets.catalog import find_dataset
    from diffad_lib.datasets.download import download as download_dataset

    print(f"{dataset}: {download_dataset(find_dataset(dataset), data_root)}")


@data_app.command()
def verify(
    dataset: Annotated[str, typer.Argument(help=one_of(CATALOG))],
    data_root: DataRoot = Path("data"),
) -> None:
    """Count what is there against the catalog and name every file that is wrong."""
    from diffad_lib.datasets.verify import verify as verify_dataset

    report = verify_dataset(dataset, data_root)
    print("\n".join(map(shown, report.lines)))
    if not report.ok:
        raise typer.Exit(1)


@convert_app.command("import")
def import_official(
    files: Annotated[
        list[Path], typer.Argument(help="Official files, in their order in the README.")
    ],
    method: MethodName,
    to: Annotated[Path, typer.Option(help="Folder for the weights in our format.")],
    set_: SetOptions = [],
) -> None:
    """Official checkpoint files to a folder that `load_detector` reads."""
    from diffad_lib.convert import import_files
    from diffad_lib.runs.config import parse_overrides

    import_files(method, files, to, parse_overrides(set_))
    print(shown(f"{method}: {to}; evaluate it: diffad run … --budget paper --weights {to}"))
    print("resized as its code does: --variant code-resize --variant official-masks")


@convert_app.command("export")
def export_official(
    folder: Annotated[Path, typer.Argument(help="Run folder, or one that `import` made.")],
    files: Annotated[list[Path], typer.Argument(help="Official files to write.")],
) -> None:
    """Weights in our format to the files that the official code loads."""
    from diffad_lib.convert import export_files

    export_files(folder, files)
    print(", ".join(map(str, files)))


@cache_app.callback(invoke_without_command=True)
def show_cache(context: typer.Context) -> None:
    """Say where resized images are kept, how many files there are and how large they are."""
    from diffad_lib.datasets.cache import cache_folder, cache_size

    if context.invoked_subcommand is None:
        folder = cache_folder()
        count, size = cache_size(folder)
        print(f"{folder}: {count} files, {size / 1e6:.1f} MB")


@cache_app.command("clear")
def clear_cache() -> None:
    """Remove these files; what a run needs is made again."""
    from diffad_lib.datasets.cache import cache_folder, remove_unused

    folder = cache_folder()
    count, size = remove_unused(folder, seconds=0)
    print(f"{folder}: {count} files removed, {size / 1e6:.1f} MB")


def main() -> None:
    """Entry point: a DiffadError becomes one line on stderr and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # for names that a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    # As Ctrl-C does: kernels end and temporary folders go.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except DiffadError as error:
        print(f"error: {shown(error)}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        print(shown_lines(traceback.format_exc()), end="", file=sys.stderr)
        told = "This is an error of the program: please report it with the lines above."
        print(told, file=sys.stderr)
        sys.exit(70)
