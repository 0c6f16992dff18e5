"""`diffad predict`: scores of new pictures, a and a threshold from good ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import SetPrediction
from diffad_lib.runs.predict import (
    Pictures,
    Trained,
    check_apart,
    load_trained,
    predict,
    read_pictures,
)
from diffad_lib.scores import false_alarm_rates, images_above, threshold_for


@dataclass(frozen=True)
class Good:
    """Good pictures that neither train nor are judged, and the threshold that they give."""

    pictures: Pictures
    found: SetPrediction
    rate: float  # of them that may lie above the threshold

    @property
    def threshold(self) -> float:
        """See `threshold_for`."""
        return threshold_for(torch.from_numpy(self.found.image_scores), self.rate)

    def lines(self) -> list[str]:
        """What a person is told."""
        scores, names = self.found.image_scores, self.pictures.names
        above, count = np.flatnonzero(scores > self.threshold), len(scores)
        expected, low, high = false_alarm_rates(count, len(above))
        told = [
            f"threshold {self.threshold:.6g}: {len(above)} of {count} good pictures lie above it",
            f"of further good pictures of the same kind {low:.1%} to {high:.1%} will (95 %; "
            f"{expected:.1%} expected)",
        ]
        if not images_above(count, self.rate):
            told.append(
                f"note: {count} good pictures cannot tell a rate of {self.rate:.3g}, only from "
                f"{1 / count:.3g}; the threshold is their highest score"
            )
        return told + [f"  good, but above: {names[row]} {scores[row]:.6g}" for row in above[:5]]


@dataclass(frozen=True)
class Inspection:
    """Pictures and what a detector gave for them."""

    trained: Trained
    pictures: Pictures
    found: SetPrediction
    good: Good | None

    def lines(self) -> list[str]:
        """What a person is told."""
        scores, good = self.found.image_scores, self.good
        notes = self.trained.notes + self.pictures.notes + (good.pictures.notes if good else [])
        told = [f"note: {note}" for note in notes]
        told.append(
            f"{len(scores)} pictures, {self.found.images_per_second:.3g} images/s, scores "
            f"{scores.min():.6g} to {scores.max():.6g}"
        )
        if good is not None:
            count = int((scores > good.threshold).sum())
            told += [*good.lines(), f"above the threshold: {count} of {len(scores)} pictures"]
        return told


def inspect(run: Path, folder: Path, good: Path | None, rate: float) -> Inspection:
    """Scores of the pictures in a folder by the detector of a run, and a threshold for them.

    good: folder of good pictures of which at most the share `rate` lies above the threshold.
    DiffadError for input that cannot be used, before anything is predicted.
    """
    if not 0 <= rate < 1:
        raise DiffadError(f"--rate {rate:g}: is no share; give one from 0 to below 1, such as 0.02")
    trained = load_trained(run)
    pictures, known = read_pictures(trained, folder), None
    if good is not None:
        kept = read_pictures(trained, good)
        check_apart(trained, kept, pictures)
        known = Good(kept, predict(trained, kept), rate)
    return Inspection(trained, pictures, predict(trained, pictures), known)
