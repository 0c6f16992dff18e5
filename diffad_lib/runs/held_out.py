"""Compare recipes without a test set: defects drawn on held-out normal images.

Trains on five sixths of the normal training images. The rest is copied until there are at least
210, and every second copy gets a drawn defect. docs/recipes.md holds what was found with it.
"""

import datetime
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from pydantic import Field

from diffad_lib.batches import SyntheticBatches
from diffad_lib.datasets.dataset import Kind
from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import predict_all
from diffad_lib.files import write_json
from diffad_lib.metrics import compute_metrics, image_auroc
from diffad_lib.mini.drawn import LARGE_KINDS, LARGE_RADII, draw_defects, uneven_light
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import data_kind, load_normal
from diffad_lib.runs.experiment import make_fabric, new_detector
from diffad_lib.runs.facts import device_facts, git_state, package_versions
from diffad_lib.runs.folder import settings_of
from diffad_lib.runs.record import Facts, Measured, Settled, SplitFacts
from diffad_lib.runs.synthetic import make_batches
from diffad_lib.synthesis.foreground import automatic_masks
from diffad_lib.training import Trainer

COPIES = 210
NO_DEFECT = "good"
Drawn = tuple[NDArray, NDArray, list[str]]  # images [N,3,H,W], masks [N,H,W], kinds of defect


class HeldOutRecord(Facts):
    """What a recipe reached on drawn defects: metrics by condition, image AUROC by defect."""

    version: int = Field(1, alias="schema")
    finished: str
    config: Settled
    train: SplitFacts
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

    On one thread: figures repeat where the instructions are the same. DiffadError for fewer than 6
    images, for selection on a test set, which is not read here, and as `prepare` and `train`.
    """
    if config.training.select_on_test_epochs is not None:
        raise DiffadError("select_on_test_epochs: there is no test set here; leave it out")
    started, threads = time.monotonic(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fabric, train = make_fabric(config), load_normal(config)
        batches, normal, foregrounds = split(make_batches(config, train, fabric), data_kind(config))
        plan = config.training.in_steps(len(batches.images))
        result = Trainer(new_detector(config), batches, plan, fabric).train()
        measured = {
            name: measure(result.detector, drawn, config, fabric)
            for name, drawn in draw_conditions(normal, foregrounds).items()
        }
    finally:
        torch.set_num_threads(threads)
    record = HeldOutRecord(
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        config=Settled(**settings_of(config)),
        train=SplitFacts(images=len(train.samples), fingerprint=train.fingerprint),
        git=git_state(),
        versions=package_versions(),
        device=device_facts(fabric.device),
        seconds=time.monotonic() - started,
        steps=result.steps,
        images=len(normal),
        metrics={name: metrics for name, (metrics, _) in measured.items()},
        by_defect={name: by_defect for name, (_, by_defect) in measured.items()},
    )
    write_json(held_out_path(config), record.model_dump(mode="json", by_alias=True))
    return record


def split(batches: SyntheticBatches, kind: Kind) -> tuple[SyntheticBatches, NDArray, NDArray]:
    """Batches of five sixths of the training images; the rest and its foregrounds, copied."""
    images = np.asarray(batches.images)
    held = np.arange(len(images)) % 6 == 5
    if not held.any():
        raise DiffadError(f"{len(images)} training images: at least 6 are needed to hold some out")
    known = batches.foregrounds
    kept = replace(
        batches,
        images=images[~held],
        names=[name for name, out in zip(batches.names, held, strict=True) if not out],
        foregrounds=None if known is None else known[~held],
    )
    copies = max(1, -(-COPIES // int(held.sum())))
    # Defects are drawn on the same places whether a recipe uses foregrounds or not.
    is_object = kind == "object"
    foregrounds = automatic_masks(images[held]) if is_object else np.ones_like(images[held][:, :1])
    return kept, np.repeat(images[held], copies, 0), np.repeat(foregrounds, copies, 0)


def draw_conditions(normal: NDArray, foregrounds: NDArray) -> dict[str, Drawn]:
    """Images, masks and kinds of defect, by what was done to the normal images [N,3,H,W]."""
    images, masks, kinds = draw_defects(normal, foregrounds, np.random.default_rng(5))
    lit = uneven_light(images, np.random.default_rng(7))
    rng = np.random.default_rng(9)
    large = draw_defects(normal, foregrounds, rng, LARGE_KINDS, LARGE_RADII)
    return {
        "as they are": (images, masks, kinds),
        "uneven light": (lit, masks, kinds),
        "large defects": large,
    }


def measure(
    detector: Detector, drawn: Drawn, config: RunConfig, fabric: Fabric
) -> tuple[dict[str, Measured], dict[str, float]]:
    """All metrics on drawn defects, as `config.evaluation` says, and image AUROC by kind."""
    (images, masks, kinds), how = drawn, config.evaluation
    found = predict_all(detector, images, fabric, how.eval_batch_size, config.seed)
    names = np.array(kinds)
    label = (names != NO_DEFECT).astype(int)
    given = found.image_scores, label, found.anomaly_maps, masks
    metrics = compute_metrics(*given, how.fpr_limit, bootstrap_samples=0)
    by_defect = {}
    for kind in sorted({*kinds} - {NO_DEFECT}):
        chosen = (names == kind) | (names == NO_DEFECT)
        by_defect[kind] = image_auroc(found.image_scores[chosen], label[chosen])
    return {name: Measured.of(metric) for name, metric in metrics.items()}, by_defect
