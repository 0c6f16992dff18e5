"""Metal parts: a drilled plate, a folded bracket, the end of a tube with its hexagon nut."""

import math

import numpy as np

from diffad_lib.mini import defects
from diffad_lib.mini.fault import Fault
from diffad_lib.mini.surface import (
    Colour,
    Map,
    Surface,
    background,
    blob,
    box,
    disc,
    dyed,
    either,
    frame,
    hexagon,
    inside,
    sample,
    smooth_noise,
    smooth_union,
    smoothstep,
    window,
)

_BARE = (0.70, 0.68, 0.66)  # steel where the coat is gone


def draw_plate(rng: np.random.Generator, fault: Fault) -> Surface:
    """Ground steel plate with four holes, two screws and a bore, on a green mat.

    Faults: missing and misplaced hole, missing screw, bent corner, scratch, stain.
    """
    surface = _mat(rng, (0.16, 0.29, 0.24))
    x, y = frame(rng.normal(0, 0.045, 2), rng.normal(0, 0.1))
    grind = sample(smooth_noise(rng, 180, 5), x, y)
    smear = sample(smooth_noise(rng, 6, 5), x, y)
    turns = rng.uniform(0, np.pi, 2)
    lift: Map | float = 0
    if fault.kind == "bent_corner":
        x, y, lift = _fold_corner(x, y, fault.rng)
    outline = box(x, y, 0.80, 0.58, 0.09)
    plate = np.maximum(outline, -disc(x, y, 0.17))
    undrilled, astray = fault.pick("missing_hole", 4), fault.pick("misplaced_hole", 4)
    scribed = np.zeros_like(x)
    for index, (cx, cy) in enumerate([(-0.62, -0.4), (0.62, -0.4), (-0.62, 0.4), (0.62, 0.4)]):
        if index == astray:
            cx, cy = cx * fault.rng.uniform(0.62, 0.74), cy * fault.rng.uniform(0.55, 0.95)
        hole = disc(x - cx, y - cy, 0.085)
        if index == undrilled:  # only the mark for the drill is there
            scribed = inside(np.minimum(np.abs(hole) - 0.014, hole + 0.055))
        else:
            plate = np.maximum(plate, -hole)
    steel = dyed((0.56, 0.57, 0.59), 1 + 0.07 * grind + 0.06 * smear)
    surface.build(plate, 0.085, 0.035, steel, 0.5)
    surface.height += inside(plate) * (0.0006 * grind + lift)
    surface.body = inside(plate)
    surface.cover(0.9 * scribed, (0.14, 0.14, 0.18), 0.1)
    absent = fault.pick("missing_screw", 2)
    for index, cx in enumerate((-0.42, 0.42)):
        here = window(x, y, (cx, 0), 0.15)
        screw_x, screw_y = frame((cx, 0), turns[index], x[here], y[here])
        _screw(surface.part(here), screw_x, screw_y, present=index != absent)
    if fault.kind == "scratch":
        defects.scratch(surface, fault.rng, (0.86, 0.87, 0.9), width=0.032)
    if fault.kind == "stain":
        defects.stain(surface, fault.rng, (0.42, 0.28, 0.14), strength=0.6, gloss=0.2)
    return surface


def _fold_corner(x: Map, y: Map, rng: np.random.Generator) -> tuple[Map, Map, Map]:
    """Coordinates and lift of a plate whose corner is bent up about a slanted line."""
    sx, sy = either(rng), either(rng)
    angle = rng.uniform(0.6, 0.95)
    nx, ny = sx * math.cos(angle), sy * math.sin(angle)
    beyond = np.maximum(x * nx + y * ny - rng.uniform(0.58, 0.64), 0)
    pull = rng.uniform(0.35, 0.6)  # the tip of a bent corner comes in
    lift = rng.uniform(0.5, 0.8) * beyond
    return x + pull * beyond * nx, y + pull * beyond * ny, lift


def _screw(surface: Surface, x: Map, y: Map, *, present: bool) -> None:
    """Pan head with a cross recess on a washer; where it is missing, its hole in a rusty ring."""
    if not present:
        _open_hole(surface, x, y, 0.115, (0.34, 0.25, 0.18))
        return
    surface.build(disc(x, y, 0.115), 0.1, 0.01, (0.42, 0.42, 0.43), 0.4)
    head = disc(x, y, 0.085)
    surface.build(head, 0.15, 0.06, (0.66, 0.65, 0.62), 0.8)
    cross = np.minimum(box(x, y, 0.055, 0.015), box(x, y, 0.015, 0.055))
    surface.cover(inside(cross), (0.12, 0.12, 0.12), 0.1)
    surface.height -= 0.03 * inside(cross)


def draw_bracket(rng: np.random.Generator, fault: Fault) -> Surface:
    """Painted angle bracket with two rivets and a bead, on a grey mat; lies at a small angle.

    Faults: bent edge, extra hole, missing rivet, scratch to the bare metal, rust.
    """
    surface = _mat(rng, (0.60, 0.60, 0.58))
    x, y = frame(rng.normal(0, 0.035, 2), rng.normal(0, 0.1))
    peel = sample(smooth_noise(rng, 60, 60), x, y)  # orange peel of the coat
    shade = rng.normal(1, 0.05)
    lift = flaked = np.zeros_like(x)
    if fault.kind == "bent_edge":
        x, y, lift, flaked = _curl_edge(x, y, fault.rng)
    web = box(x, y + 0.26, 0.74, 0.32, 0.1)
    leg = box(x, y - 0.30, 0.40, 0.44, 0.14)
    shape = smooth_union(web, leg, 0.16)
    slots = box(np.abs(x) - 0.52, y + 0.26, 0.12, 0.065, 0.065)
    shape = np.maximum(shape, -np.minimum(slots, disc(x, y - 0.46, 0.13)))
    part = inside(shape)
    surface.build(shape, 0.12, 0.04, dyed((0.17, 0.26, 0.36), shade + 0.05 * peel), 0.42)
    bend = smoothstep(-0.05, 0.05, y - 0.07)  # the leg is folded away from the lamp
    bead = 0.05 * np.exp(-((x / 0.1) ** 2) - ((y - 0.05) / 0.2) ** 2)
    surface.height += part * (bead - 0.12 * bend * (y - 0.07) + 0.0015 * peel + lift)
    surface.cover(part * flaked, _BARE, 0.6)
    surface.body = part
    absent = fault.pick("missing_rivet", 2)
    for index, cx in enumerate((-0.2, 0.2)):
        here = window(x, y, (cx, -0.36), 0.15)
        rivet = frame((cx, -0.36), 0, x[here], y[here])
        _rivet(surface.part(here), *rivet, present=index != absent)
    match fault.kind:
        case "scratch":
            defects.scratch(surface, fault.rng, _BARE, width=0.034)
        case "rust":
            defects.rust(surface, fault.rng)
        case "extra_hole":
            surface.body = part * (surface.gloss < 0.5)  # but not through a rivet
            defects.hole(surface, fault.rng, colour=(0.45, 0.45, 0.44), roughness=0.05)
    return surface


def _curl_edge(x: Map, y: Map, rng: np.random.Generator) -> tuple[Map, Map, Map, Map]:
    """A part whose left or right end is bent over: coordinates, lift, where the coat flaked off."""
    side = either(rng)
    past_crease = side * x - 0.15 * y - rng.uniform(0.5, 0.56)
    ragged = np.abs(past_crease) - 0.02 + 0.02 * smooth_noise(rng, 40, 40)
    beyond = np.maximum(past_crease, 0)
    droop = either(rng) * rng.uniform(0.4, 0.6)
    lift = rng.uniform(0.3, 0.45) * beyond
    return x + side * 0.3 * beyond, y + droop * beyond, lift, inside(ragged)


def _rivet(surface: Surface, x: Map, y: Map, *, present: bool) -> None:
    """Domed head; where it is missing, its hole in a ring of bare metal."""
    if present:
        surface.build(disc(x, y, 0.1), 0.19, 0.1, (0.58, 0.58, 0.57), 0.7)
        return
    _open_hole(surface, x, y, 0.1, _BARE)


def _open_hole(surface: Surface, x: Map, y: Map, radius: float, ring: Colour) -> None:
    """The hole of a screw or rivet that is not there, in the print of its head."""
    surface.cover(inside(disc(x, y, radius)), ring, 0.3)
    hole = inside(disc(x, y, 0.065))
    surface.cover(hole, (0.06, 0.06, 0.06), 0.0)
    surface.height -= 0.1 * hole


def draw_tube_end(rng: np.random.Generator, fault: Fault) -> Surface:
    """Turned brass fitting seen along its bore: nut, tube, chamfer; turned by any angle.

    Faults: dent, crack, chip of the rim, swarf in the bore, stain.
    """
    surface = _mat(rng, (0.33, 0.35, 0.40))
    x, y = frame(rng.normal(0, 0.035, 2), rng.uniform(0, 2 * np.pi))
    radius = np.hypot(x, y)
    tarnish = sample(smooth_noise(rng, 5, 5), x, y)
    passes = rng.standard_normal(96, dtype=np.float32)
    rings = np.interp(radius, np.linspace(0, 1.5, 96), passes).astype(np.float32)
    shade = rng.normal(1, 0.04)
    brass = dyed((0.68, 0.53, 0.29), shade + 0.045 * rings + 0.04 * tarnish)
    nut = hexagon(x, y, 0.70)
    surface.build(nut, 0.2, 0.05, brass * 0.92, 0.45)
    chamfer = np.maximum(radius - 0.66, 0) * 0.45
    surface.height -= inside(nut) * chamfer  # corners of a nut are turned off to a cone
    tube = disc(x, y, 0.50)
    if fault.kind == "chip":
        angle = fault.rng.uniform(0, 2 * np.pi)
        bite = frame((0.5 * np.cos(angle), 0.5 * np.sin(angle)), angle, x, y)
        tube = np.maximum(tube, -blob(*bite, fault.rng.uniform(0.14, 0.18), fault.rng, 0.2))
    surface.build(tube, 0.34, 0.05, brass, 0.6)
    surface.height += inside(tube) * 0.0012 * rings
    bore = disc(x, y, 0.30)
    depth = smoothstep(0, 0.16, -bore)
    surface.cover(inside(bore), brass * (0.62 - 0.5 * depth), 0.3)
    surface.height -= inside(bore) * (0.05 + 0.5 * depth)
    surface.body = inside(np.maximum(nut, -bore))
    match fault.kind:
        case "dent":
            defects.dent(surface, fault.rng)
        case "crack":
            surface.body = inside(np.maximum(tube, -disc(x, y, 0.32)))  # the wall of the tube
            defects.crack(surface, fault.rng, length=0.5, width=0.035)
        case "stain":
            defects.stain(surface, fault.rng, (0.20, 0.36, 0.30), strength=0.7, gloss=0.1)
        case "swarf":
            _swarf(surface, x, y, fault.rng)
    return surface


def _swarf(surface: Surface, x: Map, y: Map, rng: np.random.Generator) -> None:
    """A curl of chip that lies across the bore."""
    cx, cy = frame(rng.uniform(-0.12, 0.12, 2), rng.uniform(0, 2 * np.pi), x, y)
    angle = np.arctan2(cy, cx)
    curl = np.abs(np.hypot(cx, cy) - (0.17 + 0.03 * angle)) - 0.028
    part = np.maximum(curl, np.abs(angle) - 2.5)
    surface.build(part, 0.3, 0.025, (0.78, 0.61, 0.33), 0.7)


def _mat(rng: np.random.Generator, colour: Colour) -> Surface:
    """The matt support that the part lies on."""
    weave = smooth_noise(rng, 128, 128)
    soil = smooth_noise(rng, 5, 5)
    return background(dyed(colour, 1 + 0.04 * weave + 0.03 * soil))
