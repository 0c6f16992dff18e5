"""Synthetic anomalies: a batch of normal images becomes a training batch, on the device."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffad_lib.synthesis.augment import augment
from diffad_lib.synthesis.foreground import random_regions
from diffad_lib.synthesis.perlin import (
    perlin_masks,
    perlin_noise,
    random_scales,
    rotate,
    uniform,
)
from diffad_lib.types import TrainingBatch

PATCHES = 8  # self-augmentation shuffles 8 x 8 patches
MASK_TRIES = 50


@dataclass(frozen=True)
class SynthesisRecipe:
    """How anomalies are made.

    beta_range: β ~ U of it, the share of the normal image that shows through the anomaly.
    anomaly_probability: share of images that get an anomaly.
    self_augmentation_probability: share of an object's anomalies whose source is the image
        itself, augmented and with its patches shuffled, instead of a texture.
    random_regions: keep a texture's anomalies inside a random region, as DiffusionAD does.
    rotation_probability, rotation_degrees: share of normal images that are rotated by
        U(-degrees, degrees) before anything else; corners become black.
    lighting: largest gain or loss of light, drawn for every place and channel of a normal image
        from slow noise; 0 leaves the images as they are. Not in the papers.
    """

    beta_range: tuple[float, float] = (0.0, 0.8)
    anomaly_probability: float = 0.5
    self_augmentation_probability: float = 0.0
    random_regions: bool = False
    rotation_degrees: float = 0.0
    rotation_probability: float = 0.0
    lighting: float = 0.0


# DRAEM section 3.2 and 4 (the code rotates by ±90° with probability 0.3).
DRAEM_RECIPE = SynthesisRecipe(rotation_degrees=45, rotation_probability=1.0)
# DiffusionAD section 3.3; used with foreground masks.
DIFFUSIONAD_RECIPE = SynthesisRecipe(
    beta_range=(0.2, 0.8), self_augmentation_probability=0.5, random_regions=True
)


class Synthesizer:
    """Pastes anomalies onto normal images.

    textures: uint8 [M,3,S,S], S the size of the images. kind: only an "object" is used as a
    source of its own anomalies, only a "texture" gets random regions.
    """

    def __init__(
        self,
        textures: NDArray[np.uint8],
        recipe: SynthesisRecipe,
        kind: Literal["texture", "object"] = "object",
    ) -> None:
        if len(textures) == 0:
            raise ValueError("at least one texture is needed")
        self.textures, self.recipe = textures, recipe
        self.own_share = recipe.self_augmentation_probability if kind == "object" else 0.0
        self.random_regions = recipe.random_regions and kind == "texture"

    def __call__(
        self, images: Tensor, foreground: Tensor | None, generator: torch.Generator
    ) -> TrainingBatch:
        """images float32 [B,3,H,W] in [0,1], foreground [B,1,H,W] in {0,1} or None.

        Every random number comes from the generator, which sits on the images' device. An image
        whose mask stays empty (no foreground, or 50 empty draws) is a normal one, as officially.
        Raises ValueError if the textures are not of the images' size.
        """
        if images.shape[1:] != self.textures.shape[1:]:
            raise ValueError(
                f"images are {list(images.shape[1:])}, textures {list(self.textures.shape[1:])}"
            )
        images, foreground = self._rotated(images, foreground, generator)
        if self.recipe.lighting > 0:
            images = relight(images, self.recipe.lighting, generator)
        if self.random_regions:
            foreground = random_regions(len(images), *images.shape[2:], generator)
        masks = torch.zeros_like(images[:, :1])  # [B,1,H,W]
        chosen = uniform(generator, len(images)) < self.recipe.anomaly_probability
        rows = chosen.nonzero()[:, 0]
        if len(rows) == 0:
            return TrainingBatch(images, images, masks, generator)
        masks[rows] = self._masks(images[rows], _at(foreground, rows), generator)
        sources = self._sources(images[rows], generator)
        beta = uniform(generator, len(rows), *self.recipe.beta_range).reshape(-1, 1, 1, 1)
        anomalous = images.clone()
        anomalous[rows] = torch.where(
            masks[rows] > 0, (1 - beta) * sources + beta * images[rows], images[rows]
        )
        return TrainingBatch(images, anomalous, masks, generator)

    def _rotated(
        self, images: Tensor, foreground: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        recipe = self.recipe
        rows = (uniform(generator, len(images)) < recipe.rotation_probability).nonzero()[:, 0]
        if len(rows) == 0:
            return images, foreground
        degrees = uniform(generator, len(rows), -recipe.rotation_degrees, recipe.rotation_degrees)
        images = images.clone()  # the others stay as they are, to the bit
        images[rows] = rotate(images[rows], degrees)
        if foreground is not None:
            foreground = foreground.clone()
            foreground[rows] = (rotate(foreground[rows], degrees) > 0.5).float()
        return images, foreground

    def _masks(
        self, images: Tensor, foreground: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Perlin masks [B,1,H,W], cut to the foreground and drawn again while that is empty."""
        size = images.shape[2:]
        scales = random_scales(len(images), generator)
        masks = perlin_masks(scales, *size, generator)
        if foreground is None:
            return masks
        masks = masks * foreground
        for _ in range(MASK_TRIES - 1):
            empty = (~masks.flatten(1).any(dim=1)).nonzero()[:, 0]
            if len(empty) == 0:
                break
            masks[empty] = perlin_masks(scales[empty], *size, generator) * foreground[empty]
        return masks

    def _sources(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """What the anomalies show, [B,3,H,W]: augmented textures, or the shuffled image itself."""
        own = uniform(generator, len(images)) < self.own_share  # [B]
        index = torch.randint(
            len(self.textures), (len(images),), generator=generator, device=images.device
        )
        textures = torch.from_numpy(np.ascontiguousarray(self.textures[index.cpu().numpy()]))
        textures = textures.to(images.device).float() / 255
        sources = augment(torch.where(own[:, None, None, None], images, textures), generator)
        shuffled = shuffle_patches(sources, generator)
        return torch.where(own[:, None, None, None], shuffled, sources)


def relight(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Images [B,3,H,W] in [0,1] under uneven light that is up to `strength` stronger or weaker.

    Half of the gain is common to the channels, half is a tint. It varies slowly over the image.
    """
    batch, _, height, width = images.shape
    # Four fields for every image: one of light, three of tint; 1 or 2 cells of noise a side.
    cells = torch.randint(1, 3, (4 * batch, 2), generator=generator, device=images.device)
    offsets = uniform(generator, 4 * batch, -1, 1).reshape(-1, 1, 1, 1)
    fields = (perlin_noise(cells, height, width, generator) + offsets) / 2  # [4B,1,H,W] in [-1,1]
    light, tint = fields.view(batch, 4, height, width).split((1, 3), dim=1)
    return (images * (1 + strength * (light + tint) / 2)).clamp(0, 1)


def shuffle_patches(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shuffle the 8 x 8 patches of every image [B,C,H,W]; H and W multiples of 8.

    Any order is equally likely. The official code shuffles whole columns, then whole rows, of
    patches, which keeps patches of a column together.
    """
    batch, channels, height, width = images.shape
    grid = images.reshape(batch, channels, PATCHES, height // PATCHES, PATCHES, width // PATCHES)
    patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # [B,64,C,h,w]
    ranks = torch.rand(batch, PATCHES**2, generator=generator, device=images.device)
    order = ranks.argsort(dim=1)[:, :, None, None, None].expand_as(patches)
    grid = patches.gather(1, order).unflatten(1, (PATCHES, PATCHES))  # [B,8,8,C,h,w]
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def _at(foreground: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if foreground is None else foreground[rows]
