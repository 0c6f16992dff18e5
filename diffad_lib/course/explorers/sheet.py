"""The first face: a figure that needs neither scripts nor a kernel."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from diffad_lib.course.explorers.view import View

_TILE, _GAP, _LINE = 1.5, 0.1, 0.14  # inches: height of a tile, space, height of a text line
_LETTERS = 17  # per inch
_TEXT: dict[str, Any] = {"fontsize": 8, "verticalalignment": "top"}


def contact_sheet(views: Sequence[View]) -> Figure:
    """A row of tiles for every view, with its caption above it; titles stand at the top."""
    widths = [_TILE * tile.shape[1] / tile.shape[0] for tile in views[0].tiles.values()]
    width = sum(widths) + _GAP * (len(widths) + 1)
    titles = [
        textwrap.fill(title, round(_LETTERS * inches))
        for title, inches in zip(views[0].tiles, widths, strict=True)
    ]
    captions = [textwrap.fill(view.caption, round(_LETTERS * width)) for view in views]
    rows = [_LINE * _lines(caption) + _TILE + 2 * _GAP for caption in captions]
    height = _LINE * max(map(_lines, titles)) + 2 * _GAP + sum(rows)
    figure = plt.figure(figsize=(width, height), dpi=90)
    plt.close(figure)  # or a notebook would show it a second time

    left = [_GAP + sum(widths[:n]) + _GAP * n for n in range(len(widths))]
    for x, title in zip(left, titles, strict=True):
        figure.text(x / width, 1 - _GAP / height, title, weight="bold", **_TEXT)
    top = height - _LINE * max(map(_lines, titles)) - 2 * _GAP
    for view, caption, row in zip(views, captions, rows, strict=True):
        figure.text(_GAP / width, top / height, caption, **_TEXT)
        top -= row
        for x, inches, tile in zip(left, widths, view.tiles.values(), strict=True):
            bottom = top + _GAP
            place = (x / width, bottom / height, inches / width, _TILE / height)
            axis = figure.add_axes(place)
            axis.imshow(tile, aspect="auto")
            axis.axis("off")
    return figure


def _lines(text: str) -> int:
    return 1 + text.count("\n")
