"""Intervals of differences: the same pictures are drawn again for both sides (paired bootstrap).

A picture that is hard is hard for both sides. So a difference is often certain where the two
intervals overlap.
"""

import numpy as np
import torch
from torch import Tensor

from diffad_lib.metrics.intervals import draw_images, resampled


def redrawn(labels: Tensor, samples: int = 1000, seed: int = 0) -> Tensor:
    """How often each picture is in each resample, float64 [samples,N].

    labels: [N] in {0,1}; pictures with and without a defect keep their number.
    """
    drawn = draw_images(labels.numpy() > 0, samples, np.random.default_rng(seed))
    return torch.from_numpy(drawn)


def redrawn_auroc(scores: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Image AUROC of each resample, float64 [S]; scores and labels are [N], counts [S,N]."""
    return _redrawn("image_auroc", scores[:, None, None], labels[:, None, None], counts)


def redrawn_ap(maps: Tensor, masks: Tensor, counts: Tensor) -> Tensor:
    """Pixel AP of each resample, float64 [S]; maps and masks are [N,H,W] or [N,1,H,W].

    Counted once each, the pictures give `pixel_ap` but for some ten-thousandths.
    """
    return _redrawn("pixel_ap", maps.flatten(1, -2), masks.flatten(1, -2), counts)


def _redrawn(name: str, maps: Tensor, masks: Tensor, counts: Tensor) -> Tensor:
    return torch.from_numpy(resampled(name, maps.numpy(), masks.numpy(), counts.numpy()))


def mean_interval(values: Tensor) -> tuple[float, float]:
    """The 95 % interval of the mean of values [N], over resamples of the pictures."""
    counts = redrawn(torch.ones(len(values)))
    return interval(counts @ values.double() / len(values))


def interval(values: Tensor) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of resamples [S]."""
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = values.double().quantile(ends).tolist()
    return low, high
