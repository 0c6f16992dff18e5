"""Masks at another size, and the regions in them, as numbers."""

import cv2
import numpy as np
from numpy.typing import NDArray

from diffad_lib.datasets.decode import resize_image, resize_linearly
from diffad_lib.errors import DiffadError

MOST_REGIONS = np.iinfo(np.uint16).max  # of a mask, and one number for what `_spread` adds


def resize_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resizes a mask [H,W] in {0,1} to size × size so that no defect vanishes.

    A pixel is 1 where at least half of it is covered, which leaves areas nearly unbiased. Each
    8-connected component that would leave no pixel is then drawn where it covers at least half as
    much as where it covers most: a speck becomes a pixel or a few, a hairline stays a line.
    """
    return (resize_regions(mask, size) > 0).astype(np.uint8)


def resize_regions(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint16]:
    """The regions of a mask [H,W] in {0,1} at size × size: `resize_mask`, with their numbers.

    Regions are the 8-connected components of the mask as it is, numbered from 1. A pixel has the
    number of the region that covers most of it. So a thin region that is torn by resizing stays
    one region, and two that come to touch stay two. Raises DiffadError for more regions than a
    uint16 can number.
    """
    _check(mask)
    coverage = resize_image(mask.astype(np.float32), size)  # [size,size] in [0,1]
    marked = coverage >= 0.5
    count, labels = _numbered(mask)
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    component = labels[rows, columns].astype(np.int64)  # times size² it is beyond int32
    # The flat index of the output pixel below the centre of each defective pixel.
    cell = (2 * rows + 1) * size // (2 * height) * size + (2 * columns + 1) * size // (2 * width)
    pairs, shares = np.unique(component * size**2 + cell, return_counts=True)
    owner, place = pairs // size**2, pairs % size**2
    survives = np.zeros(count, bool)
    survives[owner[marked.flat[place]]] = True
    largest = np.zeros(count, np.int64)
    np.maximum.at(largest, owner, shares)
    is_drawn = ~survives[owner] & (2 * shares >= largest[owner])
    marked.flat[place[is_drawn]] = True
    order = np.argsort(shares + size**2 * is_drawn, kind="stable")  # the last one wins
    regions = np.zeros(size * size, np.uint16)
    regions[place[order]] = owner[order]
    regions = np.where(marked, regions.reshape(size, size), 0)
    return _spread(regions, marked)


def whole_regions(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint16]:
    """The regions of a mask [H,W] in {0,1} at size × size, by the rule of both official codes.

    They resize linearly and cut off the fraction (`astype(int)`): a pixel is defective only where
    all that it is made of is. So defects shrink, and small ones vanish. Regions are counted after
    that (HuiZhang0812/DiffusionAD eval.py), 8-connected, from 1. Raises as `resize_regions`.
    """
    _check(mask)
    _, regions = _numbered((resize_linearly(255 * mask, size) == 255).astype(np.uint8))
    return regions.astype(np.uint16)


def _check(mask: NDArray[np.uint8]) -> None:
    """A mask of 0 and 255 would mark every pixel that it touches, or none."""
    if mask.max(initial=0) > 1:
        raise DiffadError(f"a mask holds {mask.max()}; give 1 on the defect and 0 elsewhere")


def _numbered(mask: NDArray[np.uint8]) -> tuple[int, NDArray[np.int32]]:
    """How many numbers the 8-connected regions of a mask and what is around them, 0, have; them."""
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    if count > MOST_REGIONS:
        raise DiffadError(
            f"{count - 1} regions are more than the {MOST_REGIONS - 1} that a mask can have, as "
            "noise has; save a mask of the defects alone"
        )
    return count, np.asarray(labels, np.int32)


def _spread(regions: NDArray[np.uint16], marked: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Marked pixels without a number get that of a neighbour: no centre of a pixel lies in them."""
    while (missing := marked & (regions == 0)).any():
        grown = np.where(missing, cv2.dilate(regions, np.ones((3, 3), np.uint8)), regions)
        if np.array_equal(grown, regions):  # an island of them
            grown = np.where(missing, min(int(regions.max()) + 1, MOST_REGIONS), regions)
        regions = grown.astype(np.uint16)
    return regions
