"""A procedural bank of textures: sources of anomalies where no folder of textures is given."""

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating]  # [S,S]
Pattern = Callable[[np.random.Generator, Map, Map], Map]
"""Values, any range, from a generator and two coordinate maps in about [0,1]."""


@lru_cache(maxsize=2)
def builtin_textures(size: int, count: int = 128, seed: int = 0) -> NDArray[np.uint8]:
    """A procedural bank uint8 [count,3,S,S] RGB, the same for the same arguments.

    Ten kinds of pattern in turn, each bent by smooth noise, grained, and coloured by a random
    palette. Used when no folder of textures is given.
    """
    generators = np.random.default_rng(seed).spawn(count)
    textures = [
        _texture(PATTERNS[number % len(PATTERNS)], size, rng)
        for number, rng in enumerate(generators)
    ]
    return np.stack(textures)


def _texture(pattern: Pattern, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    ticks = np.linspace(0, 1, size, endpoint=False, dtype=np.float32)
    x, y = np.meshgrid(ticks, ticks)
    angle = rng.uniform(0, np.pi)
    bend = rng.uniform(0, 0.06)
    along = np.cos(angle) * x + np.sin(angle) * y + bend * _noise(rng, size, 2.0)
    across = -np.sin(angle) * x + np.cos(angle) * y + bend * _noise(rng, size, 2.0)
    value = pattern(rng, along.astype(np.float32), across.astype(np.float32))
    value = (value - value.min()) / max(float(np.ptp(value)), 1e-6)
    value = np.clip(value + rng.uniform(0.01, 0.08) * _noise(rng, size, 0.5), 0, 1)
    return _coloured(value, rng)


def _coloured(value: Map, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [3,S,S]: value 0 … 1 along a palette of three colours that differ in brightness."""
    tint = rng.uniform(0, 1, (3, 3)) * rng.uniform(0.1, 1.0)
    levels = rng.permutation([rng.uniform(0, 0.35), rng.uniform(0.3, 0.7), rng.uniform(0.6, 1)])
    palette = np.clip(levels[:, None] + 0.5 * (tint - tint.mean(axis=1, keepdims=True)), 0, 1)
    planes = [np.interp(value, (0, 0.5, 1), palette[:, channel]) for channel in range(3)]
    return (255 * np.stack(planes)).round().astype(np.uint8)


def _noise(rng: np.random.Generator, size: int, slope: float, stretch: float = 1.0) -> Map:
    """Noise with spectrum 1/f^slope and standard deviation 1; stretched along the first axis."""
    fy, fx = np.fft.fftfreq(size)[:, None] * stretch, np.fft.rfftfreq(size)[None]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf  # no constant part
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency**slope
    noise = np.fft.irfft2(spectrum, s=(size, size))
    return (noise / noise.std()).astype(np.float32)


def _clouds(rng: np.random.Generator, x: Map, y: Map) -> Map:
    return _noise(rng, len(x), rng.uniform(0.8, 2.0))


def _grain(rng: np.random.Generator, x: Map, y: Map) -> Map:
    return _noise(rng, len(x), rng.uniform(0.8, 1.6), stretch=rng.uniform(4, 12))


def _blotches(rng: np.random.Generator, x: Map, y: Map) -> Map:
    return np.tanh(rng.uniform(2, 6) * _noise(rng, len(x), rng.uniform(1.3, 2.2)))


def _marble(rng: np.random.Generator, x: Map, y: Map) -> Map:
    veins = np.sin(2 * np.pi * rng.uniform(2, 8) * x + rng.uniform(1, 3) * _noise(rng, len(x), 1.8))
    return np.abs(veins) ** rng.uniform(0.3, 1.0)


def _stripes(rng: np.random.Generator, x: Map, y: Map) -> Map:
    wave = np.sin(2 * np.pi * rng.uniform(4, 24) * x)
    return np.tanh(rng.uniform(0.5, 5) * (wave - rng.uniform(-0.5, 0.5)))


def _checks(rng: np.random.Generator, x: Map, y: Map) -> Map:
    per_side = rng.uniform(3, 14, 2)
    hard = rng.uniform(1, 6)
    waves = np.tanh(hard * np.sin(2 * np.pi * per_side[0] * x)) * np.tanh(
        hard * np.sin(2 * np.pi * per_side[1] * y)
    )
    return waves.astype(np.float32)


def _weave(rng: np.random.Generator, x: Map, y: Map) -> Map:
    threads = rng.uniform(6, 20)
    warp, weft = np.abs(np.sin(np.pi * threads * x)), np.abs(np.sin(np.pi * threads * y))
    over = (np.floor(threads * x) + np.floor(threads * y)) % 2 == 0
    return np.where(over, warp, 0.75 * weft).astype(np.float32)


def _bricks(rng: np.random.Generator, x: Map, y: Map) -> Map:
    rows, ratio = rng.uniform(4, 14), rng.uniform(1, 3)
    row = np.floor(rows * y)
    column = rows * x / ratio + 0.5 * (row % 2)
    joint = np.minimum(_edge(rows * y), _edge(column) * ratio)
    tone = np.sin(12.9898 * np.floor(column) + 78.233 * row) * 43758.5453
    brick = 0.5 + 0.5 * (tone - np.floor(tone))
    return np.where(joint < rng.uniform(0.05, 0.15), 0, brick).astype(np.float32)


def _dots(rng: np.random.Generator, x: Map, y: Map) -> Map:
    per_side, radius = rng.uniform(4, 18), rng.uniform(0.2, 0.45)
    distance = np.hypot(per_side * x % 1 - 0.5, per_side * y % 1 - 0.5)
    return np.clip((radius - distance) / rng.uniform(0.05, 0.3), 0, 1).astype(np.float32)


def _cells(rng: np.random.Generator, x: Map, y: Map) -> Map:
    """Distance to the nearest of random points (Voronoi cells), or their edges."""
    size = len(x)
    points = np.full((size, size), 255, np.uint8)
    count = int(rng.integers(15, 150))
    rows, columns = rng.integers(0, size, (2, count))
    points[rows, columns] = 0
    distance, cell = cv2.distanceTransformWithLabels(
        points, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    if rng.uniform() < 0.5:
        return cast(Map, cv2.GaussianBlur(distance, (0, 0), 1.0))
    edges = cv2.Laplacian((cell * 37 % 251).astype(np.float32), cv2.CV_32F) != 0
    return cast(Map, cv2.GaussianBlur(edges.astype(np.float32), (0, 0), rng.uniform(0.6, 1.5)))


def _edge(cells: Map) -> Map:
    """Distance to the nearest whole number."""
    return np.abs(cells - np.round(cells))


PATTERNS: tuple[Pattern, ...] = (
    _clouds,
    _grain,
    _blotches,
    _marble,
    _stripes,
    _checks,
    _weave,
    _bricks,
    _dots,
    _cells,
)
