"""Threshold: how an anomaly map becomes a mask, and what that costs and finds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffad_lib.course.explorers.explorer import Explorer
from diffad_lib.course.explorers.pictures import (
    checked_image,
    checked_mask,
    coloured,
    pixels_of,
    rgb,
    small_plot,
)
from diffad_lib.course.explorers.view import Parameter, Pixels, View
from diffad_lib.errors import DiffadError
from diffad_lib.metrics import aupro, pro_curve
from diffad_lib.metrics.curves import region_shares
from diffad_lib.plots import BLACK, GREY, SKY, VERMILION, YELLOW

_FPR_LIMIT = 0.3
_VALUES = 25


def threshold_explorer(
    image: Tensor,
    anomaly_map: ArrayLike,
    mask: ArrayLike,
    thresholds: Sequence[float] | None = None,
) -> Explorer:
    """The mask at a threshold, its precision, recall, region overlap and false positives.

    image: float [3,H,W] in [0,1]. anomaly_map: [H,W] or [1,H,W], higher is more anomalous.
    mask: ground truth of a defective image, [H,W] or [1,H,W] in {0,1}. A pixel is marked where
    its score is at or above the threshold. thresholds: by default 25 that mark from half of
    the image down to 1/1000 of it. AUPRO is that of this one image, up to a
    false-positive rate of 0.3.
    """
    checked_image(image)
    defect = checked_mask(mask, image)
    scores = np.asarray(anomaly_map, np.float64).squeeze()
    if scores.shape != defect.shape or not np.isfinite(scores).all():
        raise DiffadError(f"the anomaly map must be finite and of the mask's shape {defect.shape}")
    area = aupro(scores[None], defect[None], _FPR_LIMIT)
    shares = region_shares(defect[None])
    curve = pro_curve(scores[None], defect[None])

    def render(threshold: float) -> View:
        marked = scores >= threshold
        found, false = int((marked & defect).sum()), int((marked & ~defect).sum())
        overlap = shares[marked[defect]].sum() / shares.sum()
        rate = false / int((~defect).sum())
        precision = f"{found / (found + false):.2f}" if marked.any() else "undefined"
        caption = (
            f"threshold {threshold:g}: precision {precision}, recall {found / defect.sum():.2f}, "
            f"region overlap {overlap:.2f} (AUPRO {area:.2f}); "
            f"{false} false-positive pixels, {rate:.1%} of the normal ones"
        )
        tiles = {
            "image": rgb(image),
            "anomaly map, low black, high yellow": coloured(scores, (scores.min(), scores.max())),
            "blue hit, yellow missed, orange false": _outcome(marked, defect),
            "PRO curve of this image": _pro_plot(*curve, rate, overlap),
        }
        return View(tiles, caption)

    values = _default_thresholds(scores) if thresholds is None else tuple(thresholds)
    slider = Parameter("threshold", "threshold on the score", values, start=len(values) // 2)
    return Explorer("Threshold", render, (slider,))


def _default_thresholds(scores: NDArray[np.float64]) -> tuple[float, ...]:
    """Rising thresholds of four digits, so that the number shown is the number used."""
    quantiles = np.quantile(scores, 1 - np.geomspace(0.5, 0.001, _VALUES))
    return tuple(sorted({float(f"{value:.4g}") for value in quantiles}))


def _outcome(marked: NDArray[np.bool_], defect: NDArray[np.bool_]) -> Pixels:
    pixels = np.zeros((*marked.shape, 3), np.uint8)
    for chosen, colour in (
        (marked & defect, SKY),
        (~marked & defect, YELLOW),
        (marked & ~defect, VERMILION),
    ):
        pixels[chosen] = np.round(255 * np.array(to_rgb(colour)))
    return pixels


def _pro_plot(x: NDArray, y: NDArray, rate: float, overlap: float) -> Pixels:
    figure = small_plot()
    axis = figure.subplots()
    axis.plot(x, y, color=VERMILION)
    axis.plot(rate, overlap, "o", color=BLACK, markersize=5, clip_on=False)
    axis.axvline(_FPR_LIMIT, color=GREY, linewidth=1, linestyle=":")
    axis.text(_FPR_LIMIT + 0.02, 0.05, "AUPRO limit", fontsize=7, color=GREY)
    axis.set_xlabel("false-positive rate", fontsize=8, labelpad=1)
    axis.set_ylabel("region overlap", fontsize=8, labelpad=1)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    return pixels_of(figure)
