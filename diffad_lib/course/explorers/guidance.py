"""Norm guidance: a prediction from small noise, steered by one from large noise."""

from collections.abc import Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from diffad_lib.course.explorers.explorer import Explorer
from diffad_lib.course.explorers.pictures import checked_image, checked_mask, coloured, rgb
from diffad_lib.course.explorers.reconstruction import (
    Diffusion,
    error_text,
    noise_like,
    remembering,
    residual,
)
from diffad_lib.course.explorers.view import Parameter, View
from diffad_lib.diffusion.denoising import NoiseLevel, norm_guided_one_step

_RESIDUAL_RANGE = (0.0, 0.5)
_PAPER_TIMES = 200, 400  # where the slider starts, at the share that w = 1 gives there


def guidance_explorer(
    image: Tensor,
    diffusion: Diffusion,
    small_times: Sequence[int] = (52, 100, 200),
    large_times: Sequence[int] = (147, 400, 600),
    shares: Sequence[float] = (0.0, 0.1, 0.2, 0.34, 0.5, 1.0),
    mask: ArrayLike | None = None,
    seed: int = 0,
) -> Explorer:
    """Reconstructions in one step from t_s, from t_b and norm-guided, and the residual.

    image: x_0, float [3,H,W] in the network's range. small_times, large_times, shares: values of
    t_s, t_b and λ = w (1 − ᾱ), the share of the guide in the result. The slider starts as near to
    the paper's 200, 400 and w = 1 as these allow. mask: of the defect, [H,W] or [1,H,W]; it
    splits the errors.
    """
    schedule, denoise, value_range = diffusion
    x_0 = checked_image(image, value_range)[None]  # [1,3,H,W]
    defect = None if mask is None else checked_mask(mask, x_0)
    noises = noise_like(x_0, seed), noise_like(x_0, seed + 1)
    model = remembering(denoise)

    def render(t_s: int, t_b: int, share: float) -> View:
        w = share / float(1 - schedule.alphas_cumprod[t_s])
        normal, noisier = (
            NoiseLevel(torch.full((1,), t, device=x_0.device), noise)
            for t, noise in zip((t_s, t_b), noises, strict=True)
        )
        guided = norm_guided_one_step(schedule, model, x_0, normal, noisier, w)
        residuals = residual(x_0, guided.pred_x0_norm_guided, value_range)
        images = {
            "input x₀": x_0,
            "one step from t_s": guided.pred_x0_normal,
            "one step from t_b": guided.pred_x0_noisier,
            "norm-guided x̂₀": guided.pred_x0_norm_guided,
        }
        tiles = {title: rgb(tile[0], value_range) for title, tile in images.items()}
        tiles["|x₀ − x̂₀|, black 0, yellow ≥ 0.5"] = coloured(residuals, _RESIDUAL_RANGE)
        caption = f"t_s = {t_s}, t_b = {t_b}, λ = {share:g}, so w = {w:.2f}: mean |x₀ − x̂₀| "
        return View(tiles, caption + error_text(residuals, defect))

    t_s, t_b = _PAPER_TIMES
    paper_share = 1 - float(schedule.alphas_cumprod[min(t_s, schedule.timesteps - 1)])
    parameters = (
        _starting_near(t_s, "t_s", "small noise t_s", small_times),
        _starting_near(t_b, "t_b", "large noise t_b", large_times),
        _starting_near(paper_share, "share", "share λ of the guide", [*map(float, shares)]),
    )
    return Explorer("Norm guidance", render, parameters)


def _starting_near(value: float, name: str, label: str, values: Sequence[float]) -> Parameter:
    start = min(range(len(values)), key=lambda index: abs(values[index] - value))
    return Parameter(name, label, tuple(values), start)
