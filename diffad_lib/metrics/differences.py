"""Is the difference between two detectors real? Noise of test images, noise of training, both.

Two things can move a figure. Other test images could have been photographed: images are drawn
again, the same ones for both detectors. And other seeds could have been trained: Student's t tells
how far the mean over seeds may be off. The two are independent, so their widths add up as squares.
What both hold in common (a seed that is bad on some images) counts twice, so intervals are a
little too wide rather than too narrow.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from diffad_lib.errors import DiffadError
from diffad_lib.metrics.curves import Floats, checked_scores
from diffad_lib.metrics.intervals import draw_images

POWER = 0.8  # how often a difference has to be found, for `seeds_needed`
MOST_SEEDS = 200
_NORMAL_95, _NORMAL_POWER = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(POWER)
Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The mean of A minus the mean of B, and how far it could be off, as 95 % intervals.

    seeds and both are None where a side has one seed only: its spread is unknown.
    """

    value: float
    images: Interval
    seeds: Interval | None
    both: Interval | None

    @property
    def is_real(self) -> bool | None:
        """Whether the interval of both noises leaves 0 out; None where it is unknown."""
        return None if self.both is None else not self.both[0] <= 0 <= self.both[1]


@lru_cache(1000)
def student_t(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution; probability in [0.5, 1), freedom at least 1.

    With t = √freedom · tan θ the density is cos^(freedom - 1) θ, which is summed over a fine grid.
    """
    theta = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(theta) ** (min(freedom, 1e4) - 1)
    summed = np.r_[0.0, np.cumsum((density[1:] + density[:-1]) / 2)]
    angle = np.interp(probability - 0.5, summed / summed[-1] / 2, theta)
    return float(math.sqrt(freedom) * math.tan(angle))


def mean_interval(values: ArrayLike) -> tuple[float, Interval | None]:
    """The mean of figures of independent seeds [S], and its 95 % interval; None for one seed."""
    figures = np.asarray(values, np.float64)
    mean = float(figures.mean())
    if len(figures) < 2:
        return mean, None
    width = student_t(0.975, len(figures) - 1) * figures.std(ddof=1) / math.sqrt(len(figures))
    return mean, (mean - float(width), mean + float(width))


def seed_difference(a: ArrayLike, b: ArrayLike) -> tuple[float, Interval | None]:
    """Mean of a [S] minus mean of b [R], figures of independent seeds, with Welch's interval."""
    sides = [np.asarray(side, np.float64) for side in (a, b)]
    value = float(sides[0].mean() - sides[1].mean())
    if min(map(len, sides)) < 2:
        return value, None
    parts = [float(side.var(ddof=1)) / len(side) for side in sides]
    total = sum(parts)
    if total == 0:
        return value, (value, value)
    freedom = total**2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True)
    )
    width = student_t(0.975, freedom) * math.sqrt(total)
    return value, (value - width, value + width)


def auroc_difference(
    scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike, samples: int = 2000, seed: int = 0
) -> Difference:
    """Image AUROC of A minus that of B on the same test images.

    scores_a [S,N] and scores_b [R,N]: a row for each seed; labels [N] in {0,1}. AUROC is the mean
    over pairs of a defective and a normal image of "the defective one scores higher" (a tie counts
    half), so a resample of the images is a weighted mean over the pairs. DiffadError as
    `image_auroc`, and for rows that do not fit the labels.
    """
    wins = [_wins(scores, labels) for scores in (scores_a, scores_b)]  # [S,D,G], [R,D,G]
    per_seed = [won.mean(axis=(1, 2)) for won in wins]
    value, seeds = seed_difference(*per_seed)
    gap = wins[0].mean(axis=0) - wins[1].mean(axis=0)  # [D,G]
    defective = np.asarray(labels).astype(bool)
    weights = draw_images(defective, samples, np.random.default_rng(seed))
    of_defects, of_normal = weights[:, defective], weights[:, ~defective]
    resampled = ((of_defects @ gap) * of_normal).sum(axis=1) / gap.size
    low, high = np.percentile(resampled, [2.5, 97.5]).tolist()
    return combined(value, (low, high), seeds)


def combined(value: float, images: Interval, seeds: Interval | None) -> Difference:
    """Both noises together; each side of the intervals is combined by itself."""
    if seeds is None:
        return Difference(value, images, None, None)
    below = math.hypot(max(value - images[0], 0), value - seeds[0])
    above = math.hypot(max(images[1] - value, 0), seeds[1] - value)
    return Difference(value, images, seeds, (value - below, value + above))


def unpaired(value: float, a: Interval, b: Interval) -> Interval:
    """The interval of a difference from those of both sides [low, high] around their values.

    Too wide where the same images are hard for both, as they mostly are.
    """
    width = math.hypot((a[1] - a[0]) / 2, (b[1] - b[0]) / 2)
    return value - width, value + width


def seeds_needed(found: Difference, spread_a: float, spread_b: float) -> int | None:
    """Seeds a side with which so large a difference is called real 4 times of 5 (POWER).

    spread_a, spread_b: standard deviations over seeds. None where the test images alone leave too
    much open, so that no number of seeds is enough; for more than MOST_SEEDS; for no difference.
    """
    size = abs(found.value)
    images = (found.images[1] - found.images[0]) / 2 / _NORMAL_95  # standard error
    if size <= (_NORMAL_95 + _NORMAL_POWER) * images:
        return None
    for count in range(2, MOST_SEEDS + 1):
        seeds = math.sqrt((spread_a**2 + spread_b**2) / count)
        freedom = 2 * (count - 1)
        limit = math.hypot(_NORMAL_95 * images, student_t(0.975, freedom) * seeds)
        if size >= limit + student_t(POWER, freedom) * math.hypot(images, seeds):
            return count
    return None


def _wins(scores: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """[S,D,G]: 1 where the defective image d scores above the normal image g, a tie counts 0.5."""
    rows = np.atleast_2d(np.asarray(scores, np.float64))
    each: list[Floats] = []
    for row in rows:
        given, defective = checked_scores(row, labels)
        if defective.all() or not defective.any():
            raise DiffadError("only one class of images is given; AUROC needs normal and defective")
        defects, normal = given[defective][:, None], given[~defective][None]
        each.append((defects > normal) + 0.5 * (defects == normal))
    return np.stack(each)
