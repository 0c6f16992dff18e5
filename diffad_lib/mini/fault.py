"""What is wrong with a picture."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fault:
    """A defect type, and the generator that decides where it is and how large.

    kind: name of the type; None if nothing is wrong, and then the generator is not used.
    """

    kind: str | None
    rng: np.random.Generator

    def pick(self, kind: str, count: int) -> int:
        """Which of `count` parts it struck; -1 if it is not of this kind."""
        return int(self.rng.integers(count)) if self.kind == kind else -1


NO_FAULT = Fault(None, np.random.default_rng(0))
