"""The commands on many records: `diffad results` and `diffad compare`. Thin."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from diffad_lib.cli.options import one_of
from diffad_lib.errors import DiffadError, nearest, shown
from diffad_lib.metrics import METRICS


def results(
    runs_dirs: Annotated[
        list[Path], typer.Argument(metavar="RUNS_DIR...", help="Folders that hold run folders.")
    ],
    metric: Annotated[str, typer.Option(help=one_of(METRICS))] = next(iter(METRICS)),
    to: Annotated[
        Path | None, typer.Option(help="Folder for tables, numbers and figures of all metrics.")
    ] = None,
) -> None:
    """Published figures, reruns of others and ours, by category and in the mean."""
    from diffad_lib.runs.gather import gather
    from diffad_lib.runs.results import results_frame
    from diffad_lib.runs.results_tables import HOW, counts, sheets, terminal_table

    if metric not in METRICS:
        raise DiffadError(f'--metric "{metric}" is not known; {nearest(metric, METRICS)}')
    gathered = gather(runs_dirs)
    if gathered.runs:
        frame = results_frame(gathered.runs)
        for sheet in sheets(frame, metric):
            Console().print(terminal_table(sheet))
            print("\n".join(map(shown, sheet.footnotes)))
        print("\n".join(map(shown, [HOW, *counts(frame), *gathered.notes])))
        if to is not None:
            from diffad_lib.runs.results_figures import write_figures
            from diffad_lib.runs.results_tables import write_results

            write_results(to, frame, gathered)
            write_figures(to, frame, gathered.runs)
            print(shown(f"tables, numbers and figures: {to}"))
    if gathered.left_out:
        raise DiffadError(f"left out: {'; left out: '.join(gathered.left_out)}")


def compare(
    a: Annotated[Path, typer.Argument(help="Folder of the runs of a method, one for each seed.")],
    b: Annotated[Path, typer.Argument(help="The same of the other method or setting.")],
) -> None:
    """Is the difference between two settings real, beyond test images and seeds?"""
    from diffad_lib.runs.compare import compare_folders
    from diffad_lib.runs.results_tables import comparison_lines, comparison_table

    found = compare_folders(a, b)
    Console().print(comparison_table(found))
    print("\n".join(map(shown, comparison_lines(found))))
