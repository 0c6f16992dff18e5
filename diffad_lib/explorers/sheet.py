"""The first face: a figure that needs neither scripts nor a kernel."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from diffad_lib.explorers.view import View

_TILE, _CAPTION = 1.25, 0.3  # inches


def contact_sheet(views: Sequence[View]) -> Figure:
    """A row of tiles for every view, with its caption above it."""
    shapes = [tile.shape for tile in views[0].tiles.values()]
    ratios = [width / height for height, width, _ in shapes]
    figure = plt.figure(
        figsize=(_TILE * sum(ratios) + 0.3, (_TILE + _CAPTION) * len(views) + 0.2),
        dpi=80,
        layout="constrained",
    )
    plt.close(figure)  # or a notebook would show it a second time
    axes = figure.subplots(len(views), len(shapes), squeeze=False, width_ratios=ratios)
    for axis, title in zip(axes[-1], views[0].tiles, strict=True):
        axis.set_xlabel(title, fontsize=8)
    for row, view in zip(axes, views, strict=True):
        row[0].set_title(view.caption, fontsize=8, loc="left")
        for axis, tile in zip(row, view.tiles.values(), strict=True):
            axis.imshow(tile)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    return figure
