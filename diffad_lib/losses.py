"""Losses of the detectors. All compute in float32, also under autocast."""

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean structural similarity [] of images [B,C,H,W] in [0,1]; 1 for equal images.

    Gaussian window 11x11 with sigma 1.5, zero padding, K1 = 0.01, K2 = 0.03 (VitjanZ/DRAEM
    loss.py). As there, the dynamic range is 1, but 2 while `prediction` goes below -0.5.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, target = prediction.float(), target.float()
        dynamic_range = 1 + (prediction.detach().amin() < -0.5).float()
        c1, c2 = (0.01 * dynamic_range) ** 2, (0.03 * dynamic_range) ** 2
        products = (prediction, target, prediction**2, target**2, prediction * target)
        mean_p, mean_t, mean_pp, mean_tt, mean_pt = _gaussian_filter(torch.cat(products, 1)).chunk(
            5, dim=1
        )
        variances = (mean_pp - mean_p**2) + (mean_tt - mean_t**2)
        covariance = mean_pt - mean_p * mean_t
        luminance = (2 * mean_p * mean_t + c1) / (mean_p**2 + mean_t**2 + c1)
        return (luminance * (2 * covariance + c2) / (variances + c2)).mean()


def softmax_focal_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Focal loss [] of DRAEM, gamma = 2, on the softmax of two classes (VitjanZ/DRAEM loss.py).

    logits: [B,2,H,W], class 1 is anomalous; mask: [B,1,H,W] in {0,1}. Labels are smoothed by
    1e-5, and 1e-5 is added to the probability inside the logarithm.
    """
    smooth = 1e-5
    normal, anomalous = logits.float().softmax(dim=1).chunk(2, dim=1)  # 2 x [B,1,H,W]
    label = mask.float().clamp(smooth, 1 - smooth)
    probability = label * anomalous + (1 - label) * normal + smooth
    return (-((1 - probability) ** 2) * probability.log()).mean()


def sigmoid_focal_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Focal loss [] of DiffusionAD, alpha = 0.5 and gamma = 4 (HuiZhang0812/DiffusionAD train.py).

    logits: [B,1,H,W] before the sigmoid; mask: [B,1,H,W] in {0,1}. Alpha weighs both classes alike.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(
        logits.float(), mask.float(), reduction="none"
    )
    return (0.5 * (1 - torch.exp(-cross_entropy)) ** 4 * cross_entropy).mean()


def _gaussian_filter(images: Tensor) -> Tensor:
    """Every channel of [B,C,H,W] filtered with the SSIM window, zero-padded: two 1-D passes."""
    # In this format a CPU runs depthwise convolutions about five times faster.
    images = images.contiguous(memory_format=torch.channels_last)
    channels, half = images.shape[1], SSIM_WINDOW // 2
    offsets = torch.arange(-half, half + 1, device=images.device, dtype=images.dtype)
    weights = torch.softmax(-(offsets**2) / (2 * SSIM_SIGMA**2), dim=0)
    column = weights.reshape(1, 1, -1, 1).repeat(channels, 1, 1, 1)
    rows = F.conv2d(images, column, padding=(half, 0), groups=channels)
    return F.conv2d(rows, column.transpose(2, 3), padding=(0, half), groups=channels)
