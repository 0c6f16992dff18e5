"""The metrics of a test set, with bootstrap intervals over its images.

An interval answers: how far could the figure move if other images of the same kind had been
photographed? So whole images are resampled with replacement, those with and without a defect
separately, and the 2.5 and 97.5 percentiles reported. It says nothing about training seeds.

A resample only changes how often each image counts. So the counts of every image are taken once,
at up to 2 · `_QUANTILES` thresholds, and a resampled curve is a weighted sum of them with straight
lines between. This is exact for up to 1000 images a class; for pixels the small difference that it
makes to the metric itself is corrected by shifting the interval.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffad_lib.errors import DiffadError
from diffad_lib.metrics.curves import (
    Floats,
    Sweep,
    checked_maps,
    checked_scores,
    region_shares,
    split_scores,
    sweep_split,
)
from diffad_lib.metrics.table import METRICS

_QUANTILES = 1000  # thresholds taken from the normal pixels' scores, and from the defective ones'


@dataclass(frozen=True)
class Metric:
    """A metric with its bootstrap 95 % interval.

    value is NaN where the metric is undefined; low and high also where no interval was asked for.
    note says why a value is NaN, or what limits it. A stratum of one image cannot vary, and a
    perfect result has the interval [1, 1]: read both with care.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""


def compute_metrics(
    image_scores: ArrayLike,
    labels: ArrayLike,
    anomaly_maps: ArrayLike,
    masks: ArrayLike,
    fpr_limit: float = 0.3,
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> dict[str, Metric]:
    """Every metric of `METRICS` of a test set, by its name.

    image_scores [N], labels [N] in {0,1}, anomaly_maps [N,H,W], masks [N,H,W] as `aupro`. Image
    metrics are NaN without normal or without defective images, pixel metrics without normal or
    without marked pixels; the note says so. bootstrap_samples 0 leaves the intervals out. Raises
    DiffadError for NaN or infinite scores, unfit shapes, and a normal image with a marked mask.
    """
    scores, defective = checked_scores(image_scores, labels)
    maps, regions = checked_maps(anomaly_maps, masks)
    if len(scores) != len(maps):
        raise DiffadError(f"{len(scores)} image scores do not fit {len(maps)} anomaly maps")
    marked = np.any(regions, axis=(1, 2))
    if (marked & ~defective).any():
        first = int(np.argmax(marked & ~defective))
        raise DiffadError(f"test image {first} is labelled normal, but its mask marks a defect")
    rng = np.random.default_rng(seed)
    images = scores[:, None, None], defective[:, None, None]  # as maps of one pixel
    measured = _measure("image", *images, fpr_limit, bootstrap_samples, rng)
    measured |= _measure("pixel", maps, regions, fpr_limit, bootstrap_samples, rng)
    if unmarked := int((defective & ~marked).sum()):
        note = f"defective images with an empty mask, whose pixels count as normal: {unmarked}"
        for name, metric in measured.items():
            if METRICS[name].unit == "pixel" and not metric.note:
                measured[name] = replace(metric, note=note)
    return {name: measured[name] for name in METRICS}


def _measure(
    unit: str,
    maps: NDArray,
    masks: NDArray,
    fpr_limit: float,
    samples: int,
    rng: np.random.Generator,
) -> dict[str, Metric]:
    """The metrics of the table that count `unit`, which a pixel of the maps [N,H,W] stands for."""
    kinds = {name: kind for name, kind in METRICS.items() if kind.unit == unit}
    if masks.all() or not masks.any():
        absent = "normal" if masks.any() else "defective"
        undefined = Metric(math.nan, note=f"undefined: the test set has no {absent} {unit}")
        return dict.fromkeys(kinds, undefined)
    normal, defective = split_scores(maps, masks > 0)
    found = sweep_split(normal, defective, region_shares(masks))
    values = {name: float(kind.value_of(found, fpr_limit)) for name, kind in kinds.items()}
    if samples == 0:
        return {name: Metric(value) for name, value in values.items()}

    of_images = _sweep_each(maps, masks, _thresholds(normal, np.sort(defective)))
    del normal, defective
    coarse = _weighted(of_images, np.ones(len(maps)))
    resampled = _weighted(of_images, draw_images(np.any(masks, axis=(1, 2)), samples, rng))
    metrics = {}
    for name, kind in kinds.items():
        shift = values[name] - kind.value_of(coarse, fpr_limit)
        ends = np.percentile(kind.value_of(resampled, fpr_limit), [2.5, 97.5]) + shift
        low, high = np.clip(ends, 0, 1)
        metrics[name] = Metric(values[name], float(low), float(high))
    return metrics


def resampled(
    name: str, maps: ArrayLike, masks: ArrayLike, weights: Floats, fpr_limit: float = 0.3
) -> Floats:
    """A metric of `METRICS` of each resample [S]; weights [S,N] as `draw_images` gives them.

    maps [N,H,W], masks [N,H,W] as `aupro`; for a metric of images their scores and labels, as maps
    of one pixel. The thresholds are those of the intervals, so that images counted once give image
    metrics exactly and pixel metrics nearly. Raises DiffadError as `aupro` does.
    """
    maps, masks = checked_maps(maps, masks)
    normal, defective = split_scores(maps, masks > 0)
    of_images = _sweep_each(maps, masks, _thresholds(normal, np.sort(defective)))
    return METRICS[name].value_of(_weighted(of_images, weights), fpr_limit)


def draw_images(strata: NDArray[np.bool_], samples: int, rng: np.random.Generator) -> Floats:
    """How often each image is in each resample [samples,N]; each stratum keeps its size."""
    weights = np.zeros((samples, len(strata)))
    for stratum in (strata, ~strata):
        count = int(stratum.sum())
        if count:
            weights[:, stratum] = rng.multinomial(count, np.full(count, 1 / count), size=samples)
    return weights


def _weighted(of_images: Sweep, weights: Floats) -> Sweep:
    """Sweeps [...,T] of test sets in which image n counts weights[...,n] times."""
    return Sweep(*(weights @ sums for sums in of_images))


def _thresholds(*rising: NDArray) -> NDArray:
    """Falling thresholds, from infinity to the lowest of the sorted scores."""
    chosen = []
    for scores in rising:
        count = min(scores.size, _QUANTILES)
        chosen.append(scores[np.linspace(0, scores.size - 1, count).round().astype(int)])
    falling = np.unique(np.concatenate(chosen))[::-1]
    return np.concatenate([np.array([np.inf], falling.dtype), falling])


def _sweep_each(maps: NDArray, masks: NDArray, thresholds: NDArray) -> Sweep:
    """Sums at or above the thresholds for every image separately, each [N,T]."""
    rows = []
    for scores, mask in zip(maps, masks, strict=True):
        normal, defective = np.sort(scores[mask == 0]), scores[mask > 0]
        order = np.argsort(defective)
        lower = np.searchsorted(defective[order], thresholds)  # [T] defective pixels below
        shares = np.cumsum(np.r_[0.0, region_shares(mask[None])[order]])
        above = normal.size - np.searchsorted(normal, thresholds)
        rows.append((above, defective.size - lower, shares[-1] - shares[lower]))
    return Sweep(*(np.array(sums, np.float64) for sums in zip(*rows, strict=True)))
