"""The ten random augmentations of anomaly sources, batched on the device.

Every function takes images float32 [B,3,H,W] in [0,1] and a generator, draws its own strength
for every image, and returns the same shape and range. 8-bit units of the sources are divided by
255. Source: DRAEM's and DiffusionAD's data loaders (imgaug).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from kornia.color import hsv_to_rgb, rgb_to_hsv
from kornia.enhance import equalize as kornia_equalize
from torch import Tensor

from diffad_lib.synthesis.perlin import rotate, uniform

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
PICKED = 3  # augmentations per image


def gamma_contrast(images: Tensor, generator: torch.Generator) -> Tensor:
    """v^γ, γ ~ U(0.5, 2) for every channel."""
    exponents = uniform(generator, 3 * len(images), 0.5, 2.0)
    return images ** exponents.reshape(-1, 3, 1, 1)


def brightness(images: Tensor, generator: torch.Generator) -> Tensor:
    """v·m + a, m ~ U(0.8, 1.2), a ~ U(-30, 30)/255."""
    factor = _per_image(generator, images, 0.8, 1.2)
    return (images * factor + _per_image(generator, images, -30 / 255, 30 / 255)).clamp(0, 1)


def sharpness(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blend with a smoothed image: factor U(0.1, 1.9), 1 changes nothing, below 1 blurs.

    The smoothing kernel is PIL's: ones with a 5 in the middle, divided by 13.
    """
    kernel = images.new_ones(3, 1, 3, 3)
    kernel[:, :, 1, 1] = 5
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    smooth = F.conv2d(padded, kernel / 13, groups=3)
    factor = _per_image(generator, images, 0.1, 1.9)
    return (smooth + factor * (images - smooth)).clamp(0, 1)


def hue_and_saturation(images: Tensor, generator: torch.Generator) -> Tensor:
    """Hue turned by U(-50, 50)/255 of a full turn, saturation moved by U(-50, 50)/255."""
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
    """Stretch every channel so that a share U(0, 0.1) is cut at either end."""
    pixels = images.flatten(2)  # [B,3,HW]
    ordered = pixels.sort(dim=2).values
    cut = (_per_image(generator, images, 0, 0.1)[..., 0] * pixels.shape[2]).long()  # [B,1,1]
    index = cut.expand(-1, 3, -1)
    low, high = ordered.gather(2, index), ordered.gather(2, pixels.shape[2] - 1 - index)
    stretched = (pixels - low) / (high - low).clamp(min=1 / 255)
    return torch.where(high > low, stretched, pixels).clamp(0, 1).view_as(images)


def equalize(images: Tensor, generator: torch.Generator) -> Tensor:
    """Equalise the histogram of every channel. Draws nothing."""
    return kornia_equalize(images)


def rotate_45(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate by U(-45°, 45°); corners become black."""
    return rotate(images, uniform(generator, len(images), -45, 45))


AUGMENTATIONS: tuple[Augmentation, ...] = (
    gamma_contrast,
    brightness,
    sharpness,
    hue_and_saturation,
    solarize,
    posterize,
    invert,
    autocontrast,
    equalize,
    rotate_45,
)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply 3 different augmentations of the 10 to every image [B,3,H,W] in [0,1].

    They are applied in the order of `AUGMENTATIONS`, each to the images that drew it at once; the
    official code draws the order too.
    """
    ranks = torch.rand(len(images), len(AUGMENTATIONS), generator=generator, device=images.device)
    picked = ranks.argsort(dim=1)[:, :PICKED]  # [B,3]
    images = images.clone()
    for number, augmentation in enumerate(AUGMENTATIONS):
        chosen = (picked == number).any(dim=1).nonzero()[:, 0]
        if len(chosen):
            images[chosen] = augmentation(images[chosen], generator)
    return images


def _per_image(
    generator: torch.Generator, images: Tensor, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """[B,1,1,1], uniform in [low, high)."""
    return uniform(generator, len(images), low, high).reshape(-1, 1, 1, 1)
