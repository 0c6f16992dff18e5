"""Textures: twill cloth, planed timber, pebbled leather, milled metal.

A `draw` function takes the generator of the normal variation and a fault. It takes the same
numbers from the generator whatever the fault, so that a defective picture has a clean twin.
"""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from diffad_lib.mini import defects
from diffad_lib.mini.fault import Fault
from diffad_lib.mini.surface import (
    GRID,
    Map,
    Surface,
    X,
    background,
    blob,
    disc,
    dyed,
    frame,
    inside,
    sample,
    smooth_noise,
    smoothstep,
    stroke,
)

_YARNS = 64  # more than are ever in the picture


def draw_weave(rng: np.random.Generator, fault: Fault) -> Surface:
    """2/2 twill of blue warp and grey weft. Faults: pulled and missing thread, cut, hole, stain."""
    pitch = rng.normal(0.18, 0.004)
    x, y = frame(rng.uniform(-1, 1, 2), rng.normal(0, 0.05))
    x = x + 0.012 * smooth_noise(rng, 4, 4)
    y = y + 0.012 * smooth_noise(rng, 4, 4)
    tone = 1 + 0.05 * rng.standard_normal((2, _YARNS), dtype=np.float32)
    girth = 0.46 + 0.02 * rng.standard_normal((2, _YARNS), dtype=np.float32)
    fibre = smooth_noise(rng, 128, 128)
    u, v = x / pitch + _YARNS / 2, y / pitch + _YARNS / 2  # warp yarns count along u, weft along v
    warp, weft = u.astype(np.int32), v.astype(np.int32)
    lift = _over(warp, v)
    floating = np.zeros_like(x)
    if fault.kind == "pulled_thread":  # it floats taut and shiny on the weft
        floating = _stretch(fault.rng, u, v).astype(np.float32)
        lift += (3.2 - lift) * floating
    warp_height, warp_side = _yarn(u - np.floor(u), girth[0][warp], lift)
    weft_height, weft_side = _yarn(v - np.floor(v), girth[1][weft], -_over(weft, u))
    _break_yarns(fault, u, v, warp_height, weft_height)
    on_top = smoothstep(-0.04, 0.04, warp_height - weft_height)
    surface = background((0.20, 0.18, 0.17))
    height = np.maximum(np.maximum(warp_height, weft_height), -0.55)
    surface.height = height * (0.42 * pitch)
    twist = 1 + 0.06 * fibre + 0.05 * np.sin(6 * np.pi * (u + v))
    twist *= 0.86 + 0.14 * np.where(on_top > 0.5, warp_side, weft_side)
    blue = dyed((0.25, 0.37, 0.56), tone[0][warp] * twist * (1 + 0.7 * floating))
    grey = dyed((0.72, 0.70, 0.64), tone[1][weft] * twist)
    cloth = grey + on_top * (blue - grey)
    surface.cover((height > -0.5).astype(np.float32), cloth, 0.05)
    surface.body += 1
    if fault.kind == "stain":
        defects.stain(surface, fault.rng, (0.40, 0.33, 0.20), radius=(0.18, 0.27), strength=0.75)
    return surface


def _over(yarn: np.ndarray, along: Map) -> Map:
    """1 where the warp is on top, -1 where the weft is; smooth along a yarn between crossings."""
    before = np.floor(along - 0.5)
    phase = yarn - before.astype(np.int32)
    here = np.where(phase % 4 < 2, np.float32(1), np.float32(-1))
    there = np.where((phase - 1) % 4 < 2, np.float32(1), np.float32(-1))
    return here + (there - here) * smoothstep(0.1, 0.9, along - 0.5 - before)


def _yarn(position: Map, girth: Map, lift: Map) -> tuple[Map, Map]:
    """Height of a round yarn across its width, -1 beside it; and 0 at its edge to 1 on its back."""
    off = np.abs(position - 0.5) / girth
    round_back = np.sqrt(np.clip(1 - off * off, 0, 1))
    return np.where(off < 1, 0.5 * lift + 0.6 * round_back, -1), round_back


def _break_yarns(fault: Fault, u: Map, v: Map, warp_height: Map, weft_height: Map) -> None:
    """Takes out, in place, the yarns that a missing thread, a cut or a hole has taken."""
    if fault.kind == "missing_thread":
        gone = _stretch(fault.rng, u, v)
        warp_height[gone] = -1
        weft_height[gone] -= 0.4  # nothing holds it up
    if fault.kind in ("cut", "hole"):
        torn = _tear(fault)
        frayed = fault.rng.uniform(0.3, 1.0, (2, _YARNS))  # each yarn tears at its own place
        warp_height[torn > frayed[0][u.astype(np.int32)]] = -1
        weft_height[torn > frayed[1][v.astype(np.int32)]] = -1


def _stretch(rng: np.random.Generator, u: Map, v: Map) -> NDArray[np.bool_]:
    """One warp yarn over seven to ten weft yarns."""
    row, column = rng.integers(GRID // 4, 3 * GRID // 4, 2)
    same_yarn = u.astype(np.int32) == int(u[row, column])
    return same_yarn & (np.abs(v - v[row, column]) < rng.uniform(3.5, 5))


def _tear(fault: Fault) -> Map:
    """1 inside a cut or hole, 0 well outside."""
    if fault.kind == "hole":
        x, y = frame(fault.rng.uniform(-0.6, 0.6, 2), 0.0)
        return 1 - smoothstep(-0.2, 0.2, blob(x, y, fault.rng.uniform(0.2, 0.26), fault.rng))
    centre, angle = fault.rng.uniform(-0.5, 0.5, 2), fault.rng.uniform(0.2, 2.9)
    along = np.array([np.cos(angle), np.sin(angle)])
    points = centre + np.linspace(-0.4, 0.4, 9)[:, None] * along
    return cast(Map, cv2.GaussianBlur(stroke(points, 0.2), (0, 0), 7))


def draw_timber(rng: np.random.Generator, fault: Fault) -> Surface:
    """Planed softwood, grain along x. Faults: crack, hole, scratch, stain, dent."""
    x, y = frame(rng.uniform(-0.3, 0.3, 2), rng.normal(0, 0.05))
    bow = rng.uniform(-0.12, 0.12)
    rings = rng.uniform(3.6, 5.8) * (y + bow * x * x + 0.03 * smooth_noise(rng, 4, 3))
    rings = rings + 0.07 * smooth_noise(rng, 14, 3) + rng.uniform(20, 30)
    season = rings - np.floor(rings)
    late = season**4 * (1 - smoothstep(0.93, 1.0, season))  # dark late wood ends at winter
    vigour = 0.75 + 0.25 * np.sin(2.4 * np.floor(rings))
    fibre = sample(smooth_noise(rng, 180, 9), x * 0.6, y)
    vessel = sample(smooth_noise(rng, 150, 14), x * 0.6, y)
    pores = smoothstep(1.3, 2.2, vessel)
    surface = background(np.array([0.78, 0.60, 0.41]) * rng.normal(1, 0.06), 0.12)
    surface.cover(late * vigour, (0.37, 0.20, 0.10))
    surface.colour *= 1 + 0.05 * fibre - 0.4 * pores
    surface.height = 0.0008 * fibre - 0.003 * pores + 0.0008 * late
    surface.body += 1
    match fault.kind:
        case "crack":
            heading = fault.rng.normal(0, 0.12) + np.pi * fault.rng.integers(2)
            defects.crack(surface, fault.rng, heading=heading, length=1.0, wander=0.4)
        case "hole":
            defects.hole(surface, fault.rng, colour=(0.16, 0.10, 0.06))
        case "scratch":
            defects.scratch(surface, fault.rng, (0.90, 0.76, 0.58), gloss=0.05)
        case "stain":
            defects.stain(surface, fault.rng, (0.30, 0.30, 0.42), strength=0.6)
        case "dent":
            defects.dent(surface, fault.rng)
    return surface


def draw_leather(rng: np.random.Generator, fault: Fault) -> Surface:
    """Pebbled leather, a statistical texture. Faults: scar, blister, crack."""
    cells = 14
    grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), axis=-1)
    points = grid + 0.5 + rng.uniform(-0.42, 0.42, grid.shape)  # a jittered grid
    seeds = np.full((GRID, GRID), 255, np.uint8)
    pixels = (points * (1.1 / cells) - 0.05) * GRID  # it reaches beyond the picture
    columns, rows = np.clip(pixels.reshape(-1, 2).astype(int), 0, GRID - 1).T
    seeds[rows, columns] = 0
    nearest = cv2.distanceTransform(seeds, cv2.DIST_L2, 5) * (2 / GRID)
    pebble = np.clip(1 - (nearest / 0.115) ** 2, 0, 1)
    fine = smooth_noise(rng, 90, 90)
    roll = smooth_noise(rng, 3, 3)
    shade = rng.normal(1, 0.06)
    raised = np.zeros_like(X)
    if fault.kind == "blister":  # the finish came off the hide: smooth, pale and domed
        x, y = frame(fault.rng.uniform(-0.6, 0.6, 2), 0.0)
        patch = blob(x, y, fault.rng.uniform(0.19, 0.25), fault.rng)
        raised = 1 - smoothstep(-0.13, 0.05, patch)
    grain = pebble * (1 - raised)
    surface = background(
        dyed((1, 1, 1), shade * (0.37 + 0.10 * grain + 0.20 * raised + 0.02 * roll + 0.012 * fine)),
        0.22,
    )
    surface.height = 0.055 * grain + 0.0012 * fine + 0.01 * roll + 0.12 * raised
    surface.body += 1
    if fault.kind == "scar":
        defects.scratch(surface, fault.rng, (0.74, 0.74, 0.74), width=0.06, gloss=0.1)
    if fault.kind == "crack":
        defects.crack(surface, fault.rng, width=0.045)
    return surface


def draw_milled(rng: np.random.Generator, fault: Fault) -> Surface:
    """Face-milled steel: arcs of the cutter, crossed by its trailing edge.

    Faults: pores, crack, burnished spot.
    """
    x, y = frame((0, 0), rng.uniform(-0.6, 0.6))  # the direction of feed
    cx, cy = rng.normal((0.2, 2.6), 0.15).tolist()
    radius, back = disc(x - cx, y - cy, 0), disc(x - cx, y + cy, 0)
    grooves = _tool_marks(radius, rng, 0.045) + 0.45 * _tool_marks(back, rng, 0.06)
    grooves *= 1 + 0.25 * smooth_noise(rng, 4, 4)
    cloud = smooth_noise(rng, 5, 5)
    fine = smooth_noise(rng, 128, 128)
    rubbed = np.zeros_like(X)
    if fault.kind == "burnish":  # something slid over it and wiped out the tool marks
        x, y = frame(fault.rng.uniform(-0.6, 0.6, 2), fault.rng.uniform(0, np.pi))
        patch = blob(x, 1.6 * y, fault.rng.uniform(0.24, 0.32), fault.rng)
        rubbed = 1 - smoothstep(-0.08, 0.04, patch)
    grooves *= 1 - rubbed
    surface = background(dyed((1, 1, 1), 0.5 + 0.07 * grooves + 0.025 * cloud + 0.012 * fine), 0.45)
    surface.height = 0.0022 * grooves + 0.0006 * fine
    surface.cover(0.75 * rubbed, (0.70, 0.70, 0.70), 0.6)
    surface.body += 1
    if fault.kind == "pores":
        _porosity(surface, fault.rng)
    if fault.kind == "crack":
        defects.crack(surface, fault.rng)
    return surface


def _tool_marks(radius: Map, rng: np.random.Generator, feed: float) -> Map:
    """A ripple with the feed as its period, each pass a little different."""
    passes = radius / feed + rng.uniform(0, 1)
    strength = rng.normal(1, 0.5, 128).astype(np.float32)
    index = passes.astype(np.int32) % 128
    return strength[index] * np.sin(2 * np.pi * passes)


def _porosity(surface: Surface, rng: np.random.Generator) -> None:
    """A cluster of casting pores."""
    centre = defects.spot(surface, rng, 0.25)
    pores = np.zeros_like(X)
    for _ in range(int(rng.integers(9, 15))):
        x, y = frame(rng.normal(centre, 0.1), 0.0)
        pores = np.maximum(pores, inside(blob(x, y, rng.uniform(0.018, 0.04), rng, 0.3)))
    surface.cover(0.85 * pores, (0.28, 0.28, 0.29), 0.0)
    surface.height -= 0.02 * pores
