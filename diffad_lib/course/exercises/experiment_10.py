"""The open experiment of notebook 10: find the training images in a test set."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from diffad_lib.course.exercises.measuring import Call, Experiment, Goal, seeded, tensor_like
from diffad_lib.course.lessons import mini_split, take

_CATEGORY, _SIZE = "bracket", 64
_FRESH, _COPIES = 40, 24
_NOISE = 0.02  # of a second decoding or another compression
_GAIN = 0.06  # largest, of another exposure


@cache
def _pictures() -> tuple[Tensor, Tensor, Tensor]:
    """Training images [72,3,64,64], test images [64,3,64,64], and which of those are copies.

    A quarter of the copies is as it was; the others are noisy, brighter or darker, or moved by a
    pixel.
    """
    known = mini_split(_CATEGORY, "train", _SIZE)[0]
    shots = [take(_CATEGORY, f"open {n}", None, _SIZE, 3) for n in range(_FRESH)]
    generator = seeded(5)
    chosen = torch.randperm(len(known), generator=generator)[:_COPIES]
    plain, noisy, lit, moved = known[chosen].chunk(4)
    noisy = noisy + _NOISE * torch.randn(noisy.shape, generator=generator)
    lit = lit * (1 + _GAIN * (2 * torch.rand(len(lit), 1, 1, 1, generator=generator) - 1))
    moved = F.pad(moved, (1, 0, 1, 0), mode="replicate")[..., :_SIZE, :_SIZE]
    tested = torch.cat([torch.stack(shots), plain, noisy, lit, moved]).clamp(0, 1)
    order = torch.randperm(len(tested), generator=generator)
    is_copy = torch.arange(len(tested)) >= _FRESH
    return known, tested[order], is_copy[order]


def _measure(find: Call) -> dict[str, float]:
    """Of all named images the share that are copies; of all copies the share that is named."""
    known, tested, is_copy = _pictures()
    named = tensor_like(find(known.clone(), tested.clone()), is_copy, "one bool an image")
    found = (named & is_copy).sum()
    return {
        "precision": (found / named.sum().clamp(min=1)).item(),
        "recall": (found / is_copy.sum()).item(),
    }


EXPERIMENT = Experiment("10", _measure, (Goal("precision", above=0.9), Goal("recall", above=0.9)))
