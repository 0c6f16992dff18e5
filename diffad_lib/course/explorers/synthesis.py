"""Synthesis: from Perlin noise to an anomalous training image, one choice at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from diffad_lib.course.explorers.explorer import Explorer
from diffad_lib.course.explorers.pictures import (
    black_white,
    checked_image,
    checked_mask,
    coloured,
    rgb,
)
from diffad_lib.course.explorers.view import Parameter, View
from diffad_lib.errors import DiffadError
from diffad_lib.synthesis.augment import augment
from diffad_lib.synthesis.perlin import perlin_noise, rotate, uniform
from diffad_lib.synthesis.synthesizer import shuffle_patches

OWN_PATCHES = "own patches"
_ON, _OFF = "on", "off"


def synthesis_explorer(
    image: Tensor,
    textures: NDArray[np.uint8],
    foreground: ArrayLike | None = None,
    scales: Sequence[tuple[int, int]] = ((2, 2), (4, 4), (8, 8), (2, 16)),
    thresholds: Sequence[float] = (0.3, 0.5, 0.6),
    betas: Sequence[float] = (0.0, 0.4, 0.8),
    seed: int = 0,
) -> Explorer:
    """Noise, mask, source and anomalous image for scales, threshold, source, β, foreground.

    image: normal, float [3,H,W] in [0,1], on the CPU. textures: uint8 [M,3,H,W], each of them a
    choice of source, beside the image's own shuffled patches; sources are augmented. foreground:
    [H,W] or [1,H,W] in {0,1}; without one there is nothing to switch. scales: Perlin grid cells
    along y and x, powers of two up to 32. Every setting sees the same random numbers.
    Source of the defaults: threshold 0.5 and β from 0 to 0.8 are those of DRAEM's official code.
    """
    normal = checked_image(image)[None]  # [1,3,H,W]
    inside = None if foreground is None else checked_mask(foreground, normal)
    if textures.dtype != np.uint8 or textures.shape[1:] != tuple(image.shape):
        raise DiffadError(
            f"textures are {textures.dtype} {list(textures.shape)}; "
            f"give uint8 [M,3,{image.shape[1]},{image.shape[2]}]"
        )
    sources = _sources(normal, textures, seed)

    def render(
        scale: tuple[int, int], threshold: float, beta: float, source: str, foreground: str = _OFF
    ) -> View:
        generator = torch.Generator().manual_seed(seed)
        height, width = normal.shape[2:]
        noise = perlin_noise(torch.tensor([scale]), height, width, generator)
        noise = rotate(noise, uniform(generator, 1, -90, 90))[0, 0]  # [H,W]
        mask = noise > threshold
        if foreground == _ON:
            mask = mask & torch.from_numpy(inside)
        anomaly = sources[source]
        anomalous = torch.where(mask, (1 - beta) * anomaly + beta * normal, normal)
        caption = _caption(scale, threshold, mask, inside)
        caption += f"; β = {beta:g}: {beta:.0%} of the image shows through; source: {source}"
        tiles = {
            "normal image": rgb(normal[0]),
            "Perlin noise, −1 black, 1 white": coloured(noise, (-1, 1), "gray"),
            "mask M": black_white(mask),
            "source A, augmented": rgb(anomaly[0]),
            "anomalous image": rgb(anomalous[0]),
        }
        return View(tiles, caption)

    parameters = [
        Parameter("scale", "Perlin cells, y × x", tuple(scales), start=len(scales) // 2),
        Parameter("threshold", "threshold", tuple(thresholds), start=(len(thresholds) - 1) // 2),
        Parameter("beta", "β, image that shows through", tuple(betas)),
        Parameter("source", "source A", tuple(sources), choice=True),
    ]
    if inside is not None:
        parameters.append(Parameter("foreground", "keep on the object", (_ON, _OFF), choice=True))
    return Explorer("Anomaly synthesis", render, tuple(parameters))


def _sources(normal: Tensor, textures: NDArray[np.uint8], seed: int) -> dict[str, Tensor]:
    """What an anomaly can show, [1,3,H,W] by name: augmented textures, the shuffled image."""

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    sources = {
        f"texture {number}": augment(torch.from_numpy(texture.copy())[None] / 255, generator())
        for number, texture in enumerate(textures, start=1)
    }
    own = generator()
    return sources | {OWN_PATCHES: shuffle_patches(augment(normal, own), own)}


def _caption(
    scale: tuple[int, int], threshold: float, mask: Tensor, inside: NDArray[np.bool_] | None
) -> str:
    text = (
        f"{scale[0]} × {scale[1]} cells, noise > {threshold:g}: "
        f"the mask covers {mask.float().mean():.1%} of the image"
    )
    if inside is not None:
        stray = int((mask.numpy() & ~inside).sum())
        text += f", {stray} of its {int(mask.sum())} pixels beside the object"
    return text
