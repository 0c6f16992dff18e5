"""Times of several ways to do the same work, taken in turn: a busy machine hits them all."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from diffad_lib.errors import one_line
from diffad_lib.evaluation import is_out_of_memory

Action = Callable[[], Any]
OURS = "fp32"  # the way that all others are compared with
COMPILED = "compiled"  # ends the name of a way that torch.compile makes


@dataclass(frozen=True)
class Work:
    """One thing that both this project and the official code do."""

    title: str
    unit: str  # what one call handles, such as "image"
    units: int  # how many of them
    ways: Mapping[str, Callable[[], Action]]  # each makes, untimed, what is then timed
    absent: tuple[str, ...] = ()  # ways that cannot be measured here, and why


@dataclass(frozen=True)
class Times:
    """Seconds of each call, in the order in which they were measured."""

    work: str
    unit: str
    units: int
    seconds: Mapping[str, list[float]]
    absent: tuple[str, ...] = field(default=())
    cpu_seconds: Mapping[str, list[float]] = field(default_factory=dict)  # of all threads

    def median(self, way: str) -> float:
        """Seconds a unit."""
        return statistics.median(self.seconds[way]) / self.units

    def ratios(self, way: str, to: str) -> list[float]:
        """How many times longer `way` took than `to`, pair by pair."""
        return [a / b for a, b in zip(self.seconds[way], self.seconds[to], strict=True)]


def is_expected(error: Exception, way: str) -> bool:
    """Whether it is about this machine: no room, or no compiler."""
    is_dead = isinstance(error, torch.AcceleratorError)  # nothing can be computed after it
    return is_out_of_memory(error) or (way.endswith(COMPILED) and not is_dead)


def in_turn(work: Work, pairs: int) -> Times:
    """Calls every way once untimed, then `pairs` times each: A B A B …

    What does not fit into memory, or cannot be compiled, is told as absent.
    """
    actions: dict[str, Action] = {}
    absent = [*work.absent]
    if any(name.endswith(COMPILED) for name in work.ways):
        torch.compiler.reset()  # or what was compiled before decides how this is
    for name, make in work.ways.items():
        action = None
        gc.collect()  # what did not fit is given back
        torch.cuda.empty_cache()
        try:
            action = make()
            action()
        except Exception as error:
            if not is_expected(error, name):
                raise
            absent.append(f"{name}: {type(error).__name__}: {one_line(error)}")
        else:
            actions[name] = action
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(pairs):
        for name, action in actions.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            action()
            seconds[name].append(time.perf_counter() - started)
            cpu_seconds[name].append(time.process_time() - cpu_started)
    return Times(work.title, work.unit, work.units, seconds, tuple(absent), cpu_seconds)
