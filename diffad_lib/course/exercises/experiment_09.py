"""The open experiment of notebook 09: is the difference real?"""

from collections.abc import Iterator

import torch

from diffad_lib.course.exercises.measuring import Call, Experiment, Goal, Unfit, seeded
from diffad_lib.course.lessons import imagined_runs

_SEEDS, _PAIRS, _ADVANTAGE = 4, 150, 1.0


def _decisions(decide: Call, advantage: float, seed: int) -> Iterator[bool]:
    generator = seeded(seed)
    for _ in range(_PAIRS):
        decision = decide(*imagined_runs(advantage, _SEEDS, generator))
        if isinstance(decision, torch.Tensor) and decision.numel() == 1:
            decision = decision.item()
        if not isinstance(decision, bool):
            raise Unfit(f"your function returns {type(decision).__name__}, expected True or False.")
        yield decision


def _measure(decide: Call) -> dict[str, float]:
    equal, better = (list(_decisions(decide, a, seed)) for a, seed in ((0, 5), (_ADVANTAGE, 6)))
    return {"false alarms": sum(equal) / _PAIRS, "found": sum(better) / _PAIRS}


EXPERIMENT = Experiment("09", _measure, (Goal("false alarms", below=0.1), Goal("found", above=0.6)))
