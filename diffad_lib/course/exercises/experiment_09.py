"""The open experiment of notebook 09: is the difference real?"""

from collections.abc import Iterator

import numpy as np
import torch

from diffad_lib.course.exercises.measuring import Call, Experiment, Goal, Unfit, seeded
from diffad_lib.course.lessons import imagined_runs

_SEEDS, _PAIRS, _ADVANTAGE = 4, 150, 1.0


def _decisions(decide: Call, advantage: float, seed: int) -> Iterator[bool]:
    """Answers on pairs in random order, at random scales: only the comparison can tell."""
    generator = seeded(seed)
    for _ in range(_PAIRS):
        a, b, labels = imagined_runs(advantage, _SEEDS, generator)
        order, scale = torch.randperm(len(labels), generator=generator), _scale(generator)
        sides = [scale * a[:, order], scale * b[:, order]]
        if torch.rand((), generator=generator) < 0.5:
            sides.reverse()
        decision = decide(*sides, labels[order])
        if isinstance(decision, torch.Tensor | np.ndarray | np.generic) and np.size(decision) == 1:
            decision = decision.item()
        if not isinstance(decision, bool):
            raise Unfit(f"your function returns {type(decision).__name__}, expected True or False.")
        yield decision


def _scale(generator: torch.Generator) -> torch.Tensor:
    """Of the scores, 0.5 to 2; it changes no AUROC."""
    return 0.5 + 1.5 * torch.rand((), generator=generator, dtype=torch.float64)


def _measure(decide: Call) -> dict[str, float]:
    equal, better = (list(_decisions(decide, a, seed)) for a, seed in ((0, 5), (_ADVANTAGE, 6)))
    return {"false alarms": sum(equal) / _PAIRS, "found": sum(better) / _PAIRS}


EXPERIMENT = Experiment("09", _measure, (Goal("false alarms", below=0.1), Goal("found", above=0.6)))
