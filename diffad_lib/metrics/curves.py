"""ROC, precision-recall and PRO curves, and the five metrics that summarise them.

All of them follow from counts at falling thresholds. Between two scores of defective pixels only
the number of false positives changes, so a curve is known exactly from the sorted normal scores
and the distinct defect scores. That takes one sort, where scikit-learn's functions take one each
(10 times slower on the 83 test images of MVTec AD bottle); the tests compare the two.

Equal scores pass a threshold together: they are one straight segment of a curve, whatever their
order in memory. Inputs with NaN or infinite scores, or with one class only, raise DiffadError.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffad_lib.errors import DiffadError

Floats = NDArray[np.float64]
REGIONS = np.uint16  # the type of masks [N,H,W] that hold 0 or the number of a region


class Sweep(NamedTuple):
    """Sums over all that scores at or above a falling threshold: rising [...,T], from 0."""

    false_positives: Floats
    true_positives: Floats
    overlap: Floats  # each ground-truth region adds the share of it that is found; an image adds 1


def image_auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve of image scores [N] and labels [N] in {0,1}; 0.5 is chance."""
    return float(auroc(sweep_split(*split_scores(*checked_scores(scores, labels)))))


def image_ap(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision of image scores [N] and labels [N] in {0,1}."""
    return float(average_precision(sweep_split(*split_scores(*checked_scores(scores, labels)))))


def pixel_auroc(anomaly_maps: ArrayLike, masks: ArrayLike) -> float:
    """Area under the ROC curve over all pixels of maps [N,H,W] and masks [N,H,W] in {0,1}."""
    return float(auroc(sweep_pixels(*checked_maps(anomaly_maps, masks))))


def pixel_ap(anomaly_maps: ArrayLike, masks: ArrayLike) -> float:
    """Average precision over all pixels of maps [N,H,W] and masks [N,H,W] in {0,1}."""
    return float(average_precision(sweep_pixels(*checked_maps(anomaly_maps, masks))))


def aupro(anomaly_maps: ArrayLike, masks: ArrayLike, fpr_limit: float = 0.3) -> float:
    """Exact area under the PRO curve up to a false-positive rate, divided by that rate.

    PRO is the share of a ground-truth region that is found, averaged over the regions of all masks
    (Bergmann et al., CVPR 2020). The curve is piecewise linear, integrated exactly and interpolated
    at the limit. Maps [N,H,W]; masks [N,H,W] in {0,1}, whose regions are 8-connected, or the
    numbers of regions as `ImageStack.regions` has them; fpr_limit in (0,1].
    """
    return float(normalised_aupro(sweep_pixels(*checked_maps(anomaly_maps, masks)), fpr_limit))


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """False- and true-positive rates, (0,0) to (1,1), of scores and labels [N] or [N,H,W]."""
    return roc_of(sweep_split(*split_scores(*_checked(scores, labels))))


def pr_curve(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Recalls and precisions, from where the highest score passes to where everything does."""
    found = sweep_split(*split_scores(*_checked(scores, labels)))
    recall, precision = _rates(found.true_positives)[1:], _precision(found)
    passed = (found.true_positives + found.false_positives)[1:] > 0
    return recall[passed], precision[passed]


def pro_curve(anomaly_maps: ArrayLike, masks: ArrayLike) -> tuple[Floats, Floats]:
    """False-positive rates and per-region overlaps (see `aupro`), from (0,0) to (1,1)."""
    return pro_of(sweep_pixels(*checked_maps(anomaly_maps, masks)))


def roc_of(found: Sweep) -> tuple[Floats, Floats]:
    """False-positive and true-positive rates [...,T] of a sweep."""
    return _rates(found.false_positives), _rates(found.true_positives)


def pro_of(found: Sweep) -> tuple[Floats, Floats]:
    """False-positive rates and mean region overlaps [...,T] of a sweep."""
    return _rates(found.false_positives), _rates(found.overlap)


def auroc(found: Sweep) -> Floats:
    """Area under the ROC curve [...] of a sweep [...,T]."""
    return _area(*roc_of(found))


def average_precision(found: Sweep) -> Floats:
    """Sum over thresholds of the gain in recall times the precision [...] of a sweep [...,T]."""
    gain = np.diff(_rates(found.true_positives))
    return (gain * _precision(found)).sum(axis=-1)


def normalised_aupro(found: Sweep, fpr_limit: float) -> Floats:
    """Area under the PRO curve up to the limit, over the limit [...], of a sweep [...,T]."""
    if not 0 < fpr_limit <= 1:
        raise DiffadError(f"fpr_limit is {fpr_limit}; choose one above 0 and at most 1")
    return _area(*pro_of(found), fpr_limit) / fpr_limit


def _rates(sums: Floats) -> Floats:
    return sums / sums[..., -1:]


def _precision(found: Sweep) -> Floats:
    """[...,T-1], without the first point, where nothing is found. 0 of 0 counts as 0."""
    hits, misses = found.true_positives[..., 1:], found.false_positives[..., 1:]
    return hits / np.maximum(hits + misses, 1)


def _area(x: Floats, y: Floats, limit: float = 1.0) -> Floats:
    """Exact integral from 0 to `limit` of the line through the points [...,T]; x is sorted."""
    length = np.diff(x)
    inside = np.diff(np.minimum(x, limit))  # the part of each segment left of the limit
    share = np.divide(inside, length, out=np.zeros_like(length), where=length > 0)
    middle = y[..., :-1] + share * np.diff(y) / 2  # height at the middle of that part
    return (inside * middle).sum(axis=-1)


def sweep_pixels(anomaly_maps: NDArray, masks: NDArray) -> Sweep:
    """All pixels of checked maps and masks [N,H,W], at every threshold where a curve bends."""
    return sweep_split(*split_scores(anomaly_maps, masks > 0), region_shares(masks))


def split_scores(scores: NDArray, labels: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """Scores of what is normal, sorted, and of what is not, in the order of scores[labels].

    The sort is most of the work, and its copy most of the memory: who needs it twice keeps it.
    """
    normal = scores[~labels]
    normal.sort()
    return normal, scores[labels]


def sweep_split(normal: NDArray, defective: NDArray, shares: Floats | None = None) -> Sweep:
    """All thresholds of what `split_scores` gave.

    shares: what each defective pixel adds to the overlap, in their order (`region_shares`).
    DiffadError if either kind is empty.
    """
    if not normal.size or not defective.size:
        raise DiffadError(
            f"only {'normal' if normal.size else 'defective'} examples are given; "
            "a curve needs normal and defective ones"
        )
    levels, level = np.unique(defective, return_inverse=True)
    above = normal.size - np.searchsorted(normal, levels[::-1], side="right")
    upto = normal.size - np.searchsorted(normal, levels[::-1], side="left")
    hits = np.cumsum(np.bincount(level)[::-1])
    covered = hits if shares is None else np.cumsum(np.bincount(level, weights=shares)[::-1])
    return Sweep(
        np.r_[0.0, np.stack([above, upto], axis=1).ravel(), normal.size],
        _before_and_at(hits),
        _before_and_at(covered),
    )


def _before_and_at(sums: NDArray) -> Floats:
    """[0, 0, s_1, s_1, s_2, s_2, …, s_T, s_T]: the start, two points a level, and the end."""
    return np.r_[0.0, 0.0, np.repeat(sums, 2)]


def region_shares(masks: NDArray) -> Floats:
    """1 / size of its region for every defective pixel, in the order of nonzero.

    Regions are the numbers in masks of type REGIONS, else the 8-connected components.
    """
    shares = []
    for mask in masks:
        if mask.dtype == REGIONS:
            numbers = mask
        else:
            numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1]
        labels = numbers[mask > 0]
        shares.append(1 / np.bincount(labels)[labels] if labels.size else np.empty(0))
    return np.concatenate(shares)


def checked_scores(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray, NDArray[np.bool_]]:
    """Image scores and labels [N], finite and of one length, or DiffadError."""
    scores, labels = _checked(scores, labels)
    if scores.ndim != 1:
        raise DiffadError(f"image scores have the shape {scores.shape}; give one score an image")
    return scores, labels


def checked_maps(anomaly_maps: ArrayLike, masks: ArrayLike) -> tuple[NDArray, NDArray]:
    """Maps and masks [N,H,W], finite and of one shape, or DiffadError; masks bool or REGIONS."""
    given = np.asarray(masks)
    maps, marks = _checked(anomaly_maps, given > 0 if given.dtype == REGIONS else given)
    if maps.ndim != 3:
        raise DiffadError(f"anomaly maps have the shape {maps.shape}; give [images,height,width]")
    return maps, given if given.dtype == REGIONS else marks


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray, NDArray[np.bool_]]:
    scores, labels = np.asarray(scores), np.asarray(labels)
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if scores.shape != labels.shape:
        raise DiffadError(
            f"scores of shape {scores.shape} do not fit labels or masks of shape {labels.shape}"
        )
    if not np.isfinite(scores).all():
        count = int((~np.isfinite(scores)).sum())
        raise DiffadError(
            f"{count} of {scores.size} scores are NaN or infinite; "
            "training has probably diverged: try a lower learning rate or precision 32"
        )
    if not ((labels == 0) | (labels == 1)).all():
        raise DiffadError("labels or masks hold values other than 0 and 1; binarise them first")
    return scores, labels.astype(bool)
