"""Figures of the notebooks: images, training, curves, scores, predictions.

Every function returns a Figure. Okabe and Ito's line colours stay apart for colour-blind readers.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffad_lib.metrics import METRICS, Metric, pr_curve, pro_curve, roc_curve
from diffad_lib.types import TrainingBatch

BLACK, GREY = "#000000", "#777777"
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (  # Okabe and Ito, 2008
    "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
LINE_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
_NORMAL, _DEFECT = BLUE, VERMILION
_CURVE_POINTS = 2000
_HEAT = "inferno"

Image = Tensor | NDArray  # [3,H,W], [1,H,W] or [H,W]; float in [0,1] or uint8


def image_grid(
    images: Sequence[Image] | Image, titles: Sequence[str] = (), columns: int = 8
) -> Figure:
    """Images [N,3,H,W] or [N,1,H,W] in rows of `columns`, with a title each if any are given."""
    columns = max(1, min(columns, len(images)))
    rows = max(1, -(-len(images) // columns))
    figure = new_figure(1.4 * columns, (1.4 + 0.25 * bool(titles)) * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(images) :]:
        axis.axis("off")
    for axis, image in zip(axes, images, strict=False):
        _show(axis, image)
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(readable(title), fontsize=8)
    return figure


def stretched(images: Tensor) -> Tensor:
    """Noised images [N,3,H,W] for the eye: the mean ± 2 standard deviations of each is 0 to 1.

    Without it most of an x_t is clipped, and what is left of the image cannot be seen.
    """
    spread, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
    return 0.5 + (images - mean) / (4 * spread)


def heat(maps: Tensor, high: float) -> Tensor:
    """Maps [N,1,H,W] as images [N,3,H,W]: black is 0, bright yellow is `high` and more."""
    colours = plt.get_cmap(_HEAT)((maps[:, 0] / high).detach().cpu().numpy())  # [N,H,W,4]
    return torch.from_numpy(colours[..., :3]).permute(0, 3, 1, 2).float()


def synthesis_sheet(batch: TrainingBatch, columns: int = 8) -> Figure:
    """What the synthesizer made: normal image, mask and anomalous image below each other."""
    parts = {"normal": batch.normal, "mask": batch.mask, "anomalous": batch.image}
    columns = min(columns, len(batch.image))
    figure = new_figure(1.4 * columns, 4.6)
    axes = figure.subplots(len(parts), columns, squeeze=False)
    for row, (name, images) in zip(axes, parts.items(), strict=True):
        row[0].set_ylabel(name)
        for axis, image in zip(row, images, strict=False):
            _show(axis, image)
    for axis, mask in zip(axes[0], batch.mask, strict=False):
        share = float(mask.mean())
        axis.set_title(f"{share:.1%} anomalous" if share else "left normal", fontsize=8)
    return figure


def loss_curves(history: pd.DataFrame) -> Figure:
    """Loss terms and learning rates over the steps, from a `TrainingResult.history`.

    Without rows, as of a detector that was given, the figure says that nothing was trained.
    """
    rates = [name for name in history if name.startswith("lr/")]
    terms = [name for name in history if name not in ("step", "seconds", "total", *rates)]
    figure = new_figure(9, 3.2)
    if not len(history):
        figure.text(0.5, 0.5, "nothing was trained", ha="center", va="center")
        return figure
    losses, learning_rates = figure.subplots(1, 2, width_ratios=(3, 2))
    if "total" in history:
        losses.plot(history["step"], history["total"], color=BLACK, linewidth=2, label="total")
    for axis, names in ((losses, terms), (learning_rates, rates)):
        for name, colour in zip(names, itertools.cycle(LINE_COLOURS), strict=False):
            label = name.removeprefix("lr/").replace("_", " ")
            axis.plot(history["step"], history[name], color=colour, label=label)
        axis.set_xlabel("optimiser step")
        axis.set_yscale("log")
        tidy(axis)
    losses.set_ylabel("loss (log scale)")
    learning_rates.set_ylabel("learning rate (log scale)")
    return figure


def roc_pr_pro_curves(
    image_scores: ArrayLike,
    labels: ArrayLike,
    anomaly_maps: ArrayLike,
    masks: ArrayLike,
    metrics: Mapping[str, Metric],
    fpr_limit: float = 0.3,
) -> Figure:
    """ROC, precision-recall and PRO curves of a test set, with the areas from `compute_metrics`.

    image_scores [N], labels [N], anomaly_maps [N,H,W], masks [N,H,W] as for `aupro`. A curve whose
    metric is undefined (NaN) is left out, and the legend says so.
    """
    figure = new_figure(11, 3.8)
    axes = dict(zip(("roc", "pr", "pro"), figure.subplots(1, 3), strict=True))
    data = {"image": (image_scores, labels), "pixel": (anomaly_maps, np.asarray(masks) > 0)}
    curves = {"roc": roc_curve, "pr": pr_curve, "pro": lambda maps, _: pro_curve(maps, masks)}
    for key, kind in METRICS.items():
        if kind.curve is None or key not in metrics:
            continue
        axis, metric = axes[kind.curve], metrics[key]
        colour = _NORMAL if kind.unit == "image" else _DEFECT
        name = f"{kind.title} up to {fpr_limit:g}" if kind.takes_fpr_limit else kind.title
        if np.isnan(metric.value):
            axis.plot([], [], color=colour, label=f"{name}: undefined")
            continue
        x, y = _thinned(*curves[kind.curve](*data[kind.unit]))
        axis.plot(x, y, color=colour, label=f"{name}: {_with_interval(metric)}")
        if kind.takes_fpr_limit:
            inside, end = x < fpr_limit, np.interp(fpr_limit, x, y)
            area = np.r_[x[inside], fpr_limit], np.r_[y[inside], end]
            axis.fill_between(*area, color=colour, alpha=0.15, linewidth=0)
    roc, pr, pro = axes.values()
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance")
    pro.axvline(fpr_limit, color=GREY, linewidth=1, linestyle=":", label="limit")
    for axis, x_name, y_name in (
        (roc, "false-positive rate", "true-positive rate"),
        (pr, "recall", "precision"),
        (pro, "false-positive rate of pixels", "per-region overlap"),
    ):
        axis.set(xlabel=x_name, ylabel=y_name, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect=1)
        tidy(axis, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def score_histogram(image_scores: ArrayLike, labels: ArrayLike) -> Figure:
    """How image scores [N] of normal (label 0) and defective (1) test images are distributed."""
    scores, defective = np.asarray(image_scores), np.asarray(labels).astype(bool)
    bins = np.linspace(scores.min(), scores.max(), 31).tolist()
    figure = new_figure(6, 3.2)
    axis = figure.subplots()
    for chosen, name, colour in ((~defective, "normal", _NORMAL), (defective, "defect", _DEFECT)):
        label = f"{name} ({chosen.sum()} images)"
        axis.hist(scores[chosen], bins, color=colour, alpha=0.55, edgecolor=colour, label=label)
    axis.set(xlabel="image score (higher is more anomalous)", ylabel="test images")
    tidy(axis)
    return figure


def example_rows(
    image_scores: ArrayLike, labels: ArrayLike, count: int = 2
) -> dict[str, NDArray[np.int64]]:
    """Image numbers of the best and the worst predictions, by what they are.

    Best: defects with the highest scores, normal images with the lowest. Worst: the reverse.
    """
    order, defective = np.argsort(image_scores, kind="stable"), np.asarray(labels).astype(bool)
    defects, normals = order[defective[order]], order[~defective[order]]
    return {
        "best: defect scored high": defects[::-1][:count],
        "best: normal scored low": normals[:count],
        "worst: defect scored low": defects[:count],
        "worst: normal scored high": normals[::-1][:count],
    }


def prediction_sheet(
    rows: Mapping[str, NDArray[np.int64]],
    images: Image,
    reconstructions: Image | None,
    anomaly_maps: NDArray,
    masks: NDArray,
    image_scores: NDArray,
) -> Figure:
    """Image | reconstruction | anomaly map | ground truth, a row each for the images of `rows`.

    images [N,3,H,W], anomaly_maps [N,H,W], masks [N,1,H,W] or [N,H,W] and image_scores [N] are
    those of the whole test set; reconstructions [R,3,H,W] those of `rows` in their order, None if
    there are none. One colour scale: from the lowest score of the set to its 99.9th percentile.
    """
    shown = [(group, int(index)) for group, indices in rows.items() for index in indices]
    low, high = float(anomaly_maps.min()), float(np.quantile(anomaly_maps, 0.999))
    titles = ["image", "reconstruction", "anomaly map", "ground truth"]
    if reconstructions is None:
        titles.remove("reconstruction")
    figure = new_figure(1.6 * len(titles), 1.35 * len(shown) + 0.4)
    axes = figure.subplots(len(shown), len(titles), squeeze=False)
    for number, (row, (group, index)) in enumerate(zip(axes, shown, strict=True)):
        of = dict(zip(titles, row, strict=True))
        _show(of["image"], images[index])
        if reconstructions is not None:
            _show(of["reconstruction"], reconstructions[number])
        _show(of["anomaly map"], anomaly_maps[index], _HEAT, low, high)
        _show(of["ground truth"], masks[index])
        caption = group.replace(": ", "\n")
        row[0].set_ylabel(f"{caption}\nscore {image_scores[index]:.3f}", fontsize=8)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    heat = axes[0, titles.index("anomaly map")].images[0]
    figure.colorbar(
        heat, ax=axes, location="bottom", shrink=0.5, pad=0.01, aspect=40,
        extend="max", label="anomaly map, one scale for all (99.9th percentile at the end)",
    )  # fmt: skip
    return figure


def readable(text: str) -> str:
    """The text of a figure: `$` begins no formula, and a character that no font has is a number,
    such as U+BD80."""
    known = _characters(tuple(plt.rcParams["font.family"]))
    shown = (one if ord(one) in known or one == "\n" else f"U+{ord(one):04X}" for one in text)
    return "".join(shown).replace("$", r"\$")


@cache
def _characters(families: tuple[str, ...]) -> frozenset[int]:
    fonts = (font_manager.findfont(FontProperties(family=[name])) for name in families)
    return frozenset(code for font in fonts for code in font_manager.get_font(font).get_charmap())


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that a notebook shows once."""
    figure = plt.figure(figsize=(width, height), dpi=100, layout="constrained")
    plt.close(figure)  # or a notebook would show it a second time
    return figure


def tidy(axis: Axes, **legend: Any) -> None:
    """Axes as in all line figures: open above and at the right, a small legend."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8, **legend)


def _show(
    axis: Axes, image: Image, colours: str = "gray", low: float = 0, high: float | None = None
) -> None:
    """Draws an image; values outside [0,1] (a noisy x_t) are clipped, maps take `colours`."""
    pixels = _pixels(image)
    if high is None:
        high = 255 if pixels.max() > 1 else 1
    axis.imshow(pixels, interpolation="nearest", cmap=colours, vmin=low, vmax=high)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_linewidth(0.5)


def _pixels(image: Image) -> NDArray:
    """[H,W,3] or [H,W]; RGB floats are clipped to [0,1]."""
    if isinstance(image, Tensor):
        image = (image.float() if image.is_floating_point() else image).detach().cpu().numpy()
    array = np.asarray(image)
    if array.ndim == 3:
        array = array.transpose(1, 2, 0)  # [H,W,C]
    if array.shape[-1] == 1:
        return array[..., 0]
    is_rgb_float = array.ndim == 3 and array.dtype != np.uint8
    return array.clip(0, 1) if is_rgb_float else array


def _with_interval(metric: Metric) -> str:
    if np.isnan(metric.low):
        return f"{metric.value:.3f}"
    return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"


def _thinned(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """At most _CURVE_POINTS points of a curve, evenly along it, both ends kept."""
    along = np.cumsum(np.r_[0.0, np.abs(np.diff(x)) + np.abs(np.diff(y))])
    wanted = np.linspace(0, along[-1], _CURVE_POINTS)
    chosen = np.unique(np.r_[0, np.searchsorted(along, wanted), len(x) - 1].clip(0, len(x) - 1))
    return x[chosen], y[chosen]
