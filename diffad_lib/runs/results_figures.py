"""Figures of a frame of results: heat map, spread over seeds, cost, and the ROC of several runs."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from diffad_lib import plots
from diffad_lib.errors import lacks
from diffad_lib.files import write_atomically
from diffad_lib.metrics import METRICS, roc_curve, tabled
from diffad_lib.runs.gather import Run

_MARKERS = "osD^vP"
_LINES: dict[str, Any] = dict(
    zip(_MARKERS, ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1))), strict=True)
)
_EMPTY = "#d9d9d9"


def looks(frame: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    """Colour and marker of every (method, setting), the same in all figures of a frame."""
    cells = sorted({(row.method, row.setting) for row in frame.itertuples()})
    return dict(
        zip(cells, itertools.cycle(zip(plots.LINE_COLOURS, _MARKERS, strict=True)), strict=False)
    )


def heat_map(frame: pd.DataFrame, metric: str) -> Figure:
    """Category × method of one metric: published (first source) and ours; grey where empty.

    A panel for each collection. DiffadError where seaborn is missing.
    """
    try:
        import seaborn
    except ImportError as error:
        raise lacks("the heat map", str(error.name), "course") from None
    parts = dict(list(frame[frame["metric"] == metric].groupby("collection", sort=False)))
    tables = {name: _matrix(part) for name, part in parts.items()}
    heights = [len(table) + 2 for table in tables.values()]
    width = max(len(table.columns) for table in tables.values())
    figure = plots.new_figure(2.6 + 1.1 * width, 1.2 + 0.32 * sum(heights))
    axes = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    low = min(np.nanmin(table.to_numpy()) for table in tables.values())
    for axis, (name, table) in zip(axes, tables.items(), strict=True):
        axis.set_facecolor(_EMPTY)
        seaborn.heatmap(
            table, vmin=min(low, 0.95), vmax=1, cmap="cividis", annot=True, fmt=".3f",
            annot_kws={"size": 8}, linewidths=1, cbar_kws={"label": METRICS[metric].title}, ax=axis,
        )  # fmt: skip
        axis.set(title=plots.readable(name), xlabel="", ylabel="")
        axis.tick_params(axis="x", rotation=30)
        axis.tick_params(axis="y", rotation=0)
        plt.setp(axis.get_xticklabels(), ha="right")
    return figure


def _matrix(part: pd.DataFrame) -> pd.DataFrame:
    """Rows by category, a column for each published method and for each cell."""
    columns: dict[str, list[float]] = {}
    for method, of_method in part.groupby("method", sort=False):
        cells = [cell for _, cell in of_method.groupby("setting", sort=False)]
        if any(cells[0]["published"]):
            told = [told[0][0] if told else math.nan for told in cells[0]["published"]]
            columns[f"{method} published"] = told
        for cell in cells:
            columns[f"{method} {cell['setting'].iloc[0]}"] = list(cell["value"])
    names = part.drop_duplicates(["dataset", "category"])["category"]
    return pd.DataFrame(columns, index=[plots.readable(name) for name in names])


def seed_spread(frame: pd.DataFrame, metric: str) -> Figure:
    """One dot a seed; the line through it is the interval over test images, the tick published."""
    rows = frame[(frame["metric"] == metric) & ~frame["is_mean"]]
    places = list(dict.fromkeys(zip(rows["collection"], rows["category"], strict=True)))
    style = looks(frame)
    figure = plots.new_figure(7.5, 0.9 + (0.17 * len(style) + 0.15) * len(places))
    axis = figure.subplots()
    step = 0.8 / len(style)
    for row in rows.to_dict("records"):
        colour, marker = style[row["method"], row["setting"]]
        shift = list(style).index((row["method"], row["setting"])) - (len(style) - 1) / 2
        y = places.index((row["collection"], row["category"])) + shift * step
        _draw_row(axis, row, y, colour, marker)
    for (method, setting), (colour, marker) in style.items():
        axis.plot([], [], marker, color=colour, label=f"{method} {setting}")
    names = [plots.readable(category) for _, category in places]
    axis.set(yticks=range(len(places)), yticklabels=names, xlabel=METRICS[metric].title)
    axis.set_ylim(len(places) - 0.5, -0.5)
    plots.tidy(axis, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _draw_row(axis: Axes, row: dict[str, Any], y: float, colour: str, marker: str) -> None:
    values = [value for _, value in row["by_seed"]]
    if not math.isnan(row["images_low"]):
        axis.hlines(y, row["images_low"], row["images_high"], color=colour, linewidth=1)
    axis.plot(values, [y] * len(values), marker, color=colour, markersize=5, alpha=0.8)
    for value, _ in row["published"][:1]:
        axis.plot([value], [y], "|", color=plots.BLACK, markersize=10)


def cost_and_result(frame: pd.DataFrame, metric: str) -> Figure:
    """A metric over the seconds of training and over the milliseconds an image, log scales."""
    rows = frame[(frame["metric"] == metric) & ~frame["is_mean"] & (frame["seeds"] > 0)]
    figure = plots.new_figure(8.5, 3)
    axes = figure.subplots(1, 2, sharey=True)
    costs = (rows["train_seconds"], 1000 / rows["images_per_second"])
    names = ("training, seconds", "prediction, milliseconds an image")
    for axis, cost, name in zip(axes, costs, names, strict=True):
        for (method, setting), (colour, marker) in looks(frame).items():
            chosen = (rows["method"] == method) & (rows["setting"] == setting)
            label = f"{method} {setting}"
            axis.plot(cost[chosen], rows["value"][chosen], marker, color=colour, label=label)
        axis.set(xscale="log", xlabel=f"{name} (log scale)")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter("{x:g}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"{METRICS[metric].title}, mean over seeds")
    axes[1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def roc_curves(runs: Sequence[Run], frame: pd.DataFrame) -> Figure:
    """Image ROC of every run, a panel a category, a line a seed; the first rates on a log scale."""
    places = sorted({run.place for run in runs})
    columns = min(4, len(places))
    rows = -(-len(places) // columns)
    figure = plots.new_figure(3 * columns + 1.6, 2.8 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    style = looks(frame)
    for axis in axes[len(places) :]:
        axis.axis("off")
    for axis, place in zip(axes, places, strict=False):
        for run in (run for run in runs if run.place == place and run.record.images):
            colour, marker = style[run.cell]
            x, y = roc_curve(run.scores, run.labels)
            axis.plot(x, y, color=colour, linewidth=1.2, linestyle=_LINES[marker], alpha=0.8)
        axis.plot([0, 1], [0, 1], color=plots.GREY, linewidth=1, linestyle=":")
        axis.set(title=plots.readable(place[2]), xlabel="false-positive rate", aspect=1)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("true-positive rate")
    handles = [
        Line2D([], [], color=colour, linestyle=_LINES[marker], label=" ".join(cell))
        for cell, (colour, marker) in style.items()
    ]
    figure.legend(handles=handles, frameon=False, fontsize=8, loc="outside right center")
    return figure


def write_figures(folder: Path, frame: pd.DataFrame, runs: Sequence[Run]) -> None:
    """Every figure of every metric that tables show, as PNG, in a folder, which is made."""
    drawn = {"roc": roc_curves(runs, frame)}
    for metric in tabled():
        if frame.loc[frame["metric"] == metric, "value"].notna().any():
            drawn[f"heat_map_{metric}"] = heat_map(frame, metric)
            drawn[f"seeds_{metric}"] = seed_spread(frame, metric)
            drawn[f"cost_{metric}"] = cost_and_result(frame, metric)
    for name, figure in drawn.items():
        write_atomically(folder / f"{name}.png", figure.savefig)
