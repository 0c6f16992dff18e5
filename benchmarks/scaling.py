"""How times grow with the image, the batch, the width, the threads, and the number of test images.

python -m benchmarks --scaling
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.measure import Action, Times, Work, in_turn
from benchmarks.page import about_machine
from benchmarks.works import SMALL, How, Size, ours_training
from diffad_lib.files import write_atomically, write_json, write_text
from diffad_lib.methods.method import find_method
from diffad_lib.metrics import compute_metrics
from diffad_lib.plots import BLUE, VERMILION, new_figure, tidy
from diffad_lib.runs.facts import peak_memory

BASE = Size(image=64, width=16, head_width=16, batch=4)
MAP_SIDE = 256


@dataclass(frozen=True)
class Axis:
    """What is varied, and all else as in BASE."""

    name: str
    unit: str
    values: Sequence[int]
    changed: Callable[[int], Size]


AXES = (
    Axis("image size", "pixels a side", (64, 128, 256), lambda side: replace(BASE, image=side)),
    Axis("batch", "images a step", (1, 2, 4, 8, 16), lambda count: replace(BASE, batch=count)),
    Axis(
        "width", "channels of the first level", (8, 16, 32, 64),
        lambda width: replace(BASE, width=width, head_width=width),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """Seconds of a call at each value of what is varied."""

    axis: str
    unit: str
    times: Times

    @property
    def what(self) -> str:
        """Of one call, such as "DRAEM training step"."""
        return self.times.work

    def points(self) -> list[tuple[int, float]]:
        """Values and medians of their seconds."""
        return [(int(way), self.times.median(way)) for way in self.times.seconds]

    def power(self) -> float:
        """p, where from the last value but one to the last the time grows as value^p."""
        (low, before), (high, after) = self.points()[-2:]
        return math.log(after / before) / math.log(high / low)


def curves(
    rounds: int, axes: Sequence[Axis] = AXES, maps: Sequence[int] = (125, 500, 2000)
) -> Iterator[Curve]:
    """Metrics first, so that the highest memory of the process is theirs."""
    work = Work("all metrics", "call", 1, {str(count): partial(_metrics, count) for count in maps})
    yield Curve("test images", f"maps of {MAP_SIDE} px", in_turn(work, rounds))
    for method in SMALL:
        what = f"{find_method(method).title} training step"
        for axis in axes:
            yield _curve(axis.name, axis.unit, what, rounds, {
                value: partial(ours_training, method, axis.changed(value), How())
                for value in axis.values
            })  # fmt: skip
        threads = range(1, (os.cpu_count() or 1) + 1)
        if len(threads) > 1:
            ways = {count: partial(_with_threads, count, method) for count in threads}
            yield _curve("threads", "of the CPU", what, rounds, ways)


def _curve(
    axis: str, unit: str, what: str, rounds: int, makers: Mapping[int, Callable[[], Action]]
) -> Curve:
    work = Work(what, "call", 1, {str(value): make for value, make in makers.items()})
    return Curve(axis, unit, in_turn(work, rounds))


def _with_threads(count: int, method: str) -> Action:
    step, before = ours_training(method, BASE, How()), torch.get_num_threads()

    def run() -> None:
        torch.set_num_threads(count)
        step()
        torch.set_num_threads(before)

    return run


def _metrics(count: int) -> Action:
    """Every metric, with intervals, of noise; every second map has a region with higher scores."""
    rng = np.random.default_rng(0)
    maps = rng.random((count, MAP_SIDE, MAP_SIDE), np.float32)
    masks = np.zeros(maps.shape, np.uint16)
    masks[::2, 60:100, 80:120] = 1
    for one, mask in zip(maps, masks, strict=True):
        one[mask > 0] += 0.3
    labels = np.arange(count) % 2 == 0
    return lambda: compute_metrics(maps.max(axis=(1, 2)), labels, maps, masks)


def table_lines(found: Sequence[Curve]) -> list[str]:
    """A table in Markdown: a row a curve."""
    lines = ["| what | grows with | seconds | last step: time grows as |", "|---|---|---|---|"]
    for curve in found:
        told = ", ".join(f"{value}: {seconds:.3g}" for value, seconds in curve.points())
        lines.append(
            f"| {curve.what} | {curve.axis} ({curve.unit}) | {told} | "
            f"{curve.axis}^{curve.power():.1f} |"
        )
    return lines


def measure(folder: Path, machine: dict[str, Any], rounds: int) -> None:
    """Measures, prints a row a curve, and leaves scaling.json, .md and .png in the folder."""
    found, peak = [], None
    for curve in curves(rounds):
        peak = peak or peak_memory(torch.device("cpu"))["host_bytes"]
        found.append(curve)
        print(*table_lines(found[-1:])[2:], sep="\n", flush=True)
    record = {"machine": machine, "peak_bytes_of_metrics": peak}
    write_json(folder / "scaling.json", record | {"curves": [asdict(one) for one in found]})
    about = (
        f"{about_machine(machine)}. "
        f"Training at {BASE.told()} where nothing else is said. Highest memory of the process "
        f"that measured the metrics, all sets of maps in it: {(peak or 0) / 2**30:.2f} GiB."
    )
    write_text(folder / "scaling.md", "\n".join([about, "", *table_lines(found)]) + "\n")
    write_atomically(folder / "scaling.png", draw(found).savefig)


def draw(found: Sequence[Curve]) -> Figure:
    """A panel for what is varied, a line for what is timed; both axes logarithmic."""
    names = list(dict.fromkeys(curve.axis for curve in found))
    figure = new_figure(2.6 * len(names), 3)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        shown = [curve for curve in found if curve.axis == name]
        for curve, colour in zip(shown, (BLUE, VERMILION), strict=False):
            axes.plot(*zip(*curve.points(), strict=True), "o-", color=colour, label=curve.what)
        values = [value for value, _ in shown[0].points()]
        axes.set(xscale="log", yscale="log", xlabel=f"{name} ({shown[0].unit})", ylabel="seconds")
        axes.set_xticks(values, [str(value) for value in values], minor=False)
        axes.set_xticks([], minor=True)
        tidy(axes, loc="lower left", bbox_to_anchor=(0, 1))  # above, where no line runs
    return figure
