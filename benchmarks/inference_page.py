"""The record of what inference takes, its table and its figure."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.inference import Calls, Row
from benchmarks.measure import OURS
from benchmarks.page import about_machine
from diffad_lib.files import write_atomically, write_json, write_text
from diffad_lib.plots import BLACK, LINE_COLOURS, new_figure, tidy

NAME = "inference"
MARKERS = "os^Dv"


def write_inference(
    folder: Path,
    found: Mapping[str, Any],
    rows: Sequence[Row],
    absent: Sequence[str],
    most: Mapping[str, float],
) -> None:
    """inference.json with every single time, inference.md with the table, inference.png.

    found: facts of the machine; most: FLOP of a matrix product in a CPU second, by precision.
    """
    record = {
        "machine": dict(found),
        "matrix_product_flop_per_cpu_second": dict(most),
        NAME: [asdict(one) for one in rows],
        "absent": list(absent),
    }
    write_json(folder / f"{NAME}.json", record)
    lines = [about(found, most), "", *table(rows), *(f"- {told}" for told in absent)]
    write_text(folder / f"{NAME}.md", "\n".join(lines) + "\n")
    write_atomically(folder / f"{NAME}.png", draw(rows).savefig)


def about(found: Mapping[str, Any], most: Mapping[str, float]) -> str:
    """One line on the machine and what it can reach."""
    reached = ", ".join(f"{one / 1e9:.0f} in {name}" for name, one in most.items())
    return (
        f"{about_machine(found)}; a large matrix product reaches, in GFLOP a CPU second: {reached}"
    )


def table(rows: Sequence[Row]) -> list[str]:
    """A table in Markdown: a row for each network at each size, its precisions side by side."""
    precisions = list(dict.fromkeys(one.precision for one in rows))
    both = " / ".join(precisions)
    head = ["network", "px", "GFLOP an image"]
    head += [f"one image, ms, {one}" for one in precisions]
    speeds = "batch: images a second (a CPU second)"
    head += [f"{what}, {both}" for what in ("its CPU ms", speeds, "GFLOP a CPU second")]
    lines = [_line(head), _line(["---"] * len(head))]
    for same in _by_network(rows):
        first = same[0]
        cells = [first.name, str(first.pixels), _number(first.flop / 1e9)]
        cells += [_latency(one.one) for one in same]
        cells.append(_side(same, lambda one: 1000 * statistics.median(one.one.cpu_seconds)))
        speeds = _side(same, lambda one: one.images_per_second)
        speeds += f" ({_side(same, lambda one: one.images_per_cpu_second)})"
        cells.append(f"{first.batch.images}: {speeds}")
        cells.append(_side(same, lambda one: one.flop * one.images_per_cpu_second / 1e9))
        lines.append(_line(cells))
    return lines


def _by_network(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row.name, row.pixels), []).append(row)
    return list(found.values())


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latency(calls: Calls) -> str:
    """Median, lowest and highest."""
    each = [1000 * one for one in calls.seconds]
    return f"{_number(statistics.median(each))} ({_number(min(each))} to {_number(max(each))})"


def _side(rows: Sequence[Row], of: Callable[[Row], float]) -> str:
    return " / ".join(_number(of(one)) for one in rows)


def _number(value: float) -> str:
    """Two digits, or the whole number."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def draw(rows: Sequence[Row]) -> Figure:
    """Images in a CPU second against the size: a line for each network and precision."""
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    methods = list(dict.fromkeys(row.method for row in rows))
    networks = list(dict.fromkeys(row.network for row in rows))
    for name, network, precision in dict.fromkeys(_line_of(row) for row in rows):
        points = [row for row in rows if _line_of(row) == (name, network, precision)]
        points.sort(key=lambda row: row.pixels)
        axes.plot(
            [row.pixels for row in points],
            [row.images_per_cpu_second for row in points],
            color=LINE_COLOURS[methods.index(name) % len(LINE_COLOURS)],
            marker=MARKERS[networks.index(network) % len(MARKERS)],
            linestyle="-" if precision == OURS else "--",
            markerfacecolor=None if precision == OURS else "white",
            label=f"{name}, {network}" if precision == OURS else None,
        )
    sizes = sorted({row.pixels for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="side of the images, pixels")
    axes.set_ylabel("images in a second of CPU time")
    axes.set_xticks(sizes, [str(one) for one in sizes])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    handles, _ = axes.get_legend_handles_labels()
    if any(row.precision != OURS for row in rows):
        handles.append(
            Line2D([], [], color=BLACK, marker="o", markerfacecolor="white", linestyle="--",
                   label="dashed, empty: bf16")
        )  # fmt: skip
    tidy(axes, handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3)
    return figure


def _line_of(row: Row) -> tuple[str, str, str]:
    return row.method, row.network, row.precision
