"""Image scores from anomaly maps, and a threshold for them."""

import math
from typing import Annotated

import numpy as np
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor


def smoothed_maximum(anomaly_map: Tensor, window: int = 21) -> Tensor:
    """Image score [B]: the maximum of [B,1,H,W] averaged over window x window pixels, 0 outside.

    The code of arXiv 2108.07610 takes 21 for images of 256 pixels.
    """
    smooth = F.avg_pool2d(anomaly_map, window, stride=1, padding=window // 2)
    return smooth.flatten(1).amax(dim=1)


def highest_mean(anomaly_map: Tensor, pixels: int = 50) -> Tensor:
    """Image score [B]: mean of the highest pixels of [B,1,H,W]; 50 of 256² in arXiv 2303.08730."""
    return anomaly_map.flatten(1).topk(pixels, dim=1).values.mean(dim=1)


def threshold_for(good_scores: Tensor, rate: float) -> float:
    """The lowest of the scores [N] of good images that at most the share `rate` of them is above.

    0 <= rate < 1. Equal scores are not above each other, so it may be fewer. A rate below 1/N
    gives the highest score.
    """
    return good_scores.sort(descending=True).values[images_above(len(good_scores), rate)].item()


def images_above(count: int, rate: float) -> int:
    """How many of `count` images may lie above a threshold: at most the share `rate`."""
    return math.floor(round(rate * count, 9))  # 0.29 of 100 is 28.999999999999996


def false_alarm_rates(count: int, above: int) -> tuple[float, float, float]:
    """Mean and 95 % interval of the share of further good images above one of `count` good scores.

    above: of them those above it. The share is distributed as Beta(above + 1, count - above),
    whatever the distribution of the scores is (order statistics), if all images are independent.
    """
    shares, below = np.linspace(0, 1, 20_001)[1:-1], 1.0  # the probability of a lower share
    for k in range(above + 1):
        ways = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        below = below - np.exp(ways + k * np.log(shares) + (count - k) * np.log1p(-shares))
    low, high = np.interp((0.025, 0.975), below, shares)
    return (above + 1) / (count + 1), float(low), float(high)


def _odd(window: int) -> int:
    if window % 2 == 0:
        raise ValueError("a window must be odd, so that it has a middle")
    return window


Window = Annotated[
    int,
    AfterValidator(_odd),
    Field(ge=1, le=4095, description="side of the averaged windows, pixels, odd"),
]
"""Side of the windows of `smoothed_maximum`, as a setting."""
