"""What exercises share: a schedule to try answers on, and slips that can happen in many of them."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Function, Mistake, Value


def draw_alphas_cumprod(steps: int, generator: torch.Generator) -> Tensor:
    """float64 [T] of a schedule whose betas are large, so that no mistake hides in rounding."""
    betas = 0.02 + 0.2 * torch.rand(steps, generator=generator, dtype=torch.float64)
    return (1 - betas).cumprod(0)


def before(alphas_cumprod: Tensor) -> Tensor:
    """ᾱ_{t-1} at every t, [T]; 1 at t = 0."""
    return torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])


def per_image(values: Tensor) -> Tensor:
    """[B] to float32 [B,1,1,1]."""
    return values.float().reshape(-1, 1, 1, 1)


def given(solution: Function, **changes: Callable[[Any], Any]) -> Function:
    """The solution, called with another value of some arguments; changes are by their names."""
    names = list(inspect.signature(solution).parameters)

    def wrong(*arguments: Any) -> Value:
        pairs = zip(names, arguments, strict=True)
        return solution(*(changes.get(name, _same)(value) for name, value in pairs))

    return wrong


def _same(value: Any) -> Any:
    return value


def of_the_schedule(solution: Function) -> tuple[Mistake, ...]:
    """Other values of the schedule in place of ᾱ_t, for a solution with `alphas_cumprod`."""
    return (
        Mistake(
            "β_t and α_t are those of step t alone; ᾱ_t and 1 - ᾱ_t of all steps up to t.",
            given(solution, alphas_cumprod=lambda a: a / before(a)),
        ),
        Mistake(
            "β_t stands where ᾱ_t belongs: it is the noise that step t adds.",
            given(solution, alphas_cumprod=lambda a: 1 - a / before(a)),
        ),
    )


def one_early(solution: Function) -> Mistake:
    """ᾱ of the step before, for a solution with `alphas_cumprod`."""
    hint = "t is 0-based: alphas_cumprod[t], without - 1."
    return Mistake(hint, given(solution, alphas_cumprod=lambda a: a.roll(1)))


def first_for_all(solution: Function, *names: str) -> Mistake:
    """The first image's value of some arguments [B], used for the whole batch."""
    first = dict.fromkeys(names, lambda values: values[:1].expand_as(values))
    hint = f"every image has its own {' and '.join(names)}; yours takes the first for all."
    return Mistake(hint, given(solution, **first))
