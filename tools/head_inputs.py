"""Three trainings of a head on each of four inputs: a record for chapter 07.

    python tools/head_inputs.py    # half an hour on a busy core

The head sees the image, its reconstruction, the difference of the two, or both. The reconstruction
is that of the shipped DRAEM of the category, frozen; the steps, the learning rates and the batches
are those of its training, with the seeds 0, 1 and 2. Nothing is chosen by the figures. They go to
notebooks/records/head_inputs.json.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from diffad_lib.course.resampling import interval, redrawn, redrawn_auroc
from diffad_lib.course.shipped import load_shipped
from head_alone import (
    DRAWS,
    Head,
    Input,
    Sets,
    experiment_with,
    figures,
    judged_sets,
    trained_head,
    write_record,
)


def inputs(rebuild: Input) -> dict[str, tuple[Input, int]]:
    """What each head sees of images [B,3,H,W], and in how many channels."""

    def difference(images: Tensor) -> Tensor:
        return (images - rebuild(images)).abs()

    def both(images: Tensor) -> Tensor:
        return torch.cat([rebuild(images), images], dim=1)

    return {
        "image": (lambda images: images, 3),
        "reconstruction": (rebuild, 3),
        "difference": (difference, 3),
        "both": (both, 6),
    }


def copies(head: Head, sets: Sets) -> dict:
    """How the scores of good images change when an anomaly is pasted on their copies.

    lowered: the share of the anomalies that lower the score. The two intervals of the image AUROC
    on the synthetic set: with each copy drawn for itself, and with all copies of an image together.
    """
    (copied, pasted), (images, masks) = sets["synthetic"], sets["defects"]
    good, labels = images[~masks.flatten(1).any(dim=1)], pasted.flatten(1).any(dim=1)
    with torch.inference_mode():
        scores = head.predict(copied).image_score
        before = head.predict(good).image_score.repeat(DRAWS)
    together = redrawn(torch.ones(len(good))).repeat(1, DRAWS)
    return {
        "lowered": (scores < before)[labels].float().mean().item(),
        "copies_apart": interval(redrawn_auroc(scores, labels, redrawn(labels))),
        "copies_together": interval(redrawn_auroc(scores, labels, together)),
    }


def rows(category: str, seed: int) -> Iterator[dict]:
    """The figures of the four heads of one category and seed."""
    experiment = experiment_with(category, seed)
    sets = judged_sets(experiment, category)
    rebuild = load_shipped(f"draem_{category}").detector.reconstruction
    for name, (see, channels) in inputs(rebuild).items():
        head = trained_head(experiment, see, channels)
        for found in figures(head, sets):
            row = {"category": category, "seed": seed, "head": name, **found}
            yield row | (copies(head, sets) if found["set"] == "synthetic" else {})


if __name__ == "__main__":
    write_record("head_inputs", rows)
