"""The forward process q and one step of the reverse process p, as pure functions.

Shapes: images [B,C,H,W] float32; t int64 [B], 0-based; noise like the images or broadcastable.
Source: Ho et al. 2020 (arXiv 2006.11239), as DiffusionAD's models/DDPM.py uses it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffad_lib.diffusion.schedule import Schedule, extract

NoisePredictor = Callable[[Tensor, Tensor], Tensor]
"""eps = model(x_t, t): the noise that the model believes is in x_t."""
NoiseFunction = Callable[[Tensor, Tensor], Tensor]
"""noise = noise_fn(x_t, t), shaped like x_t."""


class Gaussian(NamedTuple):
    """A normal distribution over images: mean [B,C,H,W], the others [B,1,1,1]."""

    mean: Tensor
    variance: Tensor
    log_variance: Tensor


class ReverseStep(NamedTuple):
    """p(x_{t-1} | x_t): mean and pred_x0 [B,C,H,W], variance and log_variance [B,1,1,1]."""

    mean: Tensor
    variance: Tensor
    log_variance: Tensor
    pred_x0: Tensor


class ReverseSample(NamedTuple):
    """A draw of x_{t-1} and the x_0 that was predicted for it, both [B,C,H,W]."""

    sample: Tensor
    pred_x0: Tensor


def gaussian_noise(generator: torch.Generator) -> NoiseFunction:
    """A noise function that draws N(0, I) from `generator`, which sits on the images' device."""
    return lambda x_t, t: torch.randn(x_t.shape, generator=generator, device=x_t.device)


def q_sample(schedule: Schedule, x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """x_t from x_0 in one go: √ᾱ_t x_0 + √(1-ᾱ_t) ε (eq. 4)."""
    signal = extract(schedule.sqrt_alphas_cumprod, t, x_0.ndim)
    return signal * x_0 + extract(schedule.sqrt_one_minus_alphas_cumprod, t, x_0.ndim) * noise


def predict_x0_from_eps(schedule: Schedule, x_t: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """The x_0 that x_t and the noise in it imply: x_t / √ᾱ_t - √(1/ᾱ_t - 1) ε. Not clamped."""
    scaled = extract(schedule.sqrt_recip_alphas_cumprod, t, x_t.ndim) * x_t
    return scaled - extract(schedule.sqrt_recipm1_alphas_cumprod, t, x_t.ndim) * eps


def predict_eps_from_x0(schedule: Schedule, x_t: Tensor, t: Tensor, x_0: Tensor) -> Tensor:
    """The noise that x_t and x_0 imply; the inverse of `predict_x0_from_eps`."""
    scaled = extract(schedule.sqrt_recip_alphas_cumprod, t, x_t.ndim) * x_t
    return (scaled - x_0) / extract(schedule.sqrt_recipm1_alphas_cumprod, t, x_t.ndim)


def q_posterior_mean_variance(schedule: Schedule, x_0: Tensor, x_t: Tensor, t: Tensor) -> Gaussian:
    """q(x_{t-1} | x_t, x_0) (eq. 6 and 7). Its log variance is clipped at t = 0, where it is -∞."""
    mean = (
        extract(schedule.posterior_mean_coef1, t, x_t.ndim) * x_0
        + extract(schedule.posterior_mean_coef2, t, x_t.ndim) * x_t
    )
    return Gaussian(
        mean,
        extract(schedule.posterior_variance, t, x_t.ndim),
        extract(schedule.posterior_log_variance_clipped, t, x_t.ndim),
    )


def p_mean_variance(
    schedule: Schedule, model: NoisePredictor, x_t: Tensor, t: Tensor
) -> ReverseStep:
    """p(x_{t-1} | x_t) by `model`: predicted x_0 clamped to [-1, 1], variance "fixed large"."""
    pred_x0 = predict_x0_from_eps(schedule, x_t, t, model(x_t, t)).clamp(-1, 1)
    return ReverseStep(
        q_posterior_mean_variance(schedule, pred_x0, x_t, t).mean,
        extract(schedule.model_variance, t, x_t.ndim),
        extract(schedule.model_log_variance, t, x_t.ndim),
        pred_x0,
    )


def p_sample(
    schedule: Schedule, model: NoisePredictor, x_t: Tensor, t: Tensor, noise_fn: NoiseFunction
) -> ReverseSample:
    """One ancestral step: a draw of x_{t-1} given x_t (Algorithm 2); no noise where t = 0."""
    step = p_mean_variance(schedule, model, x_t, t)
    not_last = (t != 0).to(x_t.dtype).reshape(-1, *[1] * (x_t.ndim - 1))
    sample = step.mean + not_last * torch.exp(0.5 * step.log_variance) * noise_fn(x_t, t)
    return ReverseSample(sample, step.pred_x0)


def snr(schedule: Schedule) -> Tensor:
    """float64 [T]: the signal-to-noise ratio ᾱ_t / (1 - ᾱ_t) of every t."""
    return schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
