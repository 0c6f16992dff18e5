"""A scene as a height field with colour and gloss, and the shapes and patterns it is drawn with.

Coordinates: x to the right, y down, both from -1 to 1 over the picture. Heights have the same
unit, so that slopes are true.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 128  # pixels of a finished picture, each way
GRID = 3 * SIZE // 2  # samples of a scene, each way; the picture is averaged down from it

Map = NDArray[np.floating]  # [GRID, GRID], or the part of it that a window cuts out
Window = tuple[slice, slice]
Colour = tuple[float, float, float] | NDArray[np.floating]  # RGB in [0, 1], or such a map [3, G, G]

_AXIS = ((np.arange(GRID) + 0.5) * (2 / GRID) - 1).astype(np.float32)
X: Map = np.broadcast_to(_AXIS[None, :], (GRID, GRID))
Y: Map = np.broadcast_to(_AXIS[:, None], (GRID, GRID))


@dataclass
class Surface:
    """What lies before the camera.

    colour: float32 [3, GRID, GRID] RGB in [0, 1].
    height: float32 [GRID, GRID], toward the camera.
    gloss: float32 [GRID, GRID], 0 matt to 1 polished.
    body: float32 [GRID, GRID], 1 where the inspected material is, 0 on the background.
    """

    colour: NDArray[np.floating]
    height: Map
    gloss: Map
    body: Map

    def cover(self, share: Map, colour: Colour, gloss: float | Map | None = None) -> None:
        """Lay a coat of paint or material over the part given by `share` in [0, 1]."""
        self.colour += share * (_planes(colour) - self.colour)
        if gloss is not None:
            self.gloss += share * (gloss - self.gloss)

    def build(
        self, distance: Map, top: float, bevel: float, colour: Colour, gloss: float | Map
    ) -> None:
        """Put a block on it: outline `distance` <= 0, its top at height `top`, rounded edge."""
        share = inside(distance)
        self.cover(share, colour, gloss)
        profile = np.where(share > 0, smoothstep(0.0, bevel, -distance), 0)
        self.height += (top - self.height) * profile

    def part(self, cut: Window) -> "Surface":
        """A view of the scene through a window: what is drawn there is drawn on the whole."""
        return Surface(self.colour[:, *cut], self.height[cut], self.gloss[cut], self.body[cut])


def background(colour: Colour, gloss: float | Map = 0.0) -> Surface:
    """A flat, empty scene."""
    full = np.empty((3, GRID, GRID), np.float32)
    full[:] = _planes(colour)
    height, shine, body = np.zeros((3, GRID, GRID), np.float32)
    shine += gloss
    return Surface(colour=full, height=height, gloss=shine, body=body)


def dyed(colour: Colour, tone: Map | float) -> NDArray[np.floating]:
    """A colour, lighter or darker from place to place: RGB times `tone` → [3, G, G]."""
    return _planes(colour) * tone


def _planes(colour: Colour) -> NDArray[np.floating]:
    values = np.asarray(colour, np.float32)
    return values[:, None, None] if values.ndim == 1 else values


def frame(
    shift: Sequence[float] | NDArray[np.floating], angle: float, x: Map = X, y: Map = Y
) -> tuple[Map, Map]:
    """Coordinates (x, y) as seen from a part that lies at `shift`, turned by `angle` radians."""
    cos, sin = math.cos(angle), math.sin(angle)
    dx, dy = x - float(shift[0]), y - float(shift[1])
    return cos * dx + sin * dy, cos * dy - sin * dx


def window(x: Map, y: Map, centre: tuple[float, float], reach: float) -> Window:
    """The samples up to `reach` left, right, above and below the point `centre` of a part."""
    dx, dy = x - centre[0], y - centre[1]
    row, column = divmod(int(np.argmin(dx * dx + dy * dy)), x.shape[1])
    half = int(np.ceil(reach * GRID / 2))
    return (
        slice(max(0, row - half), row + half + 1),
        slice(max(0, column - half), column + half + 1),
    )


# Shapes: signed distances, negative inside.


def disc(x: Map, y: Map, radius: float) -> Map:
    """Distance to a disc about the origin."""
    return _length(x, y) - radius


def box(x: Map, y: Map, half_width: float, half_height: float, corner: float = 0.0) -> Map:
    """Distance to a rectangle about the origin with rounded corners."""
    dx = np.abs(x) - (half_width - corner)
    dy = np.abs(y) - (half_height - corner)
    outer = _length(np.maximum(dx, 0), np.maximum(dy, 0))
    return outer + np.minimum(np.maximum(dx, dy), 0) - corner


def hexagon(x: Map, y: Map, inradius: float) -> Map:
    """Distance (exact along the sides) to a hexagon about the origin."""
    slant = math.sqrt(0.75) * np.abs(x) + 0.5 * np.abs(y)
    return np.maximum(slant, np.abs(y)) - inradius


def blob(x: Map, y: Map, radius: float, rng: np.random.Generator, roughness: float = 0.25) -> Map:
    """Distance (approximate) to an irregular round patch whose outline is a Fourier series."""
    angle = np.arctan2(y, x)
    outline = np.ones_like(angle)
    for order in range(2, 7):
        size = roughness * rng.uniform(0.5, 1.0) / (order - 1)
        outline += size * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return _length(x, y) - radius * outline


def _length(x: Map, y: Map) -> Map:
    return np.sqrt(x * x + y * y)  # several times faster than np.hypot


def smooth_union(first: Map, second: Map, fillet: float) -> Map:
    """Distance to two shapes grown together, inner corners rounded over about `fillet`."""
    overlap = np.maximum(fillet - np.abs(first - second), 0)
    return np.minimum(first, second) - overlap * overlap * (0.25 / fillet)


def inside(distance: Map) -> Map:
    """Share of each sample that lies inside the shape, in [0, 1]."""
    return np.clip(0.5 - distance * (GRID / 2), 0, 1)


def smoothstep(low: float, high: float, value: Map) -> Map:
    """0 up to `low`, 1 from `high`, a smooth ramp between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def repeated(x: Map, period: float) -> Map:
    """Signed distance to the nearest multiple of `period`."""
    return x - period * np.round(x / period)


def either(rng: np.random.Generator) -> float:
    """-1 or 1."""
    return 2.0 * int(rng.integers(2)) - 1


def smooth_noise(rng: np.random.Generator, rows: int, columns: int) -> Map:
    """Smooth random field with about unit variance and `rows` × `columns` independent values."""
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return cast(Map, cv2.resize(coarse, (GRID, GRID), interpolation=cv2.INTER_CUBIC))


def sample(field: Map, x: Map, y: Map) -> Map:
    """A field that is fixed to a part: read at the part's own coordinates, mirrored outside."""
    columns, rows = (x + 1) * (GRID / 2) - 0.5, (y + 1) * (GRID / 2) - 0.5
    read = cv2.remap(field, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return cast(Map, read)


def stroke(points: NDArray[np.floating], width: float) -> Map:
    """Share covered by a stroke along a polyline [N, 2] of (x, y); thinner at both ends."""
    canvas = np.zeros((GRID, GRID), np.uint8)
    pixels = np.round((points + 1) * (GRID / 2) * 16).astype(np.int32)  # in sixteenths
    for index in range(len(pixels) - 1):
        from_end = 1 - abs(2 * (index + 0.5) / (len(pixels) - 1) - 1)  # 0 at both ends
        thickness = max(1, round(width * (GRID / 2) * min(1.0, 0.35 + 1.3 * from_end)))
        start, end = pixels[index].tolist(), pixels[index + 1].tolist()
        cv2.line(canvas, start, end, 255, thickness, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255
