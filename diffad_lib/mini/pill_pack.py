"""A blister pack: six capsules in clear pockets of an embossed foil."""

import numpy as np

from diffad_lib.mini import defects
from diffad_lib.mini.fault import NO_FAULT, Fault
from diffad_lib.mini.surface import (
    Map,
    Surface,
    background,
    blob,
    box,
    disc,
    dyed,
    either,
    frame,
    inside,
    sample,
    smooth_noise,
    smoothstep,
    window,
)

_CENTRES = [(cx, cy) for cy in (-0.36, 0.36) for cx in (-0.54, 0.0, 0.54)]
_FOIL_TOP = 0.03
_RED, _WHITE, _BLUE = (0.68, 0.13, 0.12), (0.86, 0.83, 0.76), (0.16, 0.33, 0.58)


def draw_pill_pack(rng: np.random.Generator, fault: Fault) -> Surface:
    """Pack on a dark belt; each capsule lies at its own angle in its pocket.

    Faults: missing, broken and wrong capsule, crushed pocket, stain.
    """
    surface = background(dyed((0.17, 0.18, 0.20), 1 + 0.06 * smooth_noise(rng, 100, 100)), 0.1)
    x, y = frame(rng.normal(0, 0.03, 2), rng.normal(0, 0.04))
    crinkle = sample(smooth_noise(rng, 9, 9), x, y)
    offsets = rng.normal(0, 0.012, (6, 2))
    angles = np.pi / 2 + rng.normal(0, 0.10, 6) + np.pi * rng.integers(2, size=6)
    _foil(surface, x, y, crinkle)
    struck = int(fault.rng.integers(6)) if fault.kind else -1
    for index, centre in enumerate(_CENTRES):
        here = window(x, y, centre, 0.4)
        pocket, px, py = surface.part(here), *frame(centre, 0, x[here], y[here])
        its_fault = fault if index == struck else NO_FAULT
        _hollow(pocket, px, py)
        if its_fault.kind != "missing_pill":
            _capsule(pocket, *frame(offsets[index], angles[index], px, py), its_fault)
        _film(pocket, px, py, its_fault)
    if fault.kind == "stain":
        defects.stain(surface, fault.rng, (0.30, 0.24, 0.14), strength=0.7, gloss=0.15)
    return surface


def _foil(surface: Surface, x: Map, y: Map, crinkle: Map) -> None:
    """Aluminium with an embossed diamond grid."""
    card = box(x, y, 0.88, 0.80, 0.12)
    grid = np.abs(np.sin((x + y) * 26)) * np.abs(np.sin((x - y) * 26))
    silver = dyed((0.60, 0.61, 0.63), 1 + 0.04 * crinkle)
    surface.build(card, _FOIL_TOP, 0.02, silver, 0.5)
    surface.height += inside(card) * (0.006 * grid + 0.006 * crinkle)
    surface.body = inside(card)


def _hollow(surface: Surface, x: Map, y: Map) -> None:
    """The hollow that shows the inner side of the foil."""
    pocket = box(x, y, 0.19, 0.30, 0.19)
    surface.cover(inside(pocket), (0.50, 0.51, 0.53), 0.3)
    surface.height += (_FOIL_TOP - 0.04 - surface.height) * smoothstep(0, 0.05, -pocket)


def _capsule(surface: Surface, x: Map, y: Map, fault: Fault) -> None:
    """Two-part gelatine capsule along x, the cap a little wider than the body."""
    cap = x > 0.02
    girth = np.where(cap, np.float32(0.122), np.float32(0.112))
    along = np.maximum(np.abs(x) - 0.12, 0)
    off = np.hypot(along, y)
    shape = off - girth
    cap_colour = _BLUE if fault.kind == "wrong_pill" else _RED
    if fault.kind == "broken_pill":
        side = either(fault.rng)
        bite = frame((side * fault.rng.uniform(0.1, 0.2), fault.rng.uniform(-0.1, 0.1)), 0.0, x, y)
        shape = np.maximum(shape, -blob(*bite, fault.rng.uniform(0.1, 0.13), fault.rng, 0.3))
    round_back = np.sqrt(np.clip(1 - (off / girth) ** 2, 0, 1))
    share = inside(shape)
    surface.cover(share, _WHITE, 0.45)
    surface.cover(share * cap, cap_colour)
    surface.height += share * (0.10 * round_back)


def _film(surface: Surface, x: Map, y: Map, fault: Fault) -> None:
    """The clear dome: its rim and its glare; a crushed one is creased and milky."""
    pocket = box(x, y, 0.20, 0.31, 0.20)
    rim = np.exp(-((pocket / 0.022) ** 2))
    surface.height += 0.022 * rim
    surface.gloss += rim * (0.8 - surface.gloss)
    glare = box(*frame((-0.105, -0.1), 0.12, x, y), 0.014, 0.10, 0.014)
    surface.cover(0.55 * inside(glare), (0.95, 0.96, 0.98))
    if fault.kind == "crushed_pocket":
        rows, columns = x.shape
        folds = smooth_noise(fault.rng, 14, 14)[:rows, :columns]
        dented = inside(
            np.maximum(pocket, disc(*frame(fault.rng.normal(0, 0.08, 2), 0, x, y), 0.2))
        )
        crease = np.exp(-((folds / 0.16) ** 2)) * dented
        surface.cover(0.45 * dented, (0.70, 0.71, 0.72), 0.7)
        surface.height += 0.03 * crease
