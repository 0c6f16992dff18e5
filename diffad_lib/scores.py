"""Image scores from anomaly maps."""

from typing import Annotated

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
