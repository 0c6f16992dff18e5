"""Perlin noise, a grid for every image. Source: DRAEM section 3.3, perlin.py, data_loader.py."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SCALE_EXPONENTS = 6  # grid cells per axis are 2^k, k uniform in 0 … 5
THRESHOLD = 0.5
_LATTICE = 2 ** (SCALE_EXPONENTS - 1) + 1  # gradients per axis of the finest grid


def uniform(generator: torch.Generator, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """float32 [count], uniform in [low, high), on the generator's device."""
    values = torch.rand(count, generator=generator, device=generator.device)
    return low + (high - low) * values


def random_scales(count: int, generator: torch.Generator) -> Tensor:
    """int64 [count,2]: grid cells along y and x, drawn independently from 1, 2, 4, 8, 16, 32."""
    exponents = torch.randint(
        SCALE_EXPONENTS, (count, 2), generator=generator, device=generator.device
    )
    return 2**exponents


def perlin_noise(scales: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """float32 [B,1,H,W] Perlin noise times √2, about in [-1, 1]; scales int64 [B,2].

    Quintic fade, unit gradients of random direction; sides need not be multiples of the scales.
    """
    batch, device = len(scales), generator.device
    angles = 2 * math.pi * torch.rand(batch, _LATTICE**2, generator=generator, device=device)
    gradients = torch.stack([angles.sin(), angles.cos()])  # [2,B,lattice²]: along y, along x
    y = torch.arange(height, device=device) / height * scales[:, :1]  # [B,H], in cells
    x = torch.arange(width, device=device) / width * scales[:, 1:]  # [B,W]
    row, column = y.long(), x.long()
    y, x = (y - row)[:, :, None], (x - column)[:, None, :]  # inside the cell, in [0,1)

    def ramp(down: int, right: int) -> Tensor:
        """Product of a corner's gradient with the way from that corner, [B,H,W]."""
        index = (row[:, :, None] + down) * _LATTICE + column[:, None, :] + right  # [B,H,W]
        along_y, along_x = gradients.gather(2, index.flatten(1).expand(2, -1, -1))
        return along_y.view_as(index) * (y - down) + along_x.view_as(index) * (x - right)

    fade_y, fade_x = (t**3 * (t * (6 * t - 15) + 10) for t in (y, x))
    top = torch.lerp(ramp(0, 0), ramp(0, 1), fade_x.expand(-1, height, -1))
    bottom = torch.lerp(ramp(1, 0), ramp(1, 1), fade_x.expand(-1, height, -1))
    noise = torch.lerp(top, bottom, fade_y.expand(-1, -1, width))
    return math.sqrt(2) * noise[:, None]  # [B,1,H,W]


def rotate(images: Tensor, degrees: Tensor, padding: str = "zeros") -> Tensor:
    """Rotate [B,C,H,W] about the centre by degrees [B], bilinear, same size.

    padding: "zeros" fills the corners with 0, "reflection" with the mirrored image.
    """
    radians = torch.deg2rad(degrees)
    aspect = images.shape[3] / images.shape[2]
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    # Grid coordinates are in units of half the width and half the height.
    first = torch.stack([cos, -sin / aspect, zero], dim=1)
    second = torch.stack([sin * aspect, cos, zero], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), False)
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=False)


def perlin_masks(scales: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """float32 [B,1,H,W] in {0,1}: noise rotated by U(-90°, 90°) and above 0.5."""
    noise = perlin_noise(scales, height, width, generator)
    noise = rotate(noise, uniform(generator, len(scales), -90, 90))
    return (noise > THRESHOLD).float()
