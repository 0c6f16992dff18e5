"""Figures of the notebooks. Colours are Okabe and Ito's, which colour-blind readers tell apart."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from diffad_lib.metrics.curves import pr_curve, pro_curve, roc_curve
from diffad_lib.types import Prediction, TrainingBatch

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_MAP_COLOURS = "magma"
_TILE = 1.25  # inches a picture


def image_grid(
    images: NDArray[np.uint8] | Tensor, titles: Sequence[str] | None = None, columns: int = 8
) -> Figure:
    """Pictures in rows; images uint8 or float in [0,1], [N,3,H,W] or [N,1,H,W]."""
    pictures = _pictures(images)
    rows = max(1, -(-len(pictures) // columns))
    figure, axes = _picture_axes(rows, columns, title_lines=titles is not None)
    for number, axis in enumerate(axes.flat):
        if number < len(pictures):
            _show(axis, pictures[number])
            if titles is not None:
                axis.set_title(titles[number].replace("_", " "), fontsize=8)
    return figure


def synthesis_sheet(batch: TrainingBatch, columns: int = 8) -> Figure:
    """Three rows: the normal images, the masks, and what the detector sees."""
    count = min(columns, len(batch.image))
    rows = {"normal": batch.normal, "mask": batch.mask, "training input": batch.image}
    figure, axes = _picture_axes(len(rows), count)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, picture in zip(row, _pictures(images[:count]), strict=True):
            _show(axis, picture)
        _row_label(row[0], name)
    return figure


def loss_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Left every loss term against the step, log scale; right the learning rates."""
    steps = [row["step"] for row in history]
    names = [name for name in history[0] if name not in ("step", "seconds")]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    colours = (BLUE, ORANGE, GREEN, VERMILION, "#CC79A7")
    for axis, rates in ((left, False), (right, True)):
        chosen = [name for name in names if name.startswith("lr/") == rates]
        for name, colour, style in zip(chosen, colours, ("-", "--", "-.", ":", "-"), strict=False):
            values = [row[name] for row in history]
            axis.plot(steps, values, style, color=colour, label=name.removeprefix("lr/"))
        axis.set_xlabel("optimiser step")
        axis.legend(frameon=False, fontsize=8)
    left.set(ylabel="loss (mean over the window)", yscale="log")
    right.set_ylabel("learning rate")
    return figure


def roc_pr_pro_curves(
    image_scores: NDArray,
    labels: NDArray,
    anomaly_maps: NDArray,
    masks: NDArray,
    fpr_limit: float = 0.3,
) -> Figure:
    """ROC, precision–recall and PRO curves; the shaded part of PRO is what AUPRO measures.

    Shapes as in `compute_metrics`. Curves of images are solid, of pixels dashed. What is
    undefined, for want of normal or of defective examples, is left out.
    """
    figure, (roc, pr, pro) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for (scores, truth), name, colour, style in (
        ((image_scores, labels), "images", BLUE, "-"),
        ((anomaly_maps.reshape(-1), masks.reshape(-1)), "pixels", ORANGE, "--"),
    ):
        if truth.all() or not truth.any():
            continue
        roc.plot(*_thinned(*roc_curve(scores, truth)), style, color=colour, label=name)
        pr.plot(*_thinned(*pr_curve(scores, truth)), style, color=colour, label=name)
    if masks.any() and not masks.all():
        fpr, overlap = _thinned(*pro_curve(anomaly_maps, masks))
        pro.plot(fpr, overlap, "--", color=ORANGE, label="regions")
        inside = fpr <= fpr_limit
        pro.fill_between(fpr[inside], overlap[inside], color=ORANGE, alpha=0.2)
    pro.axvline(fpr_limit, color="0.4", lw=0.8)
    pro.annotate(f"limit {fpr_limit:g}", (fpr_limit, 0.03), fontsize=8, color="0.3")
    roc.plot([0, 1], [0, 1], ":", color="0.6", label="chance")
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    pr.set(xlabel="recall", ylabel="precision", title="Precision–recall")
    pro.set(xlabel="false positive rate of pixels", ylabel="mean region overlap", title="PRO")
    for axis in (roc, pr, pro):
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        if axis.get_legend_handles_labels()[0]:
            axis.legend(
                frameon=False, fontsize=8, loc="lower right" if axis is not pr else "lower left"
            )
        else:
            axis.text(0.5, 0.5, "undefined", ha="center", va="center", color="0.4")
    return figure


def score_histogram(image_scores: NDArray, labels: NDArray, bins: int = 30) -> Figure:
    """Image scores of normal and of defective test images."""
    figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
    edges = np.linspace(image_scores.min(), image_scores.max() + 1e-9, bins + 1)
    for label, name, colour in ((0, "normal", BLUE), (1, "defective", VERMILION)):
        chosen = image_scores[labels == label]
        axis.hist(chosen, edges, color=colour, alpha=0.6, label=f"{name} ({len(chosen)} images)")
    axis.set(xlabel="image score", ylabel="images")
    axis.legend(frameon=False)
    return figure


def best_and_worst(image_scores: NDArray, labels: NDArray, each: int = 2) -> dict[int, str]:
    """Image number -> what it shows: `each` of best and missed defects, and of false alarms."""
    order = np.argsort(image_scores, kind="stable")
    defects = [int(row) for row in order if labels[row] == 1]
    normals = [int(row) for row in order if labels[row] == 0]
    groups = (
        ("best defect", defects[::-1][:each]),
        ("worst defect", defects[:each]),
        ("worst normal", normals[::-1][:each]),
    )
    return {row: f"{name}\nscore {image_scores[row]:.2f}" for name, rows in groups for row in rows}


def prediction_sheet(
    images: NDArray[np.uint8], prediction: Prediction, masks: NDArray, titles: Sequence[str]
) -> Figure:
    """A column an image: image, reconstruction, anomaly map, ground truth.

    images [N,3,H,W], masks [N,1,H,W]. All maps share one colour scale, from the smallest to the
    largest value shown.
    """
    maps = prediction.anomaly_map.float().cpu().numpy()[:, 0]  # [N,H,W]
    figure, axes = _picture_axes(4, len(images), title_lines=2, colour_bar=True)
    rows = (_pictures(images), _pictures(prediction.reconstruction), maps, _pictures(masks * 255))
    limits = {"cmap": _MAP_COLOURS, "vmin": float(maps.min()), "vmax": float(maps.max())}
    names = ("image", "reconstruction", "anomaly map", "ground truth")
    for number, (row, pictures, name) in enumerate(zip(axes, rows, names, strict=True)):
        for axis, picture in zip(row, pictures, strict=True):
            shown = _show(axis, picture, **(limits if number == 2 else {}))
        if number == 2:
            figure.colorbar(shown, ax=list(row), label="anomaly score", fraction=0.02, pad=0.01)
        _row_label(row[0], name)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    return figure


def _thinned(x: NDArray, y: NDArray, points: int = 1000) -> tuple[NDArray, NDArray]:
    """At most `points` + 1 points of a curve: a million pixels need no vertex each."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), points + 1)).astype(int))
    return x[keep], y[keep]


def _pictures(images: NDArray | Tensor) -> NDArray:
    """[N,C,H,W] to [N,H,W,3] or [N,H,W], in [0,1] if float."""
    array = images.detach().float().cpu().numpy() if isinstance(images, Tensor) else images
    if array.dtype != np.uint8:
        array = array.clip(0, 1)
    return array[:, 0] if array.shape[1] == 1 else array.transpose(0, 2, 3, 1)


def _picture_axes(
    rows: int, columns: int, title_lines: int = 0, colour_bar: bool = False
) -> tuple[Figure, NDArray]:
    width = columns * _TILE + 0.3 + 0.9 * colour_bar
    size = (width, rows * _TILE + 0.2 * title_lines)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for axis in axes.flat:
        axis.axis("off")
    return figure, axes


def _show(axis: Axes, picture: NDArray, **options: object):
    colours = {"cmap": "gray", "vmin": 0, "vmax": 255 if picture.dtype == np.uint8 else 1}
    shown = axis.imshow(picture, **((colours | options) if picture.ndim == 2 else {}))
    axis.set_axis_on()
    axis.set(xticks=[], yticks=[])
    return shown


def _row_label(axis: Axes, text: str) -> None:
    axis.set_ylabel(text, fontsize=9)
