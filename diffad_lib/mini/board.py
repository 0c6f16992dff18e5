"""A populated circuit board: controller, capacitor, chip resistors, pin header."""

import numpy as np

from diffad_lib.mini import defects
from diffad_lib.mini.fault import Fault
from diffad_lib.mini.surface import (
    Map,
    Surface,
    background,
    box,
    disc,
    dyed,
    either,
    frame,
    inside,
    repeated,
    sample,
    smooth_noise,
    smoothstep,
    window,
)

_TOP = 0.05  # height of the bare board
_GOLD = (0.80, 0.64, 0.28)
_TIN = (0.70, 0.71, 0.73)
_CONTROLLER, _CAPACITOR = (-0.33, -0.12), (0.58, -0.33)  # centres
_RESISTORS = [(0.17, -0.36), (0.17, -0.14), (0.17, 0.08), (0.62, 0.08)]


def draw_board(rng: np.random.Generator, fault: Fault) -> Surface:
    """Green board on a light tray; each part sits a little off its place.

    Faults: missing and misplaced part, bent pin, solder bridge, scratch, burn.
    """
    surface = background(dyed((0.66, 0.66, 0.66), 1 + 0.02 * smooth_noise(rng, 64, 64)))
    x, y = frame(rng.normal(0, 0.025, 2), rng.normal(0, 0.03))
    _laminate(surface, x, y, sample(smooth_noise(rng, 110, 110), x, y))
    absent = fault.pick("missing_part", len(_RESISTORS))
    astray = fault.pick("misplaced_part", len(_RESISTORS))
    for draw, centre in ((_controller, _CONTROLLER), (_capacitor, _CAPACITOR)):
        here = window(x, y, centre, 0.45)
        seat = _seat(centre, rng.normal(0, 0.008, 2))
        draw(surface.part(here), *frame(seat, rng.normal(0, 0.03), x[here], y[here]))
    for index, centre in enumerate(_RESISTORS):
        here = window(x, y, centre, 0.3)
        part = surface.part(here)
        shift, turn = rng.normal(0, 0.008, 2), rng.normal(0, 0.03)
        if index == astray:
            shift += fault.rng.uniform(-0.05, 0.05, 2)
            turn += either(fault.rng) * fault.rng.uniform(0.6, 1.3)
        _pads(part, *frame(centre, 0, x[here], y[here]))
        if index != absent:
            _resistor(part, *frame(_seat(centre, shift), turn, x[here], y[here]))
    here = window(x, y, (0.0, 0.55), 0.65)
    _header(surface.part(here), *frame((0, 0.47), 0, x[here], y[here]), fault)
    match fault.kind:
        case "solder_bridge":
            _solder_bridge(surface, x, y, fault.rng)
        case "scratch":
            defects.scratch(surface, fault.rng, (0.72, 0.52, 0.32), width=0.034, gloss=0.4)
        case "burn":
            defects.stain(surface, fault.rng, (0.16, 0.11, 0.08), strength=0.85, gloss=0.05)
    return surface


def _seat(centre: tuple[float, float], shift: np.ndarray) -> tuple[float, float]:
    return centre[0] + shift[0], centre[1] + shift[1]


def _laminate(surface: Surface, x: Map, y: Map, fibre: Map) -> None:
    """Solder mask over copper tracks, mounting holes with plated rims, white print."""
    holes = disc(np.abs(x) - 0.77, np.abs(y) - 0.63, 0.05)
    outline = box(x, y, 0.88, 0.74, 0.05)
    board = np.maximum(outline, -holes)
    surface.build(board, _TOP, 0.02, dyed((0.07, 0.29, 0.16), 1 + 0.03 * fibre), 0.3)
    surface.body = inside(board)
    edge_track = np.abs(np.abs(x + 0.05) - 0.83) - 0.012
    tracks = inside(np.maximum(np.minimum(_bus(x, y), edge_track), outline + 0.05))
    surface.cover(tracks, (0.14, 0.42, 0.22))
    surface.height += 0.004 * tracks
    rims = np.abs(holes - 0.012) - 0.018
    surface.cover(inside(rims), _GOLD, 0.6)
    frame_x, frame_y = x - _CONTROLLER[0], y - _CONTROLLER[1]
    silk = np.abs(box(frame_x, frame_y, 0.37, 0.33)) - 0.008
    surface.cover(inside(silk), (0.82, 0.84, 0.80), 0.1)


def _bus(x: Map, y: Map) -> Map:
    """Parallel tracks that run from the controller to the header with a slanted middle part."""
    slant = np.clip(y - 0.22, 0, 0.1)
    lane = np.abs(repeated(x + slant + 0.09, 0.11)) - 0.014
    return np.maximum(lane, box(x + 0.1, y - 0.28, 0.55, 0.2))


def _controller(surface: Surface, x: Map, y: Map) -> None:
    """Black package with gull-wing leads on two sides, a dot at pin 1 and a marking."""
    leads = np.maximum(np.abs(repeated(x, 0.09)) - 0.022, box(x, y, 0.27, 0.28))
    surface.build(leads, _TOP + 0.03, 0.02, _TIN, 0.7)
    surface.build(box(x, y, 0.30, 0.21, 0.02), _TOP + 0.1, 0.03, (0.10, 0.10, 0.11), 0.25)
    dot = inside(disc(x + 0.23, y - 0.14, 0.028))
    surface.cover(dot, (0.05, 0.05, 0.05), 0.0)
    surface.height -= 0.01 * dot
    glyphs = np.abs(repeated(x, 0.05)) - 0.014
    for centre, half_length, row in ((0.035, 0.165, -0.07), (-0.015, 0.115, 0.03)):
        line = box(x - centre, y - row, half_length, 0.02)
        surface.cover(0.7 * inside(np.maximum(line, glyphs)), (0.62, 0.62, 0.62))


def _capacitor(surface: Surface, x: Map, y: Map) -> None:
    """Electrolytic can seen from above: aluminium lid with its black polarity segment."""
    surface.build(box(x, y, 0.2, 0.2, 0.05), _TOP + 0.03, 0.02, (0.11, 0.11, 0.12), 0.2)
    surface.build(disc(x, y, 0.185), _TOP + 0.2, 0.035, (0.68, 0.69, 0.71), 0.6)
    lid = disc(x, y, 0.15)
    surface.height -= 0.012 * smoothstep(0, 0.02, -lid)
    segment = np.maximum(lid, x + 0.06)
    surface.cover(inside(segment), (0.13, 0.13, 0.15), 0.3)


def _pads(surface: Surface, x: Map, y: Map) -> None:
    """Two tinned pads of a chip part."""
    pads = box(np.abs(x) - 0.095, y, 0.055, 0.062, 0.01)
    surface.build(pads, _TOP + 0.012, 0.02, _TIN, 0.6)


def _resistor(surface: Surface, x: Map, y: Map) -> None:
    """Chip resistor: dark film between tinned caps, with a printed value."""
    surface.build(box(x, y, 0.125, 0.06, 0.01), _TOP + 0.055, 0.02, (0.76, 0.77, 0.78), 0.6)
    surface.cover(inside(box(x, y, 0.085, 0.065)), (0.09, 0.09, 0.12), 0.2)
    digits = np.maximum(np.abs(repeated(x, 0.045)) - 0.012, box(x, y, 0.06, 0.025))
    surface.cover(0.8 * inside(digits), (0.8, 0.8, 0.8))


def _header(surface: Surface, x: Map, y: Map, fault: Fault) -> None:
    """Black pin header with a row of eight gold pins that point down the picture."""
    pitch = 0.13
    surface.build(box(x, y, 0.58, 0.055, 0.01), _TOP + 0.12, 0.02, (0.12, 0.12, 0.13), 0.3)
    straight = np.abs(repeated(x - (pitch / 2), pitch)) - 0.024
    pins = np.maximum(straight, box(x, y - 0.12, 0.51, 0.11))
    if fault.kind == "bent_pin":
        root = x - float(fault.rng.integers(-4, 4) + 0.5) * pitch
        pins = np.where(np.abs(root) < pitch / 2, 1, pins)
        lean = either(fault.rng) * fault.rng.uniform(0.75, 1.2)
        leaning = np.abs(root - lean * np.maximum(y - 0.05, 0))
        bent = np.maximum(leaning - 0.028, np.abs(y - 0.11) - 0.1)
        pins = np.minimum(pins, bent)
    surface.build(pins, _TOP + 0.09, 0.022, _GOLD, 0.75)


def _solder_bridge(surface: Surface, x: Map, y: Map, rng: np.random.Generator) -> None:
    """A drop of solder that joins two or three leads of the controller."""
    along, side = rng.uniform(-0.2, 0.2), 0.27 * either(rng)
    drop_x, drop_y = frame(_seat(_CONTROLLER, np.array([along, side])), rng.normal(0, 0.2), x, y)
    drop = box(drop_x, drop_y, rng.uniform(0.1, 0.15), 0.05, 0.05)
    surface.build(drop, _TOP + 0.07, 0.05, (0.74, 0.75, 0.77), 0.85)
