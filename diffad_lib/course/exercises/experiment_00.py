"""The open experiment of notebook 00: a score by what the network changed."""

from functools import cache

import torch
from torch import Tensor

from diffad_lib.course.exercises.measuring import Call, Experiment, Goal, seeded, tensor_like
from diffad_lib.course.lessons import DEFECTS, take, take_twins
from diffad_lib.course.shipped import load_shipped
from diffad_lib.metrics import image_auroc

_CATEGORY = "bracket"


@cache
def _changes() -> tuple[Tensor, Tensor]:
    """Mean |image - repaired image| of 20 good and 20 defective parts, [40,64,64]; of 16 good."""
    detector = load_shipped(f"diffusionad_{_CATEGORY}").detector
    size = detector.settings.image_size
    cases = [(f"open {n}", name) for name in DEFECTS[_CATEGORY] for n in range(4)]
    good = [take(_CATEGORY, f"good {n}", None, size, 1) for n in range(16)]
    images = torch.cat([*take_twins(_CATEGORY, cases, size, 1), torch.stack(good)])
    with torch.no_grad():
        repaired = detector.predict(images).reconstruction
    assert repaired is not None
    change = (images - repaired).abs().mean(dim=1)
    return change[: 2 * len(cases)], change[2 * len(cases) :]


def _measure(score: Call) -> dict[str, float]:
    in_order, good_maps = _changes()
    order = torch.randperm(len(in_order), generator=seeded(2))
    maps, labels = in_order[order], (order >= len(order) // 2).long()  # 0: good, 1: defective
    scores = tensor_like(score(maps, good_maps.clone()), labels.double(), "scores")
    return {"AUROC": float(image_auroc(scores, labels))}


EXPERIMENT = Experiment("00", _measure, (Goal("AUROC", above=0.9),))
