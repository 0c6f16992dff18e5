"""The record of the measured times, its table and its figure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.measure import OURS, Times
from diffad_lib.files import write_atomically, write_json, write_text
from diffad_lib.plots import new_figure


def table_lines(results: Sequence[Times]) -> list[str]:
    """A table in Markdown: a row for each way of each work."""
    lines = ["| work | way | seconds | lowest to highest | times as fast as ours in fp32 |"]
    lines.append("|---|---|---|---|---|")
    for found in results:
        for way, seconds in found.seconds.items():
            each = [one / found.units for one in seconds]
            ratio = "" if way == OURS or OURS not in found.seconds else _ratio(found, way)
            lines.append(
                f"| {found.work} | {way} | {found.median(way):.4g} s/{found.unit} | "
                f"{min(each):.4g} to {max(each):.4g} | {ratio} |"
            )
        lines += [f"| {found.work} | {told} | | | |" for told in found.absent]
    return lines


def _ratio(found: Times, way: str) -> str:
    ratios = found.ratios(OURS, way)
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def about_machine(found: Mapping[str, Any]) -> str:
    """What times depend on most, in a line; found: `machine.machine`."""
    card = f"{found['name']}; " if "name" in found else ""  # of a GPU
    return f"{card}{found['processor']}, threads: {found['threads']}, PyTorch {found['torch']}"


def write_results(folder: Path, found: dict[str, Any], results: Sequence[Times]) -> None:
    """results.json with every single time, results.md with the table, results.png."""
    record = {"machine": found, "works": [asdict(one) for one in results]}
    write_json(folder / "results.json", record)
    lines = [about_machine(found), "", *table_lines(results)]
    write_text(folder / "results.md", "\n".join(lines) + "\n")
    write_atomically(folder / "results.png", draw(results).savefig)


def draw(results: Sequence[Times]) -> Figure:
    """Every ratio of a pair as a point: how much longer another way takes than ours in fp32."""
    rows = [
        (f"{found.work}: {way}", found.ratios(way, OURS))
        for found in results
        for way in found.seconds
        if way != OURS and OURS in found.seconds
    ]
    figure = new_figure(8, 1 + 0.35 * len(rows))
    axes = figure.subplots()
    for height, (_, ratios) in enumerate(rows):
        axes.plot(ratios, [height] * len(ratios), "o", alpha=0.5)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="time ÷ time of this project in fp32, pair by pair")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    return figure
