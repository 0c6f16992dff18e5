"""The open experiment of notebook 11: a denoiser without a network."""

from functools import cache

import torch
from torch import Tensor

from diffad_lib.course.exercises.measuring import Call, Experiment, Goal, seeded, tensor_like
from diffad_lib.course.lessons import mini_split, take
from diffad_lib.diffusion.schedule import Schedule, linear_betas

_CATEGORY, _SIZE = "bracket", 64
_AT_50, _AT_200 = "noise error at t = 50", "noise error at t = 200"
_COUNT = 20  # of unseen images


@cache
def _images() -> tuple[Tensor, Tensor]:
    """The training images [72,3,64,64], and 20 normal ones that are not among them, in [0,1]."""
    train, _ = mini_split(_CATEGORY, "train", _SIZE)
    unseen = [take(_CATEGORY, f"open {n}", None, _SIZE, 1) for n in range(_COUNT)]
    return train, torch.stack(unseen)


def _measure(predict_noise: Call) -> dict[str, float]:
    """Mean squared error of the noise that is predicted for the unseen images, at two t."""
    train, unseen = _images()
    alphas_cumprod = Schedule.from_betas(linear_betas()).alphas_cumprod
    found = {}
    for name, t in ((_AT_50, 50), (_AT_200, 200)):
        kept = alphas_cumprod[t].item()
        noise = torch.randn(unseen.shape, generator=seeded(t))
        x_t = kept**0.5 * unseen + (1 - kept) ** 0.5 * noise
        told = tensor_like(predict_noise(x_t, kept, train.clone()), noise, "noise")
        found[name] = (told - noise).square().mean().item()
    return found


EXPERIMENT = Experiment("11", _measure, (Goal(_AT_50, below=0.02), Goal(_AT_200, below=0.006)))
