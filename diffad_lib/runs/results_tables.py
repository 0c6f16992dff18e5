"""A frame of results as tables of text: for the terminal, as Markdown, and as CSV."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from diffad_lib.errors import shown, shown_lines
from diffad_lib.files import write_text
from diffad_lib.metrics import METRICS, tabled
from diffad_lib.runs.compare import Comparison, verdict
from diffad_lib.runs.gather import Gathered
from diffad_lib.runs.published import published
from diffad_lib.runs.results import Told, seeds_of_cells
from diffad_lib.runs.tables import add_row, plain_table

EMPTY = "–"
HOW = (
    "Ours: mean over seeds; the lowest and the highest seed (how many); t: 95 % interval of the "
    "mean over other seeds, by Student's t; i: 95 % bootstrap interval over other test images."
)


@dataclass(frozen=True)
class Sheet:
    """A table of one collection and one metric; a cell may have several lines."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footnotes: tuple[str, ...]


def sheets(frame: pd.DataFrame, metric: str) -> list[Sheet]:
    """A table for each collection: a row a category, then the means; columns by method."""
    of_metric = frame[frame["metric"] == metric]
    return [
        _sheet(f"{name}: {METRICS[metric].title}", part)
        for name, part in of_metric.groupby("collection", sort=False)
    ]


def _sheet(title: str, part: pd.DataFrame) -> Sheet:
    keys: list[str] = []  # of the sources that are cited, in the order of their first mention
    columns: dict[str, list[str]] = {}
    several = part["dataset"].where(~part["is_mean"]).nunique() > 1
    for method, of_method in part.groupby("method", sort=False):
        of_cell = [cell for _, cell in of_method.groupby("setting", sort=False)]
        for name in ("published", "reruns"):
            if any(of_cell[0][name]):
                columns[f"{method}, {name}"] = [_told(told, keys) for told in of_cell[0][name]]
        for cell in of_cell:
            heading = f"{method}, ours ({cell['setting'].iloc[0]})"
            columns[heading] = [_ours(row) for row in cell.to_dict("records")]
    first = part.drop_duplicates(["dataset", "category"])
    names = [
        f"{row['dataset']}/{row['category']}" if several and row["dataset"] else row["category"]
        for row in first.to_dict("records")
    ]
    rows = tuple(zip(names, *columns.values(), strict=True))
    return Sheet(title, ("category", *columns), rows, tuple(published().footnotes(keys)))


def _told(told: Told, keys: list[str]) -> str:
    keys += [key for _, key in told if key not in keys]
    return "\n".join(f"{value:.3f} [{keys.index(key) + 1}]" for value, key in told) or EMPTY


def _ours(row: dict[str, float]) -> str:
    if math.isnan(row["value"]):
        return EMPTY
    by_seed = [value for _, value in row["by_seed"]]  # type: ignore[attr-defined]
    lines = [f"{row['value']:.3f}"]
    if len(by_seed) == 1:
        lines.append("(1 seed)")
    elif by_seed:
        lines.append(f"{min(by_seed):.3f}–{max(by_seed):.3f} ({len(by_seed)})")
    for mark, low, high in (("t", "seeds_low", "seeds_high"), ("i", "images_low", "images_high")):
        if not math.isnan(row[low]):
            lines.append(f"{mark} {max(row[low], 0):.3f}–{min(row[high], 1):.3f}")
    return "\n".join(lines)


def counts(frame: pd.DataFrame) -> list[str]:
    """How many cells are empty, and how many runs the others have."""
    seeds = seeds_of_cells(frame)
    of_seeds = seeds[seeds > 0].value_counts().sort_index(ascending=False)
    filled = ", ".join(f"with {number} seeds: {count}" for number, count in of_seeds.items())
    return [f"cells (category × method): {len(seeds)}, of which empty: {sum(seeds == 0)}; {filled}"]


def terminal_table(sheet: Sheet) -> Table:
    """For the terminal; names from records are shown as they are, not as markup."""
    table = plain_table(sheet.title)
    for heading in sheet.headings:
        table.add_column(Text(shown(heading)), overflow="fold")
    for row in sheet.rows:
        add_row(table, row)
    return table


def markdown(sheet: Sheet) -> str:
    """A heading, the table, the footnotes."""
    rows = [sheet.headings, ("---",) * len(sheet.headings), *sheet.rows]
    lines = ["| " + " | ".join(_in_markdown(cell) for cell in row) + " |" for row in rows]
    notes = [f"\n{note}" for note in sheet.footnotes]
    return "\n".join([f"## {_in_markdown(sheet.title)}\n", *lines, *notes]) + "\n"


def _in_markdown(cell: str) -> str:
    plain = shown_lines(cell)
    for mark, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", "<br>")):
        plain = plain.replace(mark, safe)
    return plain


def csv(frame: pd.DataFrame) -> str:
    """Every number in one row a cell and metric; an empty field where nothing is known."""
    flat = frame.drop(columns="is_mean").copy()
    for name in ("published", "reruns"):
        flat[name] = ["; ".join(f"{value:.6f} {key}" for value, key in told) for told in flat[name]]
    flat["by_seed"] = [
        "; ".join(f"{seed}: {value:.6f}" for seed, value in values) for values in flat["by_seed"]
    ]
    return flat.to_csv(index=False, float_format="%.6f", lineterminator="\n")


def write_results(folder: Path, frame: pd.DataFrame, gathered: Gathered) -> None:
    """`results.csv` and `results.md` in a folder, which is made."""
    parts = [markdown(sheet) for metric in tabled() for sheet in sheets(frame, metric)]
    told: Sequence[str] = [HOW, *counts(frame), *gathered.notes]
    text = "# Results\n\n" + "\n\n".join(map(_in_markdown, told)) + "\n\n" + "\n".join(parts)
    write_text(folder / "results.md", text)
    write_text(folder / "results.csv", csv(frame))


def comparison_table(found: Comparison) -> Table:
    """A row a metric: both means, their difference, and its three intervals."""
    (a, b), seeds = found.names, found.seeds
    title = f"{found.category}: A = {a} (seeds: {seeds[0]}), B = {b} (seeds: {seeds[1]})"
    table = plain_table(title)
    for heading in ("metric", "A", "B", "A − B", "other test images", "other seeds", "both"):
        table.add_column(heading, overflow="fold")
    for one in found.metrics:
        told = one.difference
        ends = [
            EMPTY if interval is None else f"{interval[0]:+.3f}\n{interval[1]:+.3f}"
            for interval in (told.images, told.seeds, told.both)
        ]
        values = f"{one.a:.3f}", f"{one.b:.3f}", f"{told.value:+.3f}"
        add_row(table, (METRICS[one.metric].title, *values, *ends))
    return table


def comparison_lines(found: Comparison) -> list[str]:
    """A line a metric that says whether the difference is real, then the notes."""
    lines = [f"{METRICS[one.metric].title}: {verdict(one)}" for one in found.metrics]
    unpaired = [METRICS[one.metric].title for one in found.metrics if not one.is_paired]
    if unpaired:
        told = "a record holds no maps, so its interval over test images is wider than a paired one"
        lines.append(f"{', '.join(unpaired)}: {told}")
    return [*lines, *found.notes]
