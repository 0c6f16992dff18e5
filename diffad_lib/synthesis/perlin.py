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
    The noise of a pixel is a sum over the corners of its cell: the product of a corner's gradient
    with the way from it, times how near it is along y, times how near it is along x. So along each
    axis it is a matrix product of the gradients.
    """
    batch, device = len(scales), generator.device
    angles = 2 * math.pi * torch.rand(batch, _LATTICE**2, generator=generator, device=device)
    angles = angles.view(batch, _LATTICE, _LATTICE)
    near_y, way_y = _corners(scales[:, 0], height)  # [B,H,lattice]
    near_x, way_x = _corners(scales[:, 1], width)  # [B,W,lattice]
    noise = way_y @ angles.sin() @ near_x.mT + near_y @ angles.cos() @ way_x.mT
    return math.sqrt(2) * noise[:, None]  # [B,1,H,W]


def _corners(cells: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """How near each lattice point is along an axis, and that times the way from it.

    cells int64 [B]: on the axis. Both [B,length,lattice]; 0 but for the two ends of a pixel's cell.
    """
    position = torch.arange(length, device=cells.device) / length * cells[:, None]  # in cells
    first = position.long()[:, :, None]
    inside = position[:, :, None] - first  # of the cell, in [0,1)
    fade = inside**3 * (inside * (6 * inside - 15) + 10)
    lattice = torch.arange(_LATTICE, device=cells.device)
    start, end = (lattice == first) * (1 - fade), (lattice == first + 1) * fade
    return start + end, start * inside + end * (inside - 1)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate [B,C,H,W] about the centre by degrees [B], bilinear, same size; corners become 0."""
    height, width = images.shape[2:]
    radians = torch.deg2rad(degrees)[:, None, None]
    cos, sin, aspect = radians.cos(), radians.sin(), width / height
    # In units of half the width and half the height. F.affine_grid has the same result by a matrix
    # product, which takes five times as long, and where TF32 is allowed would move pixels.
    x, y = _centres(width, images.device), _centres(height, images.device)[:, None]
    grid = torch.stack([cos * x - sin / aspect * y, sin * aspect * x + cos * y], dim=3)
    return F.grid_sample(images, grid, align_corners=False)


def _centres(length: int, device: torch.device) -> Tensor:
    """Of the pixels of an axis that reaches from -1 to 1, [length]."""
    return torch.linspace(-1, 1, length, device=device) * (length - 1) / length


def perlin_masks(scales: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """float32 [B,1,H,W] in {0,1}: noise rotated by U(-90°, 90°) and above 0.5."""
    noise = perlin_noise(scales, height, width, generator)
    noise = rotate(noise, uniform(generator, len(scales), -90, 90))
    return (noise > THRESHOLD).float()
