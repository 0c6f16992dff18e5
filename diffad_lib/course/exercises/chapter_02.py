"""Exercises of notebook 02, the forward process."""

import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Function, Mistake
from diffad_lib.course.exercises.slips import (
    before,
    draw_alphas_cumprod,
    first_for_all,
    of_the_schedule,
    one_early,
    per_image,
)

_ROUND = torch.tensor([0.9, 0.72, 0.36], dtype=torch.float64)  # alphas_cumprod

# 02.1: betas from alphas_cumprod


def betas_from_alphas_cumprod(alphas_cumprod: Tensor) -> Tensor:
    """β_t = 1 - ᾱ_t / ᾱ_{t-1}, with ᾱ_{-1} = 1."""
    return 1 - alphas_cumprod / before(alphas_cumprod)


def _first_repeated(alphas_cumprod: Tensor) -> Tensor:
    return torch.cat([alphas_cumprod[:1], alphas_cumprod[:-1]])


def _schedules(generator: torch.Generator) -> list[Arguments]:
    return [
        (_ROUND.clone(),),
        *((draw_alphas_cumprod(steps, generator),) for steps in (8, 40, 125)),
    ]


_BETAS = Exercise(
    "02.1",
    betas_from_alphas_cumprod,
    _schedules,
    (
        Mistake("these are α_t; β_t is what is missing to 1.", lambda a: a / before(a)),
        Mistake("the ratio is upside down: ᾱ falls with t.", lambda a: 1 - before(a) / a),
        Mistake(
            "1 - ᾱ_t is the noise variance after all steps; β_t is that of step t alone.",
            lambda a: 1 - a,
        ),
        Mistake(
            "β_0 is missing: before step 0 there is no noise, so what is ᾱ there?",
            lambda a: 1 - a[1:] / a[:-1],
        ),
        Mistake(
            "β_0 is 0 in yours, but step 0 adds noise too: what is ᾱ before it?",
            lambda a: 1 - a / _first_repeated(a),
        ),
        Mistake(
            "roll puts the last ᾱ before the first; before step 0 nothing was multiplied yet.",
            lambda a: 1 - a / a.roll(1),
        ),
        Mistake(
            "a difference stands where a ratio belongs: ᾱ is a product, not a sum.",
            lambda a: before(a) - a,
        ),
        Mistake(
            "β_t is a variance; the square root belongs to the signal, not to β_t.",
            lambda a: 1 - (a / before(a)).sqrt(),
        ),
    ),
)

# 02.2: from x_s to x_t


def jump(x_s: Tensor, s: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """x_t = √(ᾱ_t/ᾱ_s) x_s + √(1 - ᾱ_t/ᾱ_s) ε: the closed form, started at x_s."""
    kept = per_image(alphas_cumprod[t] / alphas_cumprod[s])  # [B,1,1,1]
    return kept.sqrt() * x_s + (1 - kept).sqrt() * noise


def _jump_with(signal_scale: Callable[..., Tensor], noise_scale: Callable[..., Tensor]) -> Function:
    """`jump` with other scales, functions of (ᾱ_s, ᾱ_t, α_t) per image."""

    def wrong(x_s: Tensor, s: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor) -> Tensor:
        alphas = 1 - betas_from_alphas_cumprod(alphas_cumprod)
        facts = alphas_cumprod[s], alphas_cumprod[t], alphas[t]
        return per_image(signal_scale(*facts)) * x_s + per_image(noise_scale(*facts)) * noise

    return wrong


def _jump_along_the_width(
    x_s: Tensor, s: Tensor, t: Tensor, noise: Tensor, alphas_cumprod: Tensor
) -> Tensor:
    kept = (alphas_cumprod[t] / alphas_cumprod[s]).float()  # [B] lands on the axis of W
    return kept.sqrt() * x_s + (1 - kept).sqrt() * noise


def _jumps(generator: torch.Generator) -> list[Arguments]:
    """B = W, so that a coefficient on the wrong axis gives a picture and not an exception."""
    x_s, noise = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(2, 1, 1, 1, 2)
    cases: list[Arguments] = [(x_s, torch.tensor([0]), torch.tensor([2]), noise, _ROUND.clone())]
    for batch, steps in ((3, 12), (4, 30)):
        alphas_cumprod = draw_alphas_cumprod(steps, generator)
        # Without t = s + 1 in all images, one step and a jump differ.
        s = torch.randint(0, steps // 3, (batch,), generator=generator)
        t = torch.randint(steps // 2 + 1, steps, (batch,), generator=generator)
        x_s, noise = torch.randn(2, batch, 2, 2, batch, generator=generator)
        cases.append((x_s, s, t, noise, alphas_cumprod))
    return cases


_JUMP = Exercise(
    "02.2",
    jump,
    _jumps,
    (
        Mistake(
            "ᾱ_t alone is the way from x_0; x_s has gone a part of it already.",
            _jump_with(lambda a_s, a_t, _: a_t.sqrt(), lambda a_s, a_t, _: (1 - a_t).sqrt()),
        ),
        Mistake(
            "the signal is right; the noise is too much, as x_s holds some noise already.",
            _jump_with(
                lambda a_s, a_t, _: (a_t / a_s).sqrt(), lambda a_s, a_t, _: (1 - a_t).sqrt()
            ),
        ),
        Mistake(
            "β_t stands where 1 - ᾱ_t/ᾱ_s belongs: that is one step from t - 1, not from s.",
            _jump_with(lambda a_s, a_t, alpha: alpha.sqrt(), lambda *a: (1 - a[2]).sqrt()),
        ),
        Mistake(
            "variances stand where standard deviations belong: both roots are missing.",
            _jump_with(lambda a_s, a_t, _: a_t / a_s, lambda a_s, a_t, _: 1 - a_t / a_s),
        ),
        Mistake(
            "the noise is scaled by its variance; its standard deviation belongs there.",
            _jump_with(lambda a_s, a_t, _: (a_t / a_s).sqrt(), lambda a_s, a_t, _: 1 - a_t / a_s),
        ),
        Mistake(
            "the signal lacks a root: its power falls by ᾱ_t/ᾱ_s, not its amplitude.",
            _jump_with(lambda a_s, a_t, _: a_t / a_s, lambda a_s, a_t, _: (1 - a_t / a_s).sqrt()),
        ),
        Mistake(
            "the noise variances do not simply subtract: the noise in x_s shrinks on the way.",
            _jump_with(lambda a_s, a_t, _: (a_t / a_s).sqrt(), lambda *a: (a[0] - a[1]).sqrt()),
        ),
        Mistake(
            "yours is NaN: a negative number under a root? The later step has the smaller ᾱ.",
            _jump_with(
                lambda a_s, a_t, _: (a_s / a_t).sqrt(), lambda a_s, a_t, _: (1 - a_s / a_t).sqrt()
            ),
        ),
        Mistake(
            "your coefficients [B] vary along the width; reshape them to [B,1,1,1].",
            _jump_along_the_width,
        ),
        first_for_all(jump, "s", "t"),
        first_for_all(jump, "t"),
        *of_the_schedule(jump),
        one_early(jump),
    ),
)

# 02.3: how small a contrast shows

_CHANNELS = 3


def smallest_contrast(pixels: int, t: int, alphas_cumprod: Tensor, auroc: float) -> float:
    """c with Φ(d'/√2) = auroc, where d' = ‖d‖ √SNR_t and ‖d‖ = c √(3 · pixels)."""
    snr = _snr(alphas_cumprod, t)
    return _wanted_d_prime(auroc) / math.sqrt(snr * _CHANNELS * pixels)


def _snr(alphas_cumprod: Tensor, t: int) -> float:
    alpha_bar = alphas_cumprod[t].item()
    return alpha_bar / (1 - alpha_bar)


def _wanted_d_prime(auroc: float) -> float:
    return math.sqrt(2) * NormalDist().inv_cdf(auroc)


def _contrast_with(formula: Callable[[float, float, float], float]) -> Function:
    """`smallest_contrast` by another formula of (d' that is wanted, changed values, ᾱ_t)."""
    return lambda pixels, t, alphas_cumprod, auroc: formula(
        _wanted_d_prime(auroc), _CHANNELS * pixels, alphas_cumprod[t].item()
    )


def _contrasts(generator: torch.Generator) -> list[Arguments]:
    """From a large defect in little noise, where any contrast will do, to one pixel in much."""
    alphas_cumprod = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    cases: list[Arguments] = [(3, 1, alphas_cumprod, 0.8)]
    for steps, pixels, t in ((10, 400, 0), (20, 37, 9), (30, 1, 26)):
        auroc = 0.6 + 0.35 * torch.rand((), generator=generator).item()
        cases.append((pixels, t, draw_alphas_cumprod(steps, generator), auroc))
    return cases


_CONTRAST = Exercise(
    "02.3",
    smallest_contrast,
    _contrasts,
    (
        Mistake(
            "a √2 is missing: an AUROC compares two scores, and both are noisy.",
            _contrast_with(lambda d, n, a: d / math.sqrt(2 * n * a / (1 - a))),
        ),
        Mistake(
            "2 stands where √2 belongs: Φ(d'/2) is the share of right yes-no answers.",
            _contrast_with(lambda d, n, a: d * math.sqrt(2) / math.sqrt(n * a / (1 - a))),
        ),
        Mistake(
            "Φ stands where its inverse belongs: the AUROC is given, d' is wanted.",
            lambda pixels, t, alphas_cumprod, auroc: (
                math.sqrt(2)
                * NormalDist().cdf(auroc)
                / math.sqrt(_snr(alphas_cumprod, t) * _CHANNELS * pixels)
            ),
        ),
        Mistake(
            "a pixel has three values: all of them add to ‖d‖.",
            _contrast_with(lambda d, n, a: d / math.sqrt(n / _CHANNELS * a / (1 - a))),
        ),
        Mistake(
            "the size of the defect is not used: ‖d‖ grows with it.",
            _contrast_with(lambda d, n, a: d / math.sqrt(a / (1 - a))),
        ),
        Mistake(
            "‖d‖ grows with the root of the number of values, not with the number.",
            _contrast_with(lambda d, n, a: d / n / math.sqrt(a / (1 - a))),
        ),
        Mistake(
            "the SNR is a ratio of powers; d' is one of amplitudes: a root is missing.",
            _contrast_with(lambda d, n, a: d / math.sqrt(n) * (1 - a) / a),
        ),
        Mistake(
            "more noise makes less contrast enough in yours: the SNR is on the wrong side.",
            _contrast_with(lambda d, n, a: d / math.sqrt(n) * math.sqrt(a / (1 - a))),
        ),
        Mistake(
            "only the signal is scaled; the noise's standard deviation is missing.",
            _contrast_with(lambda d, n, a: d / math.sqrt(n * a)),
        ),
        Mistake(
            "the noise's variance stands where its standard deviation belongs.",
            _contrast_with(lambda d, n, a: d / math.sqrt(n * a) * (1 - a)),
        ),
        Mistake(
            "that is c², an energy; a contrast is its root.",
            _contrast_with(lambda d, n, a: d**2 / (n * a / (1 - a))),
        ),
        *of_the_schedule(smallest_contrast),
        one_early(smallest_contrast),
    ),
)

EXERCISES = (_BETAS, _JUMP, _CONTRAST)
