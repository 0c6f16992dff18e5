"""Exercises of notebook 03, the reverse process."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Function, Mistake
from diffad_lib.course.exercises.slips import before

# 03.1: the best denoiser of one Gaussian


def best_x0(x_t: Tensor, alpha_bar: float, mean: Tensor, spread: float) -> Tensor:
    """μ + √ᾱ s² / (ᾱ s² + 1 - ᾱ) · (x_t - √ᾱ μ)."""
    return mean + _pull(alpha_bar, spread) * (x_t - alpha_bar**0.5 * mean)


def _pull(alpha_bar: float, spread: float) -> float:
    return alpha_bar**0.5 * spread**2 / _variance(alpha_bar, spread)


def _variance(alpha_bar: float, spread: float) -> float:
    return alpha_bar * spread**2 + 1 - alpha_bar


def _pulled_by(pull: Callable[[float, float], float]) -> Function:
    """`best_x0` with another factor, a function of (ᾱ, s)."""
    return lambda x_t, alpha_bar, mean, spread: (
        mean + pull(alpha_bar, spread) * (x_t - alpha_bar**0.5 * mean)
    )


def _points(generator: torch.Generator) -> list[Arguments]:
    first = torch.tensor([[1.0, 0.0]]).double()
    cases: list[Arguments] = [(first, 0.64, torch.tensor([0.5, -0.5]).double(), 0.5)]
    for alpha_bar, spread in ((0.9, 0.2), (0.3, 0.7), (0.05, 1.5)):
        x_t = torch.randn(4, 3, generator=generator).double()
        cases.append((x_t, alpha_bar, torch.randn(3, generator=generator).double(), spread))
    return cases


_BEST = Exercise(
    "03.1",
    best_x0,
    _points,
    (
        Mistake(
            "x_t / √ᾱ would be right without noise; part of x_t is noise.",
            lambda x, a, mean, s: x / a**0.5,
        ),
        Mistake(
            "the mean alone: x_t is not used, though it tells something.",
            lambda x, a, mean, s: mean.expand_as(x).clone(),
        ),
        Mistake(
            "x_t is compared with μ; what is expected there is √ᾱ μ.",
            lambda x, a, mean, s: mean + _pull(a, s) * (x - mean),
        ),
        Mistake(
            "a √ᾱ is missing in the factor: x_t holds √ᾱ x_0, not x_0.",
            _pulled_by(lambda a, s: s**2 / _variance(a, s)),
        ),
        Mistake(
            "the variance of x_t also holds the spread of the points: ᾱ s² is missing.",
            _pulled_by(lambda a, s: a**0.5 * s**2 / (1 - a)),
        ),
        Mistake(
            "the spread reaches x_t shrunk by √ᾱ, its variance by ᾱ.",
            _pulled_by(lambda a, s: a**0.5 * s**2 / (s**2 + 1 - a)),
        ),
        Mistake(
            "s is a standard deviation; variances belong in the factor.",
            _pulled_by(lambda a, s: a**0.5 * s / (a * s + 1 - a)),
        ),
        Mistake(
            "that factor gives the mean of √ᾱ x_0: divide by √ᾱ once more.",
            _pulled_by(lambda a, s: a * s**2 / _variance(a, s)),
        ),
        Mistake(
            "the pull is right; it starts from μ, not from 0.",
            lambda x, a, mean, s: _pull(a, s) * (x - a**0.5 * mean),
        ),
    ),
)

# 03.2: the two variances of the step


def variance_ratio(alphas_cumprod: Tensor) -> Tensor:
    """β̃_t / β_t = (1 - ᾱ_{t-1}) / (1 - ᾱ_t), with ᾱ_{-1} = 1."""
    return (1 - before(alphas_cumprod)) / (1 - alphas_cumprod)


def _betas(alphas_cumprod: Tensor) -> Tensor:
    return 1 - alphas_cumprod / before(alphas_cumprod)


def _schedules(generator: torch.Generator) -> list[Arguments]:
    cases: list[Arguments] = [(torch.tensor([0.9, 0.72, 0.36]).double(),)]
    for steps in (8, 40):
        betas = 0.02 + 0.3 * torch.rand(steps, generator=generator, dtype=torch.float64)
        cases.append(((1 - betas).cumprod(0),))
    return cases


_RATIO = Exercise(
    "03.2",
    variance_ratio,
    _schedules,
    (
        Mistake(
            "that is β̃_t itself; the ratio to β_t is wanted.",
            lambda a: variance_ratio(a) * _betas(a),
        ),
        Mistake(
            "a ratio of standard deviations; variances are asked for.",
            lambda a: variance_ratio(a).sqrt(),
        ),
        Mistake(
            "ᾱ_t / ᾱ_{t-1} is 1 - β_t; the noise that is there is 1 - ᾱ.",
            lambda a: a / before(a),
        ),
        Mistake(
            "before step 0 nothing is noise: ᾱ is 1 there, so the ratio is 0 at t = 0.",
            lambda a: torch.cat([torch.ones_like(a[:1]), variance_ratio(a)[1:]]),
        ),
        Mistake(
            "ᾱ_{t+1} stands where ᾱ_{t-1} belongs.",
            lambda a: (1 - torch.cat([a[1:], a[-1:]])) / (1 - a),
        ),
        Mistake(
            "T values are wanted: what is the ratio at t = 0?",
            lambda a: (1 - a[:-1]) / (1 - a[1:]),
        ),
        Mistake(
            "roll puts the last ᾱ before the first; before step 0 nothing was multiplied yet.",
            lambda a: (1 - a.roll(1)) / (1 - a),
        ),
        Mistake("1 - β̃/β: that is what is missing to the ratio.", lambda a: 1 - variance_ratio(a)),
    ),
)

# 03.3: how much of the defect came back


def share_left(result: Tensor, defective: Tensor, clean: Tensor) -> Tensor:
    """⟨r - c, d⟩ / ⟨d, d⟩ with d = defective - clean, per image."""
    defect = defective - clean
    return _dot(result - clean, defect) / _dot(defect, defect)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=(1, 2, 3))  # [B]


def _mean_over_channels(result: Tensor, defective: Tensor, clean: Tensor) -> Tensor:
    one_by_one = (image.flatten(0, 1)[:, None] for image in (result, defective, clean))
    return share_left(*one_by_one).reshape(len(result), -1).mean(dim=1)


def _reconstructions(generator: torch.Generator) -> list[Arguments]:
    """Results that hold a share of the defect, from all of it to less than nothing, and more."""
    cases: list[Arguments] = []
    for batch, width in ((1, 4), (3, 4), (4, 6)):
        clean, noise = torch.rand(2, batch, 3, 4, width, generator=generator)
        where = torch.rand(batch, 1, 4, width, generator=generator) < 0.4
        faint = 0.02 if width > 4 else 0.0  # all pixels count, also these
        defect = (torch.rand(batch, 3, 4, width, generator=generator) - 0.3) * (where + faint)
        share = torch.linspace(1.2, -0.2, batch).reshape(-1, 1, 1, 1)
        cases.append((clean + share * defect + 0.2 * (noise - 0.5), clean + defect, clean))
    return cases


_LEFT = Exercise(
    "03.3",
    share_left,
    _reconstructions,
    (
        Mistake(
            "that is what is gone; what is left is wanted.",
            lambda r, d, c: _dot(d - r, d - c) / _dot(d - c, d - c),
        ),
        Mistake(
            "a ratio of sizes counts errors that have nothing to do with the defect.",
            lambda r, d, c: (_dot(r - c, r - c) / _dot(d - c, d - c)).sqrt(),
        ),
        Mistake(
            "a ratio of energies: all errors count, and twice the defect counts four times.",
            lambda r, d, c: _dot(r - c, r - c) / _dot(d - c, d - c),
        ),
        Mistake(
            "divided by the energy of the result's change: that is the other regression.",
            lambda r, d, c: _dot(r - c, d - c) / _dot(r - c, r - c),
        ),
        Mistake(
            "divided by both norms it is a cosine: the form of the defect, not its amount.",
            lambda r, d, c: _dot(r - c, d - c) / (_dot(r - c, r - c) * _dot(d - c, d - c)).sqrt(),
        ),
        Mistake(
            "the root of the energy stands below; c has no unit, so the energy belongs there.",
            lambda r, d, c: _dot(r - c, d - c) / _dot(d - c, d - c).sqrt(),
        ),
        Mistake(
            "the clean picture is still in it: take it off the result.",
            lambda r, d, c: _dot(r, d - c) / _dot(d - c, d - c),
        ),
        Mistake(
            "a mean of three ratios, one a channel; take one over all of an image's values.",
            _mean_over_channels,
        ),
        Mistake(
            "one number for the batch; every image has its own share.",
            lambda r, d, c: (_dot(r - c, d - c).sum() / _dot(d - c, d - c).sum()).expand(len(r)),
        ),
        Mistake(
            "your result is kept between 0 and 1; a defect can come back stronger or inverted.",
            lambda r, d, c: share_left(r, d, c).clamp(0, 1),
        ),
    ),
)

EXERCISES = (_BEST, _RATIO, _LEFT)
