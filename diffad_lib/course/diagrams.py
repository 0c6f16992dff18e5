"""Drawings of networks. They are made from a run of the network, so they show what it does."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from diffad_lib.plots import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION

_COLOURS = {"start": GREY, "down": BLUE, "middle": PURPLE, "up": GREEN, "out": VERMILION}
_BOX, _STEP = 0.42, 1.25  # half height of a box, distance of two boxes


@dataclass(frozen=True)
class Part:
    """A block of a network as it ran: its place, and what it put out."""

    place: str  # name of the child of the network that it is or belongs to, such as "down"
    channels: int
    side: int  # of the feature map, pixels
    takes_time: bool  # whether it adds the time embedding: as it tells, or had a second input


def parts_of(network: nn.Module, x_t: Tensor, t: Tensor) -> list[Part]:
    """The children of a network that put out feature maps [B,C,S,S], in the order of their run.

    A child that is a ModuleList counts as its blocks. x_t [B,C,S,S] and t int64 [B] are what the
    network is called with.
    """
    found: list[Part] = []
    hooks = []
    for name, child in network.named_children():
        for block in child if isinstance(child, nn.ModuleList) else [child]:

            def note(block: nn.Module, given: Any, output: Tensor, name: str = name) -> None:
                if output.ndim == 4:
                    channels, side = output.shape[1], output.shape[2]
                    takes_time = getattr(block, "takes_time", len(given) > 1)
                    found.append(Part(name, channels, side, takes_time))

            hooks.append(block.register_forward_hook(note))
    try:
        with torch.no_grad():
            network(x_t, t)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def unet_diagram(network: nn.Module, x_t: Tensor, t: Tensor) -> Figure:
    """A U-Net whose blocks are its children "down" and "up"; each "up" takes the last skip left.

    A box is a block, with its number of channels; a row is a size of the feature maps, and the
    width of a box grows with the channels. Arrows across are skip connections.
    """
    parts = parts_of(network, x_t, t)
    sides = sorted({part.side for part in parts}, reverse=True)
    width = _STEP * len(parts) + 1.6
    figure = plt.figure(figsize=(min(9.5, 0.85 * width), 0.85 * len(sides) + 0.7), dpi=100)
    plt.close(figure)  # or a notebook would show it a second time
    axis = figure.add_axes((0, 0, 1, 1))
    places = [(_STEP * (n + 0.5), -1.2 * sides.index(part.side)) for n, part in enumerate(parts)]
    most = max(part.channels for part in parts)
    for part, place in zip(parts, places, strict=True):
        _box(axis, part, place, most)
    for (before, start), (after, end) in pairwise(zip(parts, places, strict=True)):
        _arrow(axis, start, end, _half(before, most), _half(after, most))
    _skips(axis, parts, places, most)
    for side in sides:
        text = f"{side} × {side}"
        axis.text(-1.5, -1.2 * sides.index(side), text, va="center", color=GREY, fontsize=9)
    axis.set(xlim=(-1.7, _STEP * len(parts)), ylim=(-1.2 * len(sides) + 0.2, 1.1))
    axis.axis("off")
    return figure


def _half(part: Part, most: int) -> float:
    """Half the width of a box."""
    return 0.16 + 0.22 * part.channels / most


def _box(axis: Axes, part: Part, place: tuple[float, float], most: int) -> None:
    (x, y), half = place, _half(part, most)
    colour = _COLOURS.get(part.place, SKY)
    corner = (x - half, y - _BOX)
    axis.add_patch(Rectangle(corner, 2 * half, 2 * _BOX, facecolor=colour, alpha=0.3))
    axis.add_patch(Rectangle(corner, 2 * half, 2 * _BOX, fill=False, edgecolor=colour))
    axis.text(x, y, str(part.channels), ha="center", va="center", fontsize=9)
    if part.takes_time:
        axis.plot(x, y - _BOX, marker="o", color=ORANGE, markeredgecolor=BLACK, markersize=7)
        axis.text(x + 0.13, y - _BOX - 0.12, "t", fontsize=8, va="center")


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], left: float, right: float
) -> None:
    """From the right side of one box to the left side of the next."""
    tail, head = (start[0] + left, start[1]), (end[0] - right, end[1])
    axis.annotate("", head, tail, arrowprops={"arrowstyle": "->", "color": BLACK, "lw": 0.9})


def _skips(axis: Axes, parts: list[Part], places: list[tuple[float, float]], most: int) -> None:
    waiting = [n for n, part in enumerate(parts) if part.place == "down"]
    for n in (n for n, part in enumerate(parts) if part.place == "up"):
        start = waiting.pop()
        (x_start, y), (x_end, y_end) = places[start], places[n]
        tail, head = (x_start, y + _BOX), (x_end, y_end + _BOX)
        bend = {"arrowstyle": "->", "color": GREY, "lw": 0.9, "linestyle": "--"}
        curve = {"connectionstyle": f"arc3,rad={-0.35 / max(1.0, x_end - x_start):.3f}"}
        axis.annotate("", head, tail, arrowprops=bend | curve)
