"""Noise schedules: constants of q and p at t = 0, the first noising step, to T - 1."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


def linear_betas(timesteps: int = 1000) -> Tensor:
    """float64 [T] betas, evenly spaced from 1e-4 to 0.02 for T = 1000 (Ho et al. 2020).

    For another T, above 20, both ends are scaled by 1000 / T, so that x_T is still almost noise.
    """
    scale = 1000 / timesteps
    return torch.linspace(scale * 1e-4, scale * 0.02, timesteps, dtype=torch.float64, device="cpu")


def cosine_betas(timesteps: int = 1000) -> Tensor:
    """float64 [T] betas of the cosine schedule, capped at 0.999 (Nichol and Dhariwal 2021)."""
    edges = torch.arange(timesteps + 1, dtype=torch.float64, device="cpu") / timesteps  # [T+1]
    alphas_cumprod = torch.cos((edges + 0.008) / 1.008 * torch.pi / 2).square()
    return (1 - alphas_cumprod[1:] / alphas_cumprod[:-1]).clamp(max=0.999)


@dataclass(frozen=True, eq=False)
class Schedule:
    """Constants of a diffusion process, each float64 [T] on the CPU.

    They stay in float64 because 1 - alphas_cumprod loses its digits in float32 at small t;
    `extract` casts when a value is used and puts it on the device of t.
    """

    betas: Tensor
    alphas_cumprod: Tensor
    # q(x_t | x_0), Ho et al. 2020 eq. 4
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor
    # x_0 from x_t and eps: eq. 4 solved for x_0
    sqrt_recip_alphas_cumprod: Tensor
    sqrt_recipm1_alphas_cumprod: Tensor
    # q(x_{t-1} | x_t, x_0), eq. 6 and 7
    posterior_variance: Tensor
    posterior_log_variance_clipped: Tensor
    posterior_mean_coef1: Tensor
    posterior_mean_coef2: Tensor
    # p(x_{t-1} | x_t): "fixed large" variance, section 3.2
    model_variance: Tensor
    model_log_variance: Tensor

    @classmethod
    def from_betas(cls, betas: Tensor) -> Self:
        """All constants from betas [T] in (0, 1), computed in float64."""
        if betas.ndim != 1 or len(betas) < 2 or not ((betas > 0) & (betas < 1)).all():
            raise ValueError("betas must be a vector of at least two numbers in (0, 1)")
        betas = betas.double()
        alphas = 1 - betas
        alphas_cumprod = alphas.cumprod(0)
        previous = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
        posterior_variance = betas * (1 - previous) / (1 - alphas_cumprod)
        # The posterior variance is 0 at t = 0, where a logarithm needs a number: that of t = 1.
        clipped = torch.cat([posterior_variance[1:2], posterior_variance[1:]])
        model_variance = torch.cat([posterior_variance[1:2], betas[1:]])
        return cls(
            betas=betas,
            alphas_cumprod=alphas_cumprod,
            sqrt_alphas_cumprod=alphas_cumprod.sqrt(),
            sqrt_one_minus_alphas_cumprod=(1 - alphas_cumprod).sqrt(),
            sqrt_recip_alphas_cumprod=(1 / alphas_cumprod).sqrt(),
            sqrt_recipm1_alphas_cumprod=(1 / alphas_cumprod - 1).sqrt(),
            posterior_variance=posterior_variance,
            posterior_log_variance_clipped=clipped.log(),
            posterior_mean_coef1=betas * previous.sqrt() / (1 - alphas_cumprod),
            posterior_mean_coef2=(1 - previous) * alphas.sqrt() / (1 - alphas_cumprod),
            model_variance=model_variance,
            model_log_variance=model_variance.log(),
        )

    @property
    def timesteps(self) -> int:
        """T, the number of noising steps."""
        return len(self.betas)


def min_snr_weights(schedule: Schedule, limit: float = 5.0) -> Tensor:
    """What the squared error of eps counts at each t, float64 [T] in (0,1]: min(SNR, limit) / SNR.

    The squared error of x_0 is that of eps over the signal-to-noise ratio. So at large t it counts
    as the error of eps does, and at small t, where the noise is easy to see in the image, less.
    Source: Hang et al. 2023 (arXiv 2303.09556), section 3.4.
    """
    snr = schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)
    return (limit / snr).clamp(max=1)


def extract(values: Tensor, t: Tensor, ndim: int) -> Tensor:
    """float32 values [T] at t int64 [B], shaped [B,1,…,1] with `ndim` axes, on the device of t."""
    picked = values.to(device=t.device, dtype=torch.float32)[t]  # [B]
    return picked.reshape(-1, *[1] * (ndim - 1))
