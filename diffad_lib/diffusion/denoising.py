"""From a noised image back to an image: many steps, one step, or one norm-guided step.

Shapes: images [B,C,H,W] float32; t int64 [B], 0-based. Predicted x_0 is clamped to [-1, 1].
Source: DiffusionAD (arXiv 2303.08730) section 3.2 and its models/DDPM.py; DDIM (arXiv 2010.02502).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from diffad_lib.diffusion.process import (
    NoiseFunction,
    NoisePredictor,
    gaussian_noise,
    p_sample,
    predict_eps_from_x0,
    predict_x0_from_eps,
    q_sample,
)
from diffad_lib.diffusion.schedule import Schedule, extract


class Step(TypedDict):
    """Where a denoising is: x_t and the x_0 predicted from it, [B,C,H,W], and the t it leaves."""

    x: Tensor
    t: int
    pred_x0: Tensor


StepCallback = Callable[[Step], None]
"""Called before each step."""


class NoiseLevel(NamedTuple):
    """How far an image is noised: t int64 [B] and the noise, [B,C,H,W] or [1,C,H,W]."""

    t: Tensor
    noise: Tensor


class NormGuided(NamedTuple):
    """What norm-guided one-step denoising computes; images [B,C,H,W]."""

    pred_x0_norm_guided: Tensor  # the reconstruction
    pred_x0_normal: Tensor  # one step from normal_t, unguided
    pred_x0_noisier: Tensor  # one step from noisier_t, the guide
    x_normal_t: Tensor
    x_noisier_t: Tensor
    pred_x_t_noisier: Tensor  # the guide, noised to normal_t
    eps_normal: Tensor  # the noise that the model sees in x_normal_t
    eps_noisier: Tensor  # and in x_noisier_t


def iterative_denoise(
    schedule: Schedule,
    model: NoisePredictor,
    x_t: Tensor,
    start: int,
    noise_fn: NoiseFunction,
    callback: StepCallback | None = None,
) -> Tensor:
    """x_0 from x_t at t = `start` by start + 1 ancestral steps (Ho et al. 2020, Algorithm 2)."""
    _check_start(schedule, start)
    x = x_t
    for t in range(start, -1, -1):
        step = p_sample(schedule, model, x, _batch_of(t, x), noise_fn)
        if callback is not None:
            callback({"x": x, "t": t, "pred_x0": step.pred_x0})
        x = step.sample
    return x


def ddim_denoise(
    schedule: Schedule,
    model: NoisePredictor,
    x_t: Tensor,
    start: int,
    steps: int,
    callback: StepCallback | None = None,
) -> Tensor:
    """x_0 from x_t at `start` by 1 … start + 1 evenly spaced steps of DDIM (eq. 12, η = 0)."""
    _check_start(schedule, start)
    if not 1 <= steps <= start + 1:
        raise ValueError(f"steps must be from 1 to start + 1 = {start + 1}, not {steps}")
    times = torch.linspace(start, -1, steps + 1, dtype=torch.float64).round().long().tolist()
    x = x_t
    for t, t_next in pairwise(times):
        now = _batch_of(t, x)
        pred_x0 = one_step_denoise(schedule, model, x, now)
        if callback is not None:
            callback({"x": x, "t": t, "pred_x0": pred_x0})
        if t_next >= 0:
            # The noise is taken again from the clamped x_0, so that the two stay consistent.
            eps = predict_eps_from_x0(schedule, x, now, pred_x0)
            x = q_sample(schedule, pred_x0, _batch_of(t_next, x), eps)
    return pred_x0


def one_step_denoise(schedule: Schedule, model: NoisePredictor, x_t: Tensor, t: Tensor) -> Tensor:
    """x_0 [B,C,H,W] predicted from x_t by one call of the model, clamped to [-1, 1]."""
    return predict_x0_from_eps(schedule, x_t, t, model(x_t, t)).clamp(-1, 1)


def norm_guided_one_step(
    schedule: Schedule,
    model: NoisePredictor,
    x_0: Tensor,
    normal: NoiseLevel,
    noisier: NoiseLevel,
    weight: float,
) -> NormGuided:
    """Norm-guided one-step denoising of x_0 (DiffusionAD section 3.2).

    x_0 is noised to the times of both levels. The prediction from the noisier one has lost the
    anomaly; it steers the other one, which has kept the detail. The model runs once, on 2B images.
    weight: strength of the guidance, 1 in the paper and the code; 0 gives pred_x0_normal.
    """
    x_normal_t = q_sample(schedule, x_0, *normal)
    x_noisier_t = q_sample(schedule, x_0, *noisier)
    both_x, both_t = torch.cat([x_normal_t, x_noisier_t]), torch.cat([normal.t, noisier.t])
    eps_normal, eps_noisier = model(both_x, both_t).chunk(2)  # [2B,C,H,W] -> 2 x [B,C,H,W]

    pred_x0_noisier = predict_x0_from_eps(schedule, x_noisier_t, noisier.t, eps_noisier)
    pred_x0_noisier = pred_x0_noisier.clamp(-1, 1)
    pred_x_t_noisier = q_sample(schedule, pred_x0_noisier, normal.t, eps_normal)
    guided_eps = eps_normal - weight * extract(
        schedule.sqrt_one_minus_alphas_cumprod, normal.t, x_0.ndim
    ) * (pred_x_t_noisier - x_normal_t)
    pred_x0_normal = predict_x0_from_eps(schedule, x_normal_t, normal.t, eps_normal)
    pred_x0_guided = predict_x0_from_eps(schedule, x_normal_t, normal.t, guided_eps)
    return NormGuided(
        pred_x0_norm_guided=pred_x0_guided.clamp(-1, 1),
        pred_x0_normal=pred_x0_normal.clamp(-1, 1),
        pred_x0_noisier=pred_x0_noisier,
        x_normal_t=x_normal_t,
        x_noisier_t=x_noisier_t,
        pred_x_t_noisier=pred_x_t_noisier,
        eps_normal=eps_normal,
        eps_noisier=eps_noisier,
    )


def random_levels(
    schedule: Schedule,
    x_0: Tensor,
    less_t_range: int,
    generator: torch.Generator,
    noisier_t_range: int | None = None,
) -> tuple[NoiseLevel, NoiseLevel]:
    """Levels of a training step: normal_t from 0, noisier_t from less_t_range, each below its end.

    normal_t ends at less_t_range, noisier_t at noisier_t_range; None: T.
    """
    batch, device = len(x_0), x_0.device
    normal_t = torch.randint(less_t_range, (batch,), generator=generator, device=device)
    most, draw = noisier_t_range or schedule.timesteps, gaussian_noise(generator)
    noisier_t = torch.randint(less_t_range, most, (batch,), generator=generator, device=device)
    return NoiseLevel(normal_t, draw(x_0, normal_t)), NoiseLevel(noisier_t, draw(x_0, noisier_t))


def norm_guided_training(
    schedule: Schedule,
    model: NoisePredictor,
    x_0: Tensor,
    is_anomalous: Tensor,
    levels: tuple[NoiseLevel, NoiseLevel],
    weight: float,
    loss_weights: Tensor | None = None,
) -> tuple[Tensor, NormGuided]:
    """Loss [] of the noise (training form, eq. 9), and what norm guidance made of x_0.

    is_anomalous: bool [B]; levels: see `random_levels`. The loss is the error of the noise at both
    levels, averaged over the normal images; 0, with a gradient of 0, in a batch without one.
    loss_weights: [T], what the error counts at each t; None: 1, as in the paper.
    """
    normal, noisier = levels
    guided = norm_guided_one_step(schedule, model, x_0, normal, noisier, weight)
    errors = _noise_error(guided.eps_normal, normal, loss_weights)
    errors = errors + _noise_error(guided.eps_noisier, noisier, loss_weights)
    return normal_image_mean(errors, is_anomalous), guided


def _noise_error(eps: Tensor, level: NoiseLevel, weights: Tensor | None) -> Tensor:
    """Weighted mean squared error [B] of the noise eps [B,C,H,W] that a model saw at a level."""
    error = (eps - level.noise).square().flatten(1).mean(dim=1)
    return error if weights is None else extract(weights, level.t, 1) * error


def normal_image_mean(values: Tensor, is_anomalous: Tensor) -> Tensor:
    """Mean of values [B] over the images that are not anomalous; 0 if there is none, not NaN."""
    is_normal = ~is_anomalous  # the official code met the NaN and overwrote the loss
    return torch.where(is_normal, values, 0).sum() / is_normal.sum().clamp(min=1)


def _batch_of(t: int, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, device=x.device)  # int64 [B]


def _check_start(schedule: Schedule, start: int) -> None:
    if not 0 <= start < schedule.timesteps:
        raise ValueError(f"start must be from 0 to {schedule.timesteps - 1}, not {start}")
