"""Selection of weights while a training runs, as a callback of it."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from diffad_lib.detector import Detector

Aurocs = tuple[float, float]
"""Image and pixel AUROC."""


def is_kept(found: Aurocs, best: Aurocs) -> bool:
    """Whether DiffusionAD's train.py (lines 154, 155 and 218) keeps the later ones of two weights.

    It rounds to thousandths, and of equal ones keeps the later. NaN is never kept.
    """
    image, pixel = np.rint(1000 * np.array(found))
    best_image, best_pixel = np.rint(1000 * np.array(best))
    return bool(image + pixel >= best_image + best_pixel and image >= best_image)


class KeepBest:
    """Keeps the best weights by the rule of `is_kept`, looked at every `every` steps."""

    def __init__(self, look: Callable[[Detector], Aurocs], every: int) -> None:
        self.look, self.every = look, every
        self.aurocs, self.best_step = (0.0, 0.0), 0
        self.best: dict[str, Tensor] | None = None

    def __call__(self, step: int, detector: Detector) -> None:
        found = self.look(detector)
        if is_kept(found, self.aurocs):
            self.aurocs, self.best_step = found, step
            self.best = copy.deepcopy(detector.state_dict())

    def finish(self, detector: Detector) -> int | None:
        """Put the best weights in place; None if none was kept, as where pixel AUROC is NaN."""
        if self.best is None:
            return None
        detector.load_state_dict(self.best)
        return self.best_step

    def state_dict(self) -> dict[str, Any]:
        return {"aurocs": self.aurocs, "step": self.best_step, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.aurocs, self.best_step, self.best = state["aurocs"], state["step"], state["best"]
