"""The record of accuracy against seconds of training, its table and its figure.

`python -m benchmarks.accuracy_page` makes what the READMEs show of notebooks/records/accuracy.json.
"""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.page import about_machine
from diffad_lib.course.shipped import shipped_rows
from diffad_lib.files import write_atomically, write_json, write_text
from diffad_lib.plots import LINE_COLOURS, new_figure, tidy
from diffad_lib.runs.facts import project_root
from tools.cards import between_marks

NAME = "accuracy"
METRICS = {"image_auroc": "image AUROC", "pixel_ap": "pixel AP", "aupro": "AUPRO"}
HEADERS = {  # what stands above the first columns, by README
    "README.md": ("data", "way", "px", "seeds", "steps"),
    "README.ko.md": ("데이터", "방법", "픽셀", "시드 수", "스텝"),
}


def write_accuracy(
    folder: Path, rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]
) -> None:
    """accuracy.json with all looks, accuracy.md with the table, accuracy.png.

    titles: of the methods of this project, by name.
    """
    rows = [{**row, "way": titles.get(row["way"], row["way"])} for row in rows]
    write_json(folder / f"{NAME}.json", {"rows": rows})
    write_text(folder / f"{NAME}.md", told(rows, HEADERS["README.md"]) + "\n")
    write_atomically(folder / f"{NAME}.png", draw(rows).savefig)


def readmes(rows: Sequence[Mapping[str, Any]], root: Path) -> dict[Path, str]:
    """Each README with the table of the rows in its place."""
    found = {}
    for name, header in HEADERS.items():
        text = (root / name).read_text(encoding="utf-8")
        found[root / name] = between_marks(text, "results", told(rows, header), name)
    return found


def told(rows: Sequence[Mapping[str, Any]], header: Sequence[str]) -> str:
    """The machines and the table."""
    machines = dict.fromkeys(about_machine(row["machine"]) for row in rows)
    return "\n".join([*machines, "", *table(rows, header)])


def table(rows: Sequence[Mapping[str, Any]], header: Sequence[str]) -> list[str]:
    """Markdown: of each category and way the last look, medians and ranges over the seeds."""
    columns = *header, *METRICS.values()
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (dataset, category, way), same in _cells(rows).items():
        last = [row["looks"][-1] for row in same]
        cells = [f"{dataset} {category}", way, str(same[0]["pixels"]), str(len(same))]
        cells.append(_range([one["steps"] for one in last], "{:,.0f}"))
        cells += [_range([one["metrics"][key] for one in last], "{:.3f}") for key in METRICS]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cells(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], list]:
    found: dict[tuple[str, str, str], list] = {}
    for row in rows:
        found.setdefault((row["dataset"], row["category"], row["way"]), []).append(row)
    return dict(sorted(found.items(), key=lambda cell: cell[0][:2]))


def _range(values: Sequence[float], form: str) -> str:
    """Median, lowest and highest."""
    middle, low, high = (form.format(f(values)) for f in (statistics.median, min, max))
    return middle if len(values) == 1 else f"{middle} ({low} to {high})"


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A column for each category, a row for each metric; thin lines: seeds, thick: their mean."""
    categories = list(dict.fromkeys((row["dataset"], row["category"]) for row in rows))
    ways = list(dict.fromkeys(row["way"] for row in rows))
    figure = new_figure(3 * len(categories) + 1.5, 2.3 * len(METRICS))
    axes = figure.subplots(len(METRICS), len(categories), squeeze=False, sharex=True, sharey="row")
    for (dataset, category, way), same in _cells(rows).items():
        colour = LINE_COLOURS[ways.index(way) % len(LINE_COLOURS)]
        column = categories.index((dataset, category))
        for axis, key in zip(axes[:, column], METRICS, strict=True):
            lines = [
                [(look["seconds"], look["metrics"][key]) for look in row["looks"]] for row in same
            ]
            for line in lines:
                axis.plot(*zip(*line, strict=True), color=colour, linewidth=0.7, alpha=0.5)
            means = [
                tuple(statistics.fmean(part) for part in zip(*points, strict=True))
                for points in zip(*lines, strict=True)
            ]
            axis.plot(*zip(*means, strict=True), color=colour, linewidth=2, label=way)
    for axis, (dataset, category) in zip(axes[0], categories, strict=True):
        axis.set_title(f"{dataset} {category}")
    for axis, name in zip(axes[:, 0], METRICS.values(), strict=True):
        axis.set_ylabel(name)
    for axis in axes[-1]:
        seconds = sorted({look["due"] for row in rows for look in row["looks"]})
        axis.set(xscale="log", xlabel="seconds of training")
        axis.set_xticks(seconds, [f"{one:g}" for one in seconds])
        axis.minorticks_off()
    tidy(axes[0, -1], loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def main() -> None:
    rows, root = shipped_rows(NAME), project_root()
    for path, text in readmes(rows, root).items():
        write_text(path, text)
    write_atomically(root / "docs" / "images" / f"{NAME}.png", draw(rows).savefig)


if __name__ == "__main__":
    main()
