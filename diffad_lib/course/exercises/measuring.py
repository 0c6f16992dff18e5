"""Open experiments: a learner's function is judged by what it reaches, not by how."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffad_lib.course.exercises.limit import CallFailed, called, from_now

MOST_SECONDS = 120  # for all calls in a measurement

Call = Callable[..., Any]
"""The learner's function, with errors as CallFailed and a time limit."""


class Unfit(Exception):
    """What a learner's function returned cannot be measured; one line."""


@dataclass(frozen=True)
class Goal:
    """Where a measured value has to be: below `below` and above `above`, whichever is given."""

    name: str
    below: float | None = None
    above: float | None = None

    def reached(self, value: float) -> bool:
        low = self.above is None or value > self.above
        return low and (self.below is None or value < self.below)

    def __str__(self) -> str:
        return f"below {self.below:g}" if self.below is not None else f"above {self.above:g}"


@dataclass(frozen=True)
class Experiment:
    """A function to be found for a chapter, and what it has to reach.

    measure: what the learner's function reaches, by the names of the goals. It calls the function
    with data that the chapter does not show, the same at every call. Raises Unfit.
    """

    chapter: str
    measure: Callable[[Call], Mapping[str, float]]
    goals: tuple[Goal, ...]


@dataclass(frozen=True)
class Measured:
    """What was reached. values: by the names of the goals; empty where nothing was measured."""

    reached: bool
    message: str
    values: Mapping[str, float]


def measured(experiment: Experiment, answer: Call) -> Measured:
    """Measure a learner's function. An error in it is a message, never an exception."""
    if not callable(answer):
        told = f'give the function itself: experiment("{experiment.chapter}", your_function).'
        return Measured(False, told, {})
    limit = from_now(MOST_SECONDS)
    try:
        values = experiment.measure(lambda *given: called(answer, given, limit))
    except (CallFailed, Unfit) as failed:
        return Measured(False, str(failed), {})
    parts, reached = [], True
    for goal in experiment.goals:
        value = values[goal.name]
        mark = "yes" if goal.reached(value) else "no"
        reached &= goal.reached(value)
        parts.append(f"{goal.name} {value:.3g} ({goal}: {mark})")
    return Measured(reached, ", ".join(parts), values)


def tensor_like(value: object, wanted: Tensor, what: str) -> Tensor:
    """The value, if it is a finite tensor of the shape of `wanted`; raises Unfit otherwise."""
    shape = list(wanted.shape)
    if not isinstance(value, Tensor):
        raise Unfit(f"your function returns {type(value).__name__}, expected {what}, {shape}.")
    if list(value.shape) != shape:
        raise Unfit(f"your function returns {what} of shape {list(value.shape)}, expected {shape}.")
    if not value.double().isfinite().all():
        raise Unfit(f"your function returns {what} with NaN or infinite values.")
    return value.detach().to(wanted.dtype)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
