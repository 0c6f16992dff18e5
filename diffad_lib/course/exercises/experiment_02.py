"""The open experiment of notebook 02: a t that takes the pixels and leaves the defect."""

from functools import cache
from numbers import Integral

import torch
from torch import Tensor

from diffad_lib.course.exercises.measuring import Call, Experiment, Goal, Unfit, seeded
from diffad_lib.course.lessons import take_twins
from diffad_lib.diffusion.process import q_sample
from diffad_lib.diffusion.schedule import Schedule, linear_betas
from diffad_lib.metrics import image_auroc

_DRAWS = 1000  # noised copies of each twin


@cache
def _twins() -> tuple[Tensor, Tensor]:
    """A bracket and the same with rust, both [3,64,64]."""
    clean, bad = take_twins("bracket", [("open", "rust")], 64, 1)
    return clean[0], bad[0]


def _measure(choose: Call) -> dict[str, float]:
    """AUROC of the matched filter that sees the strongest pixel alone, and of the whole one."""
    clean, bad = _twins()
    schedule = Schedule.from_betas(linear_betas(1000))
    t = choose(clean.clone(), bad.clone(), schedule)
    if isinstance(t, bool) or not isinstance(t, Integral) or not 0 <= int(t) < 1000:
        raise Unfit(f"your function returns {t!r}, expected t, a whole number from 0 to 999.")
    labels = torch.arange(2).repeat_interleave(_DRAWS)  # 0: clean, 1: defective
    noise = torch.randn(2 * _DRAWS, *clean.shape, generator=seeded(2))
    x_t = q_sample(
        schedule, torch.stack([clean, bad])[labels], torch.full_like(labels, int(t)), noise
    )
    defect = bad - clean
    of_pixels = (x_t * defect).sum(dim=1).flatten(1)  # [draws,H·W]
    strongest = defect.square().sum(dim=0).argmax()
    return {
        "AUROC of one pixel": float(image_auroc(of_pixels[:, strongest], labels)),
        "AUROC of the defect": float(image_auroc(of_pixels.sum(dim=1), labels)),
    }


EXPERIMENT = Experiment(
    "02",
    _measure,
    (Goal("AUROC of one pixel", below=0.66), Goal("AUROC of the defect", above=0.95)),
)
