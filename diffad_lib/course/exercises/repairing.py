"""What the experiments of notebooks 03, 04 and 05 share: repair defective parts, with a network."""

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from diffad_lib.course.exercises.measuring import Call, Unfit, seeded, tensor_like
from diffad_lib.course.lessons import DEFECTS, defect_kept, defect_mask, rms, take_twins
from diffad_lib.course.shipped import load_shipped
from diffad_lib.diffusion.process import NoisePredictor
from diffad_lib.diffusion.schedule import Schedule
from diffad_lib.methods.diffusionad.detector import DiffusionAD

KEPT, ERROR, CALLS = "defect kept", "normal error", "network calls"
_SEEDS = (2, 3, 4)  # of the noise


class _Setting(NamedTuple):
    clean: Tensor  # [10,3,64,64] in [0,1]
    bad: Tensor
    network: NoisePredictor
    schedule: Schedule


@cache
def _setting() -> _Setting:
    detector = load_shipped("diffusionad_bracket").detector.requires_grad_(False)
    assert isinstance(detector, DiffusionAD)
    cases = [(f"open {name} {n}", name) for name in DEFECTS["bracket"] for n in range(2)]
    twins = take_twins("bracket", cases, detector.settings.image_size, 1)
    return _Setting(*twins, detector.denoising, detector.schedule)


def repaired(repair: Call) -> dict[str, float]:
    """What `repair(images, network, schedule, generator)` gives on ten brackets, with three seeds.

    KEPT: mean share of the defect that is kept, without its sign: a defect turned round is no
    repair. ERROR: mean error (RMSE, of 1) on normal pixels. CALLS: of the network, for a batch of
    all images; two batches in one call count as two. Raises Unfit if the network is never called.
    """
    clean, bad, network, schedule = _setting()
    seen, results = 0, []

    def counted(x_t: Tensor, t: Tensor) -> Tensor:
        nonlocal seen
        seen += x_t.numel()  # so that pictures in one large image count, too
        return network(x_t, t)

    for seed in _SEEDS:
        with torch.no_grad():
            value = repair(bad.clone(), counted, schedule, seeded(seed))
        results.append(tensor_like(value, bad, "images"))
    if not seen:
        raise Unfit("your function never calls the network that it is given; others do not count.")
    normal = ~defect_mask(clean, bad)
    kept = [defect_kept(result, clean, bad).abs().mean() for result in results]
    errors = [rms(result - clean, normal).mean() for result in results]
    return {
        KEPT: torch.stack(kept).mean().item(),
        ERROR: torch.stack(errors).mean().item(),
        CALLS: math.ceil(seen / (len(_SEEDS) * bad.numel())),
    }
