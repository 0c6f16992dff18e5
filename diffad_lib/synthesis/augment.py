"""The ten random augmentations of anomaly sources, batched on the device.

Every function takes images float32 [B,3,H,W] in [0,1] and a generator, draws its own strength
for every image, and returns the same shape and range. 8-bit units of the sources are divided by
255. Source: DRAEM's and DiffusionAD's data loaders, else the default ranges of imgaug 0.4.0.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from diffad_lib.synthesis.perlin import rotate, uniform

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
PICKED = 3  # augmentations per image


def gamma_contrast(images: Tensor, generator: torch.Generator) -> Tensor:
    """v^γ, γ ~ U(0.5, 2) for every channel."""
    exponents = uniform(generator, 3 * len(images), 0.5, 2.0)
    return images ** exponents.reshape(-1, 3, 1, 1)


def brightness(images: Tensor, generator: torch.Generator) -> Tensor:
    """v·m + a, m ~ U(0.8, 1.2), a ~ U(-30, 30)/255. imgaug does so in a drawn colour space."""
    factor = _per_image(generator, images, 0.8, 1.2)
    return (images * factor + _per_image(generator, images, -30 / 255, 30 / 255)).clamp(0, 1)


def sharpness(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blend with a smoothed image: factor U(0, 2), 1 changes nothing, below 1 blurs."""
    kernel = images.new_ones(3, 1, 3, 3)
    kernel[:, :, 1, 1] = 5  # as in PIL
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    smooth = F.conv2d(padded, kernel / 13, groups=3)
    factor = _per_image(generator, images, 0, 2)
    return (smooth + factor * (images - smooth)).clamp(0, 1)


def hue_and_saturation(images: Tensor, generator: torch.Generator) -> Tensor:
    """Hue turned by U(-50, 50)/255 of a full turn, saturation moved by U(-50, 50)/255."""
    from kornia.color import hsv_to_rgb, rgb_to_hsv  # here, because it is slow to import

    hue, saturation, value = rgb_to_hsv(images).unbind(dim=1)  # hue in [0, 2π)
    turn = 2 * torch.pi * _per_image(generator, images, -50 / 255, 50 / 255)[:, 0]
    shift = _per_image(generator, images, -50 / 255, 50 / 255)[:, 0]
    hue = (hue + turn) % (2 * torch.pi)
    return hsv_to_rgb(torch.stack([hue, (saturation + shift).clamp(0, 1), value], dim=1))


def solarize(images: Tensor, generator: torch.Generator) -> Tensor:
    """In every second image, invert values of at least U(32, 128)/255."""
    threshold = _per_image(generator, images, 32 / 255, 128 / 255)
    chosen = _per_image(generator, images) < 0.5
    return torch.where(chosen & (images >= threshold), 1 - images, images)


def posterize(images: Tensor, generator: torch.Generator) -> Tensor:
    """Keep the highest 1 … 8 bits of every value."""
    bits = torch.randint(1, 9, (len(images), 1, 1, 1), generator=generator, device=images.device)
    step = 2.0 ** (8 - bits)
    return (images * 255 / step).floor() * step / 255


def invert(images: Tensor, generator: torch.Generator) -> Tensor:
    """1 - v. Draws nothing; the argument keeps the signature of the others."""
    return 1 - images


def autocontrast(images: Tensor, generator: torch.Generator) -> Tensor:
    """Stretch every channel after 0 … 20 whole percent of its pixels are cut at either end.

    As PIL.ImageOps.autocontrast, without rounding to 8 bits. A channel of one value stays.
    """
    percent = torch.randint(21, (len(images), 1, 1), generator=generator, device=images.device)
    levels, histogram = _levels(images)
    cut = histogram.sum(dim=2, keepdim=True) * percent // 100  # [B,3,1]
    low = (histogram.cumsum(dim=2) <= cut).sum(dim=2, keepdim=True)
    high = 255 - (histogram.flip(2).cumsum(dim=2) <= cut).sum(dim=2, keepdim=True)
    stretched = ((levels - low) / (high - low).clamp(min=1)).clamp(0, 1)
    return torch.where(high > low, stretched.float(), levels / 255).view_as(images)


def equalize(images: Tensor, generator: torch.Generator) -> Tensor:
    """Equalise the histogram of every channel, as PIL.ImageOps.equalize. Draws nothing."""
    levels, histogram = _levels(images)
    below = histogram.cumsum(dim=2) - histogram  # [B,3,256], pixels darker than each level
    # All pixels but those of the brightest level that occurs.
    darker = torch.where(histogram > 0, below, 0).amax(dim=2, keepdim=True)
    step = darker // 255
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    equalized = torch.where(step > 0, table.gather(2, levels), levels)
    return (equalized / 255).view_as(images)


def rotate_45(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate by U(-45°, 45°); corners become black."""
    return rotate(images, uniform(generator, len(images), -45, 45))


AUGMENTATIONS: tuple[Augmentation, ...] = (
    gamma_contrast, brightness, sharpness, hue_and_saturation, solarize,
    posterize, invert, autocontrast, equalize, rotate_45,
)  # fmt: skip


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply 3 different augmentations of the 10 to every image [B,3,H,W] in [0,1].

    Which ones and in which order is drawn for every image. A step runs each once, where drawn.
    """
    ranks = torch.rand(len(images), len(AUGMENTATIONS), generator=generator, device=images.device)
    order = ranks.argsort(dim=1)[:, :PICKED]  # [B,3]
    images = images.clone()
    for drawn in order.unbind(dim=1):
        for number in drawn.unique().tolist():
            rows = (drawn == number).nonzero()[:, 0]
            images[rows] = AUGMENTATIONS[number](images[rows], generator)
    return images


def _levels(images: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit levels int64 [B,3,HW], and how often each of the 256 occurs, int64 [B,3,256]."""
    levels = (images * 255).round().long().flatten(2)
    channels = levels.shape[0] * levels.shape[1]
    offsets = 256 * torch.arange(channels, device=images.device).reshape(-1, levels.shape[1], 1)
    counts = torch.bincount((levels + offsets).flatten(), minlength=256 * channels)
    return levels, counts.view(*levels.shape[:2], 256)


def _per_image(
    generator: torch.Generator, images: Tensor, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """[B,1,1,1], uniform in [low, high)."""
    return uniform(generator, len(images), low, high).reshape(-1, 1, 1, 1)
