"""The open experiment of notebook 07: from a map to a mask."""

from functools import cache

import torch
from torch import Tensor

from diffad_lib.course.exercises.measuring import Call, Experiment, Goal, seeded, tensor_like
from diffad_lib.course.lessons import DEFECTS, defect_mask, take_twins
from diffad_lib.course.shipped import load_shipped

_CATEGORY = "bracket"


@cache
def _maps() -> tuple[Tensor, Tensor]:
    """Maps of 40 defective parts and their clean twins, mixed, and their true masks, [80,H,W]."""
    detector = load_shipped(f"draem_{_CATEGORY}").detector
    cases = [(f"open {n}", name) for name in DEFECTS[_CATEGORY] for n in range(8)]
    clean, bad = take_twins(_CATEGORY, cases, detector.settings.image_size, 1)
    with torch.no_grad():
        maps = detector.predict(torch.cat([bad, clean])).anomaly_map[:, 0]
    masks = defect_mask(clean, bad)[:, 0]
    order = torch.randperm(len(maps), generator=seeded(2))
    return maps[order], torch.cat([masks, torch.zeros_like(masks)])[order]


def _measure(mark: Call) -> dict[str, float]:
    """Of all marked pixels the share that is defective; of all defective ones that is marked."""
    maps, masks = _maps()
    marked = tensor_like(mark(maps.clone()), masks, "masks")
    found = (marked & masks).sum()
    return {
        "precision": (found / marked.sum().clamp(min=1)).item(),
        "recall": (found / masks.sum()).item(),
    }


EXPERIMENT = Experiment("07", _measure, (Goal("precision", above=0.65), Goal("recall", above=0.65)))
