"""Compare recipes without a test set: defects drawn on held-out normal images.

Trains on five sixths of the normal training images. The rest is copied until there are at least
210, and every second copy gets a drawn defect. docs/recipes.md holds what was found with it.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from diffad_lib.batches import SyntheticBatches
from diffad_lib.evaluation import predict_all
from diffad_lib.files import write_json
from diffad_lib.metrics import compute_metrics, image_auroc
from diffad_lib.mini.drawn import LARGE_KINDS, LARGE_RADII, draw_defects, uneven_light
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import data_kind
from diffad_lib.runs.experiment import Experiment, prepare
from diffad_lib.runs.facts import device_facts, git_state, package_versions
from diffad_lib.runs.folder import settings_of
from diffad_lib.runs.record import SCHEMA, Facts, Measured, Settled
from diffad_lib.synthesis.foreground import automatic_masks
from diffad_lib.training import Trainer

COPIES = 210
NO_DEFECT = "good"


class HeldOutRecord(Facts):
    """What a recipe reached on drawn defects: metrics by condition, image AUROC by defect."""

    version: int = Field(SCHEMA, alias="schema")
    config: Settled
    git: dict[str, str | bool | None]
    versions: dict[str, str]
    device: dict[str, str | int]
    seconds: float
    steps: int
    images: int
    metrics: dict[str, dict[str, Measured]]
    by_defect: dict[str, dict[str, float]]


def held_out_path(config: RunConfig) -> Path:
    """Where the record of a configuration goes: beside the runs, in a folder of its own."""
    folder = config.run_folder.relative_to(config.runs_dir)
    return config.runs_dir / "held_out" / folder.with_suffix(".json")


def hold_out(config: RunConfig) -> HeldOutRecord:
    """Train on a part of the normal images, measure on the rest, write the record.

    On one thread: figures repeat where the instructions are the same. Raises as `prepare`, `train`.
    """
    torch.set_num_threads(1)
    started = time.monotonic()
    experiment = prepare(config)
    batches, normal, foregrounds = split(experiment)
    trainer = Trainer(experiment.detector, batches, experiment.plan, experiment.fabric)
    steps = trainer.train().steps
    images, masks, kinds = draw_defects(normal, foregrounds, np.random.default_rng(5))
    lit = uneven_light(images, np.random.default_rng(7))
    rng = np.random.default_rng(9)
    conditions = {
        "as they are": (images, masks, kinds),
        "uneven light": (lit, masks, kinds),
        "large defects": draw_defects(normal, foregrounds, rng, LARGE_KINDS, LARGE_RADII),
    }
    measured = {name: measure(experiment, *drawn) for name, drawn in conditions.items()}
    record = HeldOutRecord(
        config=Settled(**settings_of(config)),
        git=git_state(),
        versions=package_versions(),
        device=device_facts(experiment.fabric.device),
        seconds=time.monotonic() - started,
        steps=steps,
        images=len(images),
        metrics={name: metrics for name, (metrics, _) in measured.items()},
        by_defect={name: by_defect for name, (_, by_defect) in measured.items()},
    )
    write_json(held_out_path(config), record.model_dump(mode="json", by_alias=True))
    return record


def split(experiment: Experiment) -> tuple[SyntheticBatches, NDArray, NDArray]:
    """Batches of five sixths of the training images; the rest and its foregrounds, copied."""
    batches = experiment.batches
    images = np.asarray(batches.images)
    held = np.arange(len(images)) % 6 == 5
    known = batches.foregrounds
    kept = replace(
        batches,
        images=images[~held],
        names=[name for name, out in zip(batches.names, held, strict=True) if not out],
        foregrounds=None if known is None else known[~held],
    )
    copies = max(1, -(-COPIES // int(held.sum())))
    is_object = data_kind(experiment.config) == "object"
    # Defects are drawn on the same places whether a recipe uses foregrounds or not.
    foregrounds = automatic_masks(images[held]) if is_object else np.ones_like(images[held][:, :1])
    return kept, np.repeat(images[held], copies, 0), np.repeat(foregrounds, copies, 0)


def measure(
    experiment: Experiment, images: NDArray, masks: NDArray, kinds: list[str]
) -> tuple[dict[str, Measured], dict[str, float]]:
    """All metrics on images [N,3,H,W] with masks [N,H,W], and the image AUROC of every kind."""
    predictions = predict_all(experiment.detector, images, experiment.fabric)
    scores, found = predictions.image_scores, np.array(kinds)
    label = (found != NO_DEFECT).astype(int)
    metrics = compute_metrics(scores, label, predictions.anomaly_maps, masks, bootstrap_samples=0)
    by_defect = {}
    for kind in sorted({*kinds} - {NO_DEFECT}):
        chosen = (found == kind) | (found == NO_DEFECT)
        by_defect[kind] = image_auroc(scores[chosen], label[chosen])
    return {name: Measured.of(metric) for name, metric in metrics.items()}, by_defect
