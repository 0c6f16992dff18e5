"""Defects drawn on any image, which share nothing with the training synthesizer.

Recipes are compared on them, so that no test set takes part (`runs/held_out.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating]  # [3,H,W] in [0,1]
Share = NDArray[np.floating]  # [H,W] in [0,1]: how far the defect covers the image
Drawn = tuple[Image, Share]  # what lies there, and where


@dataclass(frozen=True)
class Spot:
    """Where and how strong a defect is. Lengths in pixels; scale: pixels per 1/128 of the side."""

    row: int
    column: int
    radius: float
    scale: float
    tone: NDArray[np.floating]  # [3], added to the colours


def scratch(image: Image, spot: Spot, rng: np.random.Generator) -> Drawn:
    """A thin bent line, lighter or darker than the surface."""
    size = image.shape[1]
    length, heading = rng.uniform(15, 50) * spot.scale, rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(heading), np.sin(heading)])
    t = np.linspace(0, 1, 12)[:, None]
    bow = 4 * rng.uniform(-0.2, 0.2) * length * (t - t * t)
    points = np.array([spot.column, spot.row]) + t * length * along
    points = points + bow * np.array([-along[1], along[0]])
    canvas = np.zeros((4 * size, 4 * size), np.float32)
    width = max(1, int(rng.uniform(3, 10) * spot.scale))
    cv2.polylines(canvas, [(points * 4).astype(np.int32)[:, None]], False, 1.0, width)
    share = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return np.clip(image + spot.tone[:, None, None], 0, 1), cast(Share, share)


def blot(image: Image, spot: Spot, rng: np.random.Generator) -> Drawn:
    """An opaque patch of another colour."""
    size = image.shape[1]
    share = inside(outline(rng, size, spot.row, spot.column, spot.radius), 0.6 * spot.scale)
    colour = np.clip(rng.uniform(0, 1) + rng.normal(0, 0.15, 3), 0, 1)[:, None, None]
    grain = 0.04 * slow_noise(rng, size, 1)
    return np.clip(0.3 * image + 0.7 * colour + grain, 0, 1), share


def stain(image: Image, spot: Spot, rng: np.random.Generator) -> Drawn:
    """A faint tint with a soft edge."""
    distance = outline(rng, image.shape[1], spot.row, spot.column, spot.radius)
    tinted = np.clip(image + 0.6 * spot.tone[:, None, None], 0, 1)
    return tinted, inside(distance, 2.5 * spot.scale)


def copy(image: Image, spot: Spot, rng: np.random.Generator) -> Drawn:
    """A piece of the same image from elsewhere."""
    size = image.shape[1]
    shift = rng.integers(size // 8, size // 2, 2) * rng.choice([-1, 1], 2)
    distance = outline(rng, size, spot.row, spot.column, max(spot.radius, 4 * spot.scale))
    return np.roll(image, tuple(shift), (1, 2)), inside(distance, 0.6 * spot.scale)


def smear(image: Image, spot: Spot, rng: np.random.Generator) -> Drawn:
    """The surface pulled to one side."""
    size = image.shape[1]
    distance = outline(rng, size, spot.row, spot.column, max(spot.radius, 5 * spot.scale))
    share = inside(distance, 1.2 * spot.scale).astype(np.float32)
    heading, reach = rng.uniform(0, 2 * np.pi), rng.uniform(3, 8) * spot.scale
    y, x = np.mgrid[:size, :size].astype(np.float32)
    x_from = x + np.float32(reach * np.cos(heading)) * share
    y_from = y + np.float32(reach * np.sin(heading)) * share
    pulled = cv2.remap(
        image.transpose(1, 2, 0), x_from, y_from, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return cast(Image, pulled.transpose(2, 0, 1)), (share > 0.1).astype(np.float32)


def chip(image: Image, spot: Spot, rng: np.random.Generator) -> Drawn:
    """Bright and dark facets, as of broken material."""
    size = image.shape[1]
    distance = outline(rng, size, spot.row, spot.column, max(spot.radius, 3 * spot.scale))
    facets = slow_noise(rng, size, rng.uniform(1.2, 3) * spot.scale)
    broken = image.mean() + 0.5 * rng.uniform(0.4, 1.2) * image.std() * facets
    share = inside(distance, 0.5 * spot.scale)
    return np.clip(np.repeat(broken[None], 3, axis=0) + rng.normal(0, 0.05), 0, 1), share


def dots(image: Image, spot: Spot, rng: np.random.Generator) -> Drawn:
    """A cluster of small specks."""
    size, spread = image.shape[1], 6 * spot.scale
    distances = [
        outline(
            rng,
            size,
            spot.row + rng.normal(0, spread),
            spot.column + rng.normal(0, spread),
            rng.uniform(0.8, 2.2) * spot.scale,
        )
        for _ in range(rng.integers(3, 8))
    ]
    share = inside(np.min(distances, axis=0), 0.5 * spot.scale)
    return np.clip(image + spot.tone[:, None, None], 0, 1), share


KINDS = (scratch, blot, stain, copy, smear, chip, dots)
LARGE_KINDS = (blot, stain, copy, smear, chip)
RADII, LARGE_RADII = (2.5, 14), (14, 36)  # in 1/128 of the side


def outline(
    rng: np.random.Generator, size: int, row: float, column: float, radius: float
) -> NDArray[np.floating]:
    """Distance to the edge of a bent blob, negative inside, [H,W]."""
    y, x = np.mgrid[:size, :size]
    turn = rng.uniform(0, np.pi)
    u = (x - column) * np.cos(turn) + (y - row) * np.sin(turn)
    v = (y - row) * np.cos(turn) - (x - column) * np.sin(turn)
    angle = np.arctan2(v, u)
    bends = [
        share * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
        for share, waves in ((0.25, 2), (0.15, 3), (0.1, 5))
    ]
    return np.hypot(u * rng.uniform(0.6, 1), v) - radius * (1 + sum(bends))


def inside(distance: NDArray[np.floating], softness: float) -> Share:
    """1 inside an outline, 0 outside, with an edge of about `softness` pixels."""
    return 1 / (1 + np.exp(np.clip(2 * distance / softness, -50, 50)))


def slow_noise(rng: np.random.Generator, size: int, sigma: float) -> NDArray[np.floating]:
    """Blurred Gaussian noise [H,W] with standard deviation 1."""
    noise = cv2.GaussianBlur(rng.normal(size=(size, size)).astype(np.float32), (0, 0), sigma)
    return noise / noise.std()


def draw_defects(
    images: NDArray[np.uint8],
    foregrounds: NDArray[np.uint8],
    rng: np.random.Generator,
    choice: Sequence[Callable[..., Drawn]] = KINDS,
    radii: tuple[float, float] = RADII,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], list[str]]:
    """A defect on every second image [N,3,H,W]: images, masks [N,H,W], kinds ("good": none).

    It lies on the foreground [N,1,H,W]. A pixel belongs to it if it changed by more than 3 %.
    """
    drawn, masks, kinds = images.copy(), np.zeros(images[:, 0].shape, bool), ["good"] * len(images)
    scale = images.shape[2] / 128
    for index in range(1, len(images), 2):
        kind, image = choice[index // 2 % len(choice)], images[index].astype(np.float32) / 255
        rows, columns = np.nonzero(foregrounds[index, 0])
        place = rng.integers(len(rows))
        tone = rng.uniform(0.08, 0.4) * rng.choice([-1, 1]) + rng.normal(0, 0.06, 3)
        radius = np.exp(rng.uniform(*np.log(radii))) * scale
        spot = Spot(rows[place], columns[place], radius, scale, tone)
        there, share = kind(image, spot, rng)
        share = share * foregrounds[index, 0]
        mixed = image * (1 - share) + there * share
        mask = np.abs(mixed - image).max(axis=0) > 0.03
        if mask.sum() >= 4 * scale**2:  # less cannot be seen
            drawn[index] = np.rint(255 * mixed).clip(0, 255)
            masks[index], kinds[index] = mask, kind.__name__
    return drawn, masks, kinds


def uneven_light(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Every image under light that varies slowly by some per cent, with a slight tint."""
    size = images.shape[2]
    lit = np.empty_like(images)
    for index, image in enumerate(images):
        light, *tint = (slow_noise(rng, size, size / 5) for _ in range(4))
        gain = 1 + 0.025 * light + 0.012 * np.stack(tint) + rng.normal(0, 0.015)
        lit[index] = np.rint(image * gain).clip(0, 255)
    return lit
