"""Timesteps: what the forward process leaves of an image."""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from diffad_lib.course.explorers.explorer import Explorer
from diffad_lib.course.explorers.pictures import Range, checked_image, pixels_of, rgb, small_plot
from diffad_lib.course.explorers.reconstruction import noise_like
from diffad_lib.course.explorers.view import Parameter, Pixels, View
from diffad_lib.diffusion.process import q_sample, snr
from diffad_lib.diffusion.schedule import Schedule
from diffad_lib.errors import DiffadError
from diffad_lib.plots import BLACK, BLUE, VERMILION, stretched

_SLIDER_STEPS = 25


def timestep_explorer(
    image: Tensor,
    schedule: Schedule,
    value_range: Range = (0, 1),
    seed: int = 0,
    twin: Tensor | None = None,
) -> Explorer:
    """x_0, x_t, and where t is on the schedule; slider t, at about 26 steps of it.

    image: x_0, float [3,H,W] in value_range. seed: of the noise, which is the same one at every
    t. twin: the image without its defect, float [3,H,W]; its x_t in the same noise is shown
    beside, and d′, how far apart the two are for the best detector of this defect (chapter 02,
    section 4).
    """
    x_0 = checked_image(image, value_range)[None]  # [1,3,H,W]
    clean = None if twin is None else _checked_twin(twin, image, value_range)[None]
    noise = noise_like(x_0, seed)
    ratios = snr(schedule)

    def render(t: int) -> View:
        steps = torch.full((1,), t, device=x_0.device)
        x_t = q_sample(schedule, x_0, steps, noise)
        tiles = {"x₀": rgb(x_0[0], value_range), "x_t, contrast stretched": rgb(stretched(x_t)[0])}
        if clean is not None:
            clean_t = q_sample(schedule, clean, steps, noise)
            tiles["x_t of the clean twin"] = rgb(stretched(clean_t)[0])
        signal = float(schedule.sqrt_alphas_cumprod[t])
        rest = float(schedule.sqrt_one_minus_alphas_cumprod[t])
        ratio = float(ratios[t])
        caption = (
            f"t = {t} of 0 … {schedule.timesteps - 1}: x_t = {signal:.3f} x₀ + {rest:.3f} ε; "
            f"SNR {ratio:.4g} ({10 * math.log10(ratio):+.1f} dB)"
        )
        if clean is not None:
            caption += f"; {_detectability_text(x_0 - clean, ratio)}"
        return View(tiles | {"share of image and noise": _schedule_plot(schedule, t)}, caption)

    last = schedule.timesteps - 1
    values = (*range(0, last, max(1, schedule.timesteps // _SLIDER_STEPS)), last)
    slider = Parameter("t", "noising step t", values, start=len(values) // 5)
    return Explorer("Timesteps", render, (slider,))


def _checked_twin(twin: Tensor, image: Tensor, value_range: Range) -> Tensor:
    """The twin itself. Raises DiffadError where it does not fit the image, or equals it."""
    if checked_image(twin, value_range).shape != image.shape:
        raise DiffadError(f"the twin {list(twin.shape)} does not fit the image {list(image.shape)}")
    if torch.equal(twin, image):
        raise DiffadError("the twin equals the image; give the image that has the defect first")
    return twin


def _detectability_text(defect: Tensor, ratio: float) -> str:
    """d′ = ‖d‖ √SNR of a defect d, and the AUROC Φ(d′/√2) that no detector exceeds."""
    separation = float(defect.norm()) * math.sqrt(ratio)
    auroc = NormalDist().cdf(separation / math.sqrt(2))
    verdict = " (lost)" if separation < 1 else ""
    return f"d′ {separation:.2f}{verdict}, AUROC of the best detector {auroc:.2f}"


def _schedule_plot(schedule: Schedule, t: int) -> Pixels:
    figure = small_plot()
    axis = figure.subplots()
    for values, colour, style, label in (
        (schedule.sqrt_alphas_cumprod, BLUE, "-", "image √ᾱ"),
        (schedule.sqrt_one_minus_alphas_cumprod, VERMILION, "--", "noise √(1−ᾱ)"),
    ):
        axis.plot(values, color=colour, linestyle=style, label=label)
        axis.plot(t, values[t], "o", color=colour, markersize=4)
    axis.axvline(t, color=BLACK, linewidth=1)
    axis.set_xlabel("t (step)", fontsize=8, labelpad=1)
    axis.set_ylabel("factor", fontsize=8, labelpad=1)
    axis.set_ylim(-0.03, 1.03)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7, framealpha=1, edgecolor="none", loc="center right", borderaxespad=0)
    return pixels_of(figure)
