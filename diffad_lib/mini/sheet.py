"""A contact sheet of the mini data."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from diffad_lib.datasets.decode import decode_pair
from diffad_lib.datasets.layouts import list_samples
from diffad_lib.datasets.samples import Sample
from diffad_lib.mini.categories import CATEGORIES, Category
from diffad_lib.mini.surface import SIZE

_GOOD, _DEFECTIVE = 3, 6  # pictures of each category
_OUTLINE = (255, 40, 40)


def contact_sheet(root: Path) -> NDArray[np.uint8]:
    """Mini data as the loaders read it: uint8 RGB, a row of tiles for each category.

    Normal images on the left, then defective ones with their ground truth outlined in red.
    """
    return np.concatenate([_row(category, root) for category in CATEGORIES], axis=0)


def _row(category: Category, root: Path) -> NDArray[np.uint8]:
    samples = list_samples(category.dataset, category.name, root)
    good = [sample for sample in samples if sample.label == 0]
    tiles = [_tile(sample) for sample in good[:_GOOD] + _one_of_each(samples)[:_DEFECTIVE]]
    caption = np.full((20, SIZE * len(tiles), 3), 255, np.uint8)
    text = f"{category.dataset}/{category.name}: {', '.join(category.defects)}"
    cv2.putText(caption, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([caption, np.concatenate(tiles, axis=1)], axis=0)


def _one_of_each(samples: list[Sample]) -> list[Sample]:
    """Defective samples: the first of each defect that the layout tells, then the second, ..."""
    seen: Counter[str] = Counter()
    ranked = []
    for sample in samples:
        if sample.label == 1:
            ranked.append((seen[sample.defect], sample))
            seen[sample.defect] += 1
    return [sample for _, sample in sorted(ranked, key=lambda pair: pair[0])]


def _tile(sample: Sample) -> NDArray[np.uint8]:
    tile, mask = decode_pair(sample.image, sample.mask)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, _OUTLINE, 1)
    return tile
