"""The open experiment of notebook 06: masks that look like defects."""

from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffad_lib.course.exercises.measuring import Call, Experiment, Goal, Unfit, seeded, tensor_like
from diffad_lib.course.lessons import DEFECTS, take_twins

_SIZE, _COUNT = 64, 400


@cache
def _drawn() -> Tensor:
    """Masks of 60 defects of the bracket, as the chapter counts them, [60,1,64,64]."""
    cases = [(f"open {n}", name) for name in DEFECTS["bracket"] for n in range(12)]
    clean, bad = take_twins("bracket", cases, _SIZE, 1)
    return ((bad - clean).abs().mean(dim=1, keepdim=True) > 0.02).float()


def _traits(masks: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Size (share of the image) and number of pieces of the masks that are not empty."""
    masks = masks[masks.flatten(1).any(dim=1)]
    pieces = [cv2.connectedComponents(mask)[0] - 1.0 for mask in masks[:, 0].byte().numpy()]
    return masks.mean(dim=(1, 2, 3)).double().numpy(), np.array(pieces)


def _gap(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Largest gap between two cumulative distributions, 0 … 1."""
    points = np.sort(np.concatenate([first, second]))
    below = [np.searchsorted(np.sort(x), points, side="right") / len(x) for x in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def _made(make_masks: Call, count: int, size: int, seed: int) -> Tensor:
    made = make_masks(count, size, seeded(seed))
    masks = tensor_like(made, torch.zeros(count, 1, size, size), "masks")
    if not ((masks == 0) | (masks == 1)).all():
        raise Unfit("your function returns masks with values other than 0 and 1.")
    return masks


def _measure(make_masks: Call) -> dict[str, float]:
    masks = _made(make_masks, _COUNT, _SIZE, 2)
    empty = 1 - masks.flatten(1).any(dim=1).float().mean().item()
    if empty == 1:
        raise Unfit("your function returns empty masks only.")
    if _made(make_masks, 7, _SIZE // 2, 2).equal(_made(make_masks, 7, _SIZE // 2, 3)):
        raise Unfit("your function gives the same masks again; draw with the generator.")
    if not masks.equal(_made(make_masks, _COUNT, _SIZE, 2)):
        raise Unfit("your function draws with another generator than the one it is given.")
    sizes, pieces = zip(_traits(masks), _traits(_drawn()), strict=True)
    return {"gap in size": _gap(*sizes), "gap in pieces": _gap(*pieces), "empty": empty}


EXPERIMENT = Experiment(
    "06",
    _measure,
    (Goal("gap in size", below=0.25), Goal("gap in pieces", below=0.25), Goal("empty", below=0.1)),
)
