"""Damage to a finished surface, as it happens in a works: it changes relief, colour and gloss.

Nothing here knows of the training synthesizer: test defects must differ from training anomalies.
Each function takes a scene, a random generator and sizes in scene units (the picture is 2 wide).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from diffad_lib.mini.surface import (
    GRID,
    Colour,
    Surface,
    X,
    Y,
    blob,
    dyed,
    either,
    frame,
    inside,
    smooth_noise,
    smoothstep,
    stroke,
)

_STEPS = 20  # of the random walk of a crack


def spot(surface: Surface, rng: np.random.Generator, margin: float) -> tuple[float, float]:
    """A point (x, y) of the body, at least `margin` from its edge and the picture's."""
    solid = np.pad((surface.body > 0.5).astype(np.uint8), 1)
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, 3)[1:-1, 1:-1] * (2 / GRID)
    deep_enough = np.flatnonzero(depth >= min(margin, 0.95 * float(depth.max())))
    row, column = divmod(int(rng.choice(deep_enough)), GRID)
    return float(X[row, column]), float(Y[row, column])


def scratch(
    surface: Surface,
    rng: np.random.Generator,
    colour: Colour,
    *,
    width: float = 0.028,
    gloss: float = 0.6,
) -> None:
    """A bent groove with raised lips that lays bare `colour`."""
    centre = np.array(spot(surface, rng, 0.12))
    angle = rng.uniform(0, np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    t = np.linspace(-1, 1, 13)[:, None]
    bow = rng.uniform(-0.12, 0.12)
    points = centre + along * t * rng.uniform(0.25, 0.45) + across * bow * (1 - t * t)
    groove = stroke(points, width * rng.uniform(0.85, 1.25)) * surface.body
    lips = cv2.GaussianBlur(groove, (9, 9), 2.0) * (1 - groove)
    surface.cover(0.85 * groove, colour, gloss)
    surface.height += 0.006 * lips - 0.012 * groove


def crack(
    surface: Surface,
    rng: np.random.Generator,
    *,
    heading: float | None = None,
    length: float = 0.8,
    width: float = 0.03,
    wander: float = 0.7,
) -> None:
    """A jagged dark gap with a side branch; `heading` in radians, any direction if None."""
    heading = rng.uniform(0, 2 * np.pi) if heading is None else heading
    start = np.array(spot(surface, rng, 0.2))
    start -= 0.35 * length * np.array([np.cos(heading), np.sin(heading)])
    trunk = _random_walk(start, heading, length, wander, rng)
    fork = trunk[rng.integers(_STEPS // 3, 2 * _STEPS // 3)]
    turn = heading + either(rng) * rng.uniform(0.5, 0.9)
    branch = _random_walk(fork, turn, 0.35 * length, wander, rng)
    gap = np.maximum(stroke(trunk, width), stroke(branch, 0.7 * width)) * surface.body
    surface.cover(0.9 * gap, surface.colour * 0.3, 0.0)
    surface.height -= 0.015 * gap


def stain(
    surface: Surface,
    rng: np.random.Generator,
    colour: Colour,
    *,
    radius: tuple[float, float] = (0.13, 0.2),
    strength: float = 0.55,
    gloss: float | None = None,
) -> None:
    """A dried or wet patch: tints what lies under it, with a darker rim."""
    x, y = frame(spot(surface, rng, 0.15), rng.uniform(0, 2 * np.pi))
    distance = blob(x * rng.uniform(0.75, 1.0), y, rng.uniform(*radius), rng)
    patch = (1 - smoothstep(-0.03, 0.012, distance)) * surface.body
    rim = np.exp(-((distance + 0.015) ** 2) / (2 * 0.014**2))
    share = patch * strength * (0.85 + 0.35 * rim)
    surface.cover(np.clip(share, 0, 1), dyed(colour, 1.6) * surface.colour)
    if gloss is not None:
        surface.gloss += patch * (gloss - surface.gloss)


def rust(surface: Surface, rng: np.random.Generator) -> None:
    """A cluster of rough brown flecks that eat the coat."""
    centre = spot(surface, rng, 0.12)
    grain = smooth_noise(rng, 48, 48)
    share = np.zeros_like(X)
    for _ in range(int(rng.integers(7, 12))):
        shift = rng.normal(centre, 0.09)
        fleck = blob(*frame(shift, 0.0), rng.uniform(0.03, 0.085), rng, roughness=0.45)
        share = np.maximum(share, 1 - smoothstep(-0.01, 0.012, fleck + 0.01 * grain))
    share = share * surface.body
    tone = dyed((0.50, 0.26, 0.12), 1 + 0.22 * grain)
    surface.cover(0.92 * share, tone, 0.0)
    surface.height += share * 0.004 * grain


def hole(
    surface: Surface,
    rng: np.random.Generator,
    *,
    colour: Colour,
    roughness: float = 0.15,
) -> None:
    """A hole where none belongs, with a thin raised burr."""
    size = rng.uniform(0.07, 0.11)
    x, y = frame(spot(surface, rng, 1.6 * size), rng.uniform(0, 2 * np.pi))
    distance = blob(x, y, size, rng, roughness)
    burr = np.exp(-((distance - 0.015) ** 2) / (2 * 0.012**2)) * surface.body
    surface.height += 0.012 * burr
    opening = inside(distance)
    surface.cover(opening, colour, 0.0)
    surface.height -= 0.12 * opening


def dent(surface: Surface, rng: np.random.Generator) -> None:
    """A hollow left by a blow: only light and shade show it."""
    x, y = frame(spot(surface, rng, 0.12), rng.uniform(0, 2 * np.pi))
    reach = rng.uniform(0.13, 0.2)
    distance = np.hypot(x * rng.uniform(0.7, 1.0), y)
    hollow = 1 - smoothstep(0.25 * reach, reach, distance)
    rim = np.exp(-((distance - reach) ** 2) / (2 * (0.2 * reach) ** 2))
    surface.height += surface.body * 0.07 * (0.12 * rim - hollow)


def _random_walk(
    start: NDArray[np.floating],
    heading: float,
    length: float,
    wander: float,
    rng: np.random.Generator,
) -> NDArray[np.floating]:
    """Polyline [_STEPS + 1, 2] that strays from its heading and comes back."""
    headings = heading + rng.normal(0, wander, _STEPS)
    moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * (length / _STEPS)
    return start + np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
