"""The open experiment of notebook 01: a reconstruction that misses few defects."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from diffad_lib.course.exercises.measuring import Call, Experiment, Goal, tensor_like
from diffad_lib.course.lessons import DEFECTS, mini_split, take_twins

_CATEGORY, _SIZE, _FITTED = "bracket", 64, 54


@cache
def _pictures() -> tuple[Tensor, Tensor, Tensor]:
    """Normal pictures to fit, others that are held out, and 40 defective ones."""
    images, _ = mini_split(_CATEGORY, "train", _SIZE)
    cases = [(f"open {name} {n}", name) for name in DEFECTS[_CATEGORY] for n in range(8)]
    return images[:_FITTED], images[_FITTED:], take_twins(_CATEGORY, cases, _SIZE, 1)[1]


def _measure(rebuild: Call) -> dict[str, float]:
    """Missed at 5 % false alarms on the held-out pictures, with the chapter's score."""
    fitted, held_out, bad = _pictures()
    # One call, shuffled: what is good cannot be told by the call or by the place in it.
    order = torch.randperm(len(held_out) + len(bad), generator=torch.Generator().manual_seed(0))
    images = torch.cat([held_out, bad])[order]
    rebuilt = tensor_like(rebuild(images.clone(), fitted.clone()), images, "images")
    residual = (images - rebuilt).abs().mean(dim=1, keepdim=True)
    scores = F.avg_pool2d(residual, 5, 1).amax(dim=(1, 2, 3))[order.argsort()]
    good, defective = scores.tensor_split([len(held_out)])
    return {"missed (of 40)": float((defective <= good.quantile(0.95)).sum())}


EXPERIMENT = Experiment("01", _measure, (Goal("missed (of 40)", below=5),))
