"""What the experiments of notebooks 03, 04 and 05 share: repair defective parts, with a network."""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from diffad_lib.course.exercises.measuring import Call, seeded, tensor_like
from diffad_lib.course.lessons import DEFECTS, defect_kept, defect_mask, rms, take_twins
from diffad_lib.course.shipped import load_shipped
from diffad_lib.diffusion.process import NoisePredictor
from diffad_lib.diffusion.schedule import Schedule
from diffad_lib.methods.diffusionad.detector import DiffusionAD

KEPT, ERROR, CALLS = "defect kept", "normal error", "network calls"


class _Setting(NamedTuple):
    clean: Tensor  # [10,3,64,64] in [0,1]
    bad: Tensor
    network: NoisePredictor
    schedule: Schedule


@cache
def _setting() -> _Setting:
    detector = load_shipped("diffusionad_bracket").detector.requires_grad_(False)
    assert isinstance(detector, DiffusionAD)
    cases = [(f"open {n}", name) for name in DEFECTS["bracket"] for n in range(2)]
    twins = take_twins("bracket", cases, detector.settings.image_size, 1)
    return _Setting(*twins, detector.denoising, detector.schedule)


def repaired(repair: Call) -> dict[str, float]:
    """What `repair(images, network, schedule, generator)` gives on two brackets, five defects each.

    KEPT: mean share of the defect that is kept. ERROR: mean error (RMSE, of 1) on normal pixels.
    CALLS: of the network, for a batch of all images; two batches in one call count as two.
    """
    clean, bad, network, schedule = _setting()
    seen = 0

    def counted(x_t: Tensor, t: Tensor) -> Tensor:
        nonlocal seen
        seen += len(x_t)
        return network(x_t, t)

    with torch.no_grad():
        value = repair(bad.clone(), counted, schedule, seeded(2))
    result = tensor_like(value, bad, "images")
    return {
        KEPT: defect_kept(result, clean, bad).mean().item(),
        ERROR: rms(result - clean, ~defect_mask(clean, bad)).mean().item(),
        CALLS: math.ceil(seen / len(bad)),
    }
