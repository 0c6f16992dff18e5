"""Selection of weights while a training runs, as a callback of it."""

import copy
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from diffad_lib.detector import Detector


class KeepBest:
    """Keeps the weights with the highest `value(detector)`, looked at every `every` steps."""

    def __init__(self, value: Callable[[Detector], float], every: int) -> None:
        self.value, self.every = value, every
        self.best_value, self.best_step = -math.inf, 0
        self.best: dict[str, Tensor] | None = None

    def __call__(self, step: int, detector: Detector) -> None:
        value = self.value(detector)
        if self.best is None or value > self.best_value:
            self.best_value, self.best_step = value, step
            self.best = copy.deepcopy(detector.state_dict())

    def finish(self, detector: Detector) -> int | None:
        """Put the best weights in place; None if no step was looked at."""
        if self.best is None:
            return None
        detector.load_state_dict(self.best)
        return self.best_step

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.best_value, "step": self.best_step, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_value, self.best_step, self.best = state["value"], state["step"], state["best"]
