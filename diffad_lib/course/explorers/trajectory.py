"""Trajectory: many denoising steps beside one, from the same x_t."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from diffad_lib.course.explorers.explorer import Explorer
from diffad_lib.course.explorers.pictures import checked_image, checked_mask, rgb
from diffad_lib.course.explorers.reconstruction import Diffusion, error_text, noise_like, residual
from diffad_lib.course.explorers.view import Parameter, View
from diffad_lib.diffusion.denoising import Step, ddim_denoise, iterative_denoise, one_step_denoise
from diffad_lib.diffusion.process import gaussian_noise, q_sample

ANCESTRAL = "ancestral"


class State(NamedTuple):
    """A place on the way, "t = 120" or "the end"; x and the x̂_0 predicted from it, [1,3,H,W]."""

    place: str
    x: Tensor
    pred_x0: Tensor


class Trajectory(NamedTuple):
    """States by calls made, the number of calls, the noised x_t, x̂_0 in one step."""

    states: dict[int, State]
    calls: int
    x_t: Tensor
    one_step: Tensor


def trajectory_explorer(
    image: Tensor,
    diffusion: Diffusion,
    starts: Sequence[int] = (100, 250, 500),
    ddim_steps: int = 10,
    mask: ArrayLike | None = None,
    seed: int = 0,
) -> Explorer:
    """x and x̂_0 along an ancestral or a DDIM trajectory, beside x̂_0 in one step.

    image: x_0, float [3,H,W] in the network's range. starts: the t that the trajectories leave
    from. mask: of the defect, [H,W] or [1,H,W]; it splits the errors.
    An ancestral trajectory calls the network start + 1 times, once in the life of the explorer.
    """
    value_range = diffusion.value_range
    x_0 = checked_image(image, value_range)[None]  # [1,3,H,W]
    defect = None if mask is None else checked_mask(mask, x_0)
    ddim = f"DDIM-{ddim_steps}"

    @cache
    def walk(start: int, sampler: str) -> Trajectory:
        return _walk(x_0, diffusion, start, None if sampler == ANCESTRAL else ddim_steps, seed)

    def render(percent: int, start: int, sampler: str) -> View:
        states, calls, x_t, one_step = walk(start, sampler)
        made = _calls_made(percent, calls)
        state = states[made]
        errors = [
            error_text(residual(x_0, image, value_range), defect)
            for image in (state.pred_x0, one_step)
        ]
        tiles = {
            "input x₀": x_0,
            "noised to the start": x_t,
            "x on its way": state.x,
            "x̂₀ predicted from it": state.pred_x0,
            "x̂₀ in one step": one_step,
        }
        return View(
            {title: rgb(tile[0], value_range) for title, tile in tiles.items()},
            f"{sampler} from t = {start}, {made} of {calls} calls made, x is at {state.place}: "
            f"mean |x₀ − x̂₀| {errors[0]}; in one step {errors[1]}",
        )

    parameters = (
        Parameter("percent", "position in the trajectory, %", tuple(range(0, 101, 10)), start=5),
        Parameter("start", "start t", tuple(starts), start=len(starts) // 2, choice=True),
        Parameter("sampler", "sampler", (ANCESTRAL, ddim), choice=True),
    )
    return Explorer("Trajectory", render, parameters)


@torch.no_grad()
def _walk(
    x_0: Tensor, diffusion: Diffusion, start: int, ddim_steps: int | None, seed: int
) -> Trajectory:
    """From x_0 [1,3,H,W] noised to `start` back, by ancestral steps or by so many DDIM steps."""
    schedule, denoise, _ = diffusion
    steps = torch.full((1,), start, device=x_0.device)
    x_t = q_sample(schedule, x_0, steps, noise_like(x_0, seed))
    calls = start + 1 if ddim_steps is None else ddim_steps
    # One state for every percent: 256² images of 1000 steps would fill the memory.
    wanted = {_calls_made(percent, calls) for percent in range(101)}
    states: dict[int, State] = {}
    made = iter(range(calls))

    def keep(step: Step) -> None:
        if (number := next(made)) in wanted:
            states[number] = State(f"t = {step['t']}", step["x"], step["pred_x0"])

    if ddim_steps is None:
        draw = gaussian_noise(torch.Generator(x_0.device).manual_seed(seed))
        last = iterative_denoise(schedule, denoise, x_t, start, draw, keep)
    else:
        last = ddim_denoise(schedule, denoise, x_t, start, ddim_steps, keep)
    states[calls] = State("the end", last, last)
    return Trajectory(states, calls, x_t, one_step_denoise(schedule, denoise, x_t, steps))


def _calls_made(percent: int, calls: int) -> int:
    return round(percent * calls / 100)
