"""Synthetic anomalies: a batch of normal images becomes a training batch, on the device."""

from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor

from diffad_lib.settings import Settings, setting
from diffad_lib.synthesis.augment import augment
from diffad_lib.synthesis.foreground import random_regions
from diffad_lib.synthesis.perlin import perlin_masks, perlin_noise, random_scales, rotate, uniform
from diffad_lib.types import TrainingBatch

PATCHES = 8  # self-augmentation shuffles 8 x 8 patches
MASK_TRIES = 50


class NormalSettings(Settings):
    """How normal images are varied; all that a method needs which reads nothing else."""

    rotation_degrees: float = setting(
        0.0, "largest angle by which normal images are turned; corners become black", ge=0, le=180
    )
    rotation_probability: float = setting(0.0, "share of normal images that are turned", ge=0, le=1)
    lighting: float = setting(
        0.0, "largest slow gain or loss of light on normal images; not in the papers", ge=0, le=1
    )


class SynthesisSettings(NormalSettings):
    """How anomalies are made."""

    beta_min: float = setting(0.0, "least share β of the image seen through one", ge=0, le=1)
    beta_max: float = setting(0.8, "largest share β of the image seen through one", ge=0, le=1)
    anomaly_probability: float = setting(0.5, "share of images that get an anomaly", ge=0, le=1)
    foreground: Literal["none", "auto", "is-net"] = setting(
        "none", "anomalies lie anywhere, or on the object that GrabCut (auto) or IS-Net (is-net) "
        "finds; on a texture in a random region",
    )  # fmt: skip
    kind: Literal["auto", "texture", "object"] = setting(
        "auto", "of the category: auto knows the official ones and takes others as objects"
    )
    foreground_folder: Path | None = setting(
        None, "foreground masks of the category, or folder of such folders"
    )
    self_augmentation_probability: float = setting(
        0.0, "share of an object's anomalies that show the object itself, its patches shuffled",
        ge=0, le=1,
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_betas(self) -> Self:
        if self.beta_min > self.beta_max:
            raise ValueError("beta_min must not exceed beta_max")
        return self


class Synthesizer:
    """Pastes anomalies onto normal images.

    textures: uint8 [M,3,S,S], S the size of the images. kind: only an "object" is used as a
    source of its own anomalies, only a "texture" gets random regions.
    """

    def __init__(
        self,
        textures: NDArray[np.uint8],
        settings: NormalSettings,
        kind: Literal["texture", "object"] = "object",
    ) -> None:
        if len(textures) == 0:
            raise ValueError("at least one texture is needed")
        self.textures, self.normal = textures, settings
        self.settings = settings if isinstance(settings, SynthesisSettings) else None
        self.kind = kind

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
        if self.normal.lighting > 0:
            images = relight(images, self.normal.lighting, generator)
        masks, settings = torch.zeros_like(images[:, :1]), self.settings  # [B,1,H,W]
        if settings is None:
            return TrainingBatch(images, images, masks, generator)
        if settings.foreground != "none" and self.kind == "texture":
            foreground = random_regions(len(images), images.shape[2], images.shape[3], generator)
        chosen = uniform(generator, len(images)) < settings.anomaly_probability
        rows = chosen.nonzero()[:, 0]
        if len(rows) == 0:
            return TrainingBatch(images, images, masks, generator)
        picked = images[rows]
        marks = self._masks(picked, None if foreground is None else foreground[rows], generator)
        own_share = settings.self_augmentation_probability if self.kind == "object" else 0.0
        sources = self._sources(picked, own_share, generator)
        beta = uniform(generator, len(rows), settings.beta_min, settings.beta_max)
        beta = beta.reshape(-1, 1, 1, 1)
        pasted = (1 - beta) * sources + beta * picked
        anomalous = images.clone()
        anomalous[rows] = torch.where(marks > 0, pasted, picked)
        masks[rows] = marks
        return TrainingBatch(images, anomalous, masks, generator)

    def _rotated(
        self, images: Tensor, foreground: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        settings = self.normal
        rows = (uniform(generator, len(images)) < settings.rotation_probability).nonzero()[:, 0]
        if len(rows) == 0:
            return images, foreground
        most = settings.rotation_degrees
        degrees = uniform(generator, len(rows), -most, most)
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
        height, width = images.shape[2:]
        scales = random_scales(len(images), generator)
        masks = perlin_masks(scales, height, width, generator)
        if foreground is None:
            return masks
        masks = masks * foreground
        for _ in range(MASK_TRIES - 1):
            empty = (~masks.flatten(1).any(dim=1)).nonzero()[:, 0]
            if len(empty) == 0:
                break
            again = perlin_masks(scales[empty], height, width, generator)
            masks[empty] = again * foreground[empty]
        return masks

    def _sources(self, images: Tensor, own_share: float, generator: torch.Generator) -> Tensor:
        """What the anomalies show, [B,3,H,W]: augmented textures, or the shuffled image itself."""
        own = uniform(generator, len(images)) < own_share  # [B]
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

    Any order is equally likely. The official code shuffles whole columns, then whole rows.
    """
    batch, channels, height, width = images.shape
    grid = images.reshape(batch, channels, PATCHES, height // PATCHES, PATCHES, width // PATCHES)
    patches = grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # [B,64,C,h,w]
    ranks = torch.rand(batch, PATCHES**2, generator=generator, device=images.device)
    order = ranks.argsort(dim=1)[:, :, None, None, None].expand_as(patches)
    grid = patches.gather(1, order).unflatten(1, (PATCHES, PATCHES))  # [B,8,8,C,h,w]
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
