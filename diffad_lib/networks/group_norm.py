"""Group norm that stays in the dtype of its input; backward as fast as forward on a CPU."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_AT_A_TIME = 2**18  # values; what is computed of so many stays in a processor's cache
_MANY = 2**17  # values from which on the rows of pixels pay


class GroupNorm(nn.GroupNorm):
    """Group norm in the dtype of its input, with float32 statistics, also under autocast.

    Autocast on a GPU would compute it in float32, and keep a float32 copy of every input for the
    backward pass: more memory than all convolutions. Without autocast nothing changes.
    """

    def forward(self, x: Tensor) -> Tensor:
        # On a CPU the statistics have the dtype of the weight, elsewhere it has to be that of x.
        dtype = self.weight.dtype if x.device.type == "cpu" else x.dtype
        weight, bias = self.weight.to(dtype), self.bias.to(dtype)
        with torch.autocast(x.device.type, enabled=False):
            if torch.is_grad_enabled() and _is_slow_backward(x):
                y: Tensor = _ByPixels.apply(x, self.num_groups, weight, bias, self.eps)
                return y
            return F.group_norm(x, self.num_groups, weight, bias, self.eps)


def _is_slow_backward(x: Tensor) -> bool:
    """Channels-last on a CPU: PyTorch's backward pass takes up to 90 times the forward pass."""
    if x.device.type != "cpu" or x.dim() != 4 or x.numel() < _MANY or x.is_contiguous():
        return False
    return x.is_contiguous(memory_format=torch.channels_last)


class _ByPixels(torch.autograd.Function):
    """Group norm of x [B,C,H,W] in channels-last; the backward pass takes pixels as rows.

    Wu and He 2018 (arXiv 1803.08494): y = γ x̂ + β with x̂ = (x − mean) · scale of each group.
    It keeps for the backward pass what PyTorch keeps: the input and the statistics.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float
    ) -> Tensor:
        batch, channels, height, width = x.shape
        sizes = batch, channels, height * width, groups
        y, mean, scale = torch.ops.aten.native_group_norm(x, weight, bias, *sizes, eps)
        ctx.save_for_backward(x, weight, mean, scale)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, Tensor, None]:
        x, weight, mean, scale = ctx.saved_tensors
        groups = mean.shape[1]
        mean, scale = (_by_channel(one, x.shape[1]) for one in (mean, scale))  # [B,C]
        of_y, values = _rows(grad), _rows(x)  # [B,P,C]
        sums, products = torch.zeros_like(mean), torch.zeros_like(mean)
        for image, pixels in _parts(values):
            part = of_y[image, pixels].to(mean.dtype)
            sums[image] += part.sum(0)
            products[image] += (part * values[image, pixels]).sum(0)
        products = (products - sums * mean) * scale  # of the gradient and x̂, over the pixels

        centre, slope = (_mean_of_group(weight * one, groups) for one in (sums, products))
        by_y, by_x = scale * weight, -slope * scale**2 / values.shape[1]
        constant = -centre * scale / values.shape[1] - by_x * mean
        of_x = torch.empty_like(values)
        for image, pixels in _parts(values):
            part = torch.addcmul(constant[image], values[image, pixels].to(mean.dtype), by_x[image])
            of_x[image, pixels] = part.addcmul_(of_y[image, pixels].to(mean.dtype), by_y[image])
        as_x = of_x.view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
        return as_x, None, products.sum(0), sums.sum(0), None


def _rows(x: Tensor) -> Tensor:
    """[B,C,H,W] -> [B,pixels,C], without a copy of what is in channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _parts(rows: Tensor) -> Iterator[tuple[int, slice]]:
    """Image and pixels of each part that is computed at a time."""
    step = max(1, _AT_A_TIME // rows.shape[2])
    for image in range(rows.shape[0]):
        for first in range(0, rows.shape[1], step):
            yield image, slice(first, first + step)


def _by_channel(of_groups: Tensor, channels: int) -> Tensor:
    """[B,groups] -> [B,C]."""
    return of_groups.repeat_interleave(channels // of_groups.shape[1], dim=1)


def _mean_of_group(of_channels: Tensor, groups: int) -> Tensor:
    """Each channel's value becomes the mean of its group, [B,C]."""
    means = of_channels.unflatten(1, (groups, -1)).mean(2)
    return _by_channel(means, of_channels.shape[1])
