"""`diffad predict`: the detector of a run on new pictures."""

from pathlib import Path
from typing import Annotated

import typer

from diffad_lib.errors import DiffadError, shown


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    pictures: Annotated[Path, typer.Argument(help="Folder of pictures, with its sub-folders.")],
    to: Annotated[Path, typer.Option(help="Folder for scores.csv, and for the maps.")],
    good: Annotated[
        Path | None,
        typer.Option(help="Folder of good pictures for the threshold; no training images."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Share of the good pictures that may lie above the threshold (0.02)."),
    ] = None,
    maps: Annotated[bool, typer.Option("--maps", help="Also a heat map on each picture.")] = False,
) -> None:
    """Score new pictures with a trained detector; good ones give a threshold."""
    from diffad_lib.runs.inspection import check_place, inspect, write_inspection

    if rate is not None and good is None:
        raise DiffadError("--rate is the share of the pictures in --good; give both or none")
    check_place(to, run, pictures, *([good] if good else []))
    found = inspect(run, pictures, good, 0.02 if rate is None else rate)
    write_inspection(found, to, maps)
    print("\n".join(map(shown, found.lines())))
    print(shown(f"scores: {to / 'scores.csv'}"))
    if maps:
        print(shown(f"maps: {to / 'maps'}, brightest from {found.map_end:.6g}"))
