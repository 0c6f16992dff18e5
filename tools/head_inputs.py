"""Three trainings of a head on each of four inputs: a record for chapter 07.

    python tools/head_inputs.py    # a quarter of an hour on a busy core

The head sees the image, its reconstruction, the difference of the two, or both. The reconstruction
is that of the shipped DRAEM of the category, frozen; the learning rates and the batches are those
of its training, with the seeds 0, 1 and 2, for 500 steps. Nothing is chosen by the figures. They go
to notebooks/records/head_inputs.json.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from diffad_lib.course.resampling import interval, redrawn, redrawn_auroc
from diffad_lib.course.shipped import load_shipped
from head_alone import (
    CATEGORIES,
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

STEPS = 500


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


def copies(head: Head, sets: Sets, normal: Tensor) -> dict:
    """What a pasted anomaly does to the score of an image, and what the copies of images hide.

    normal: the synthetic images before it was pasted. lowered: the share of the anomalies that
    lower the score. The two intervals of the image AUROC on the synthetic set: with each copy of a
    good image drawn for itself, and with all its copies together.
    """
    images, masks = sets["synthetic"]
    labels = masks.flatten(1).any(dim=1)
    with torch.inference_mode():
        scores, before = (head.predict(part).image_score for part in (images, normal))
    together = redrawn(torch.ones(len(images) // DRAWS)).repeat(1, DRAWS)
    return {
        "lowered": (scores < before)[labels].float().mean().item(),
        "copies_apart": interval(redrawn_auroc(scores, labels, redrawn(labels))),
        "copies_together": interval(redrawn_auroc(scores, labels, together)),
    }


def rows(category: str, seed: int) -> Iterator[dict]:
    """The figures of the four heads of one category and seed."""
    experiment = experiment_with(category, seed, steps=STEPS)
    sets, normal = judged_sets(experiment, category)
    rebuild = load_shipped(f"draem_{category}").detector.reconstruction
    for name, (see, channels) in inputs(rebuild).items():
        head = trained_head(experiment, see, channels)
        for found in figures(head, sets):
            row = {"category": category, "seed": seed, "head": name, **found}
            yield row | (copies(head, sets, normal) if found["set"] == "synthetic" else {})


if __name__ == "__main__":
    write_record("head_inputs", rows, dict.fromkeys(CATEGORIES, STEPS))
