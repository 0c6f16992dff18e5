"""From a configuration to data, detector and training plan; from results to a record."""

import datetime
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from diffad_lib.batches import SyntheticBatches
from diffad_lib.checkpoint import CHECKPOINT_NAME, TrainingPlan
from diffad_lib.datasets.catalog import Kind
from diffad_lib.datasets.images import ImageStack
from diffad_lib.detector import Detector
from diffad_lib.evaluation import Predictions, predict_all
from diffad_lib.files import remove_leftovers, write_json
from diffad_lib.methods import build_detector
from diffad_lib.methods.official import save_detector
from diffad_lib.metrics import Metric, compute_metrics, image_auroc, pixel_auroc
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import check_device, data_kind, load_data
from diffad_lib.runs.record import (
    CONFIG_NAME,
    RECORD_NAME,
    check_same_settings,
    device_facts,
    git_state,
    package_versions,
    peak_memory,
    settings,
)
from diffad_lib.synthesis.foreground import automatic_masks, isnet_masks, load_mask_folder
from diffad_lib.synthesis.synthesizer import SynthesisRecipe, Synthesizer
from diffad_lib.synthesis.textures import builtin_textures, load_texture_folder
from diffad_lib.training import TrainingResult, train


@dataclass(frozen=True)
class Experiment:
    """All parts of one run, ready to train."""

    config: RunConfig
    fabric: Fabric
    train: ImageStack
    test: ImageStack
    batches: SyntheticBatches
    detector: Detector
    plan: TrainingPlan
    prepared_seconds: float


def prepare(config: RunConfig) -> Experiment:
    """Read data and textures, make foregrounds, build detector and plan.

    Raises DiffadError for data that is missing or damaged.
    """
    started = time.monotonic()
    torch.set_flush_denormal(True)  # a CPU computes many times slower with denormal numbers
    fabric = make_fabric(config)
    train_stack, test_stack = load_data(config)
    kind = data_kind(config)
    synthesizer = Synthesizer(
        _textures(config),
        SynthesisRecipe(
            beta_range=(config.beta_min, config.beta_max),
            anomaly_probability=config.anomaly_probability,
            self_augmentation_probability=config.self_augmentation_probability,
            random_regions=config.foreground != "none",
            rotation_degrees=config.rotation_degrees,
            rotation_probability=config.rotation_probability,
            lighting=config.lighting,
        ),
        kind=kind,
    )
    batches = SyntheticBatches(
        train_stack.images,
        [sample.image.name for sample in train_stack.samples],
        synthesizer,
        config.batch_size,
        config.seed,
        fabric.device,
        _foregrounds(config, kind, train_stack),
    )
    torch.manual_seed(config.seed)  # initial weights
    detector = build_detector(config.method, _network_settings(config))
    return Experiment(
        config=config,
        fabric=fabric,
        train=train_stack,
        test=test_stack,
        batches=batches,
        detector=detector,
        plan=training_plan(config, len(train_stack.images), detector.parameter_groups()),
        prepared_seconds=time.monotonic() - started,
    )


def make_fabric(config: RunConfig) -> Fabric:
    """Device and precision of a run; "auto" takes bf16 where the hardware computes in it."""
    check_device(config)
    precision = config.precision
    if precision == "auto":
        fabric = Fabric(accelerator=config.device, devices=1)
        precision = "bf16-mixed" if _computes_bf16(fabric.device) else "32"
    full = "32-true" if precision == "32" else precision
    return Fabric(accelerator=config.device, devices=1, precision=full)


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # PyTorch has no public name for these two.
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return device.type == "cpu" and fast


def training_plan(config: RunConfig, image_count: int, networks: Iterable[str]) -> TrainingPlan:
    """Steps, learning rates and limits for the loop.

    `networks` are the names of `Detector.parameter_groups()`.
    """
    per_epoch = max(1, image_count // (config.batch_size * config.accumulate))
    rates = dict.fromkeys(networks, config.learning_rate)
    schedules = dict.fromkeys(networks, config.lr_schedule)
    if "segmentation" in rates:
        rates["segmentation"] = config.segmentation_learning_rate or config.learning_rate
        schedules["segmentation"] = config.segmentation_lr_schedule or config.lr_schedule
    return TrainingPlan(
        steps=config.steps if config.steps is not None else config.epochs * per_epoch,
        learning_rates=rates,
        lr_schedules=schedules,
        warmup_fraction=config.warmup_fraction,
        accumulate=config.accumulate,
        ema_decay=config.ema_decay,
        channels_last=config.channels_last,
        max_seconds=config.max_train_seconds,
        checkpoint_seconds=config.checkpoint_seconds,
    )


def train_experiment(experiment: Experiment) -> TrainingResult:
    """Train, with checkpoints in the run folder; an interrupted run goes on from there.

    Raises DiffadError if the folder holds a run with other settings, and as `train`.
    """
    config = experiment.config
    check_same_settings(config)
    write_json(config.run_folder / CONFIG_NAME, settings(config))
    select_every = None
    if config.select_on_test_epochs is not None:
        per_epoch = max(1, len(experiment.train.images) // config.batch_size)
        select_every = config.select_on_test_epochs * per_epoch
    return train(
        experiment.detector,
        experiment.batches,
        experiment.plan,
        experiment.fabric,
        folder=config.run_folder,
        select_every=select_every,
        select=lambda detector: _test_auroc_sum(experiment, detector),
    )


def evaluate_experiment(experiment: Experiment) -> tuple[Predictions, dict[str, Metric]]:
    """Predictions on the test images, and their metrics."""
    config, test = experiment.config, experiment.test
    predictions = predict_all(
        experiment.detector, test.images, experiment.fabric, config.eval_batch_size, config.seed
    )
    metrics = compute_metrics(
        predictions.image_scores,
        labels(test),
        predictions.anomaly_maps,
        test.masks[:, 0],
        fpr_limit=config.fpr_limit,
        bootstrap_samples=config.bootstrap_samples,
        seed=config.seed,
    )
    return predictions, metrics


def labels(stack: ImageStack) -> np.ndarray:
    """int64 [N]: 1 for an image with a defect."""
    return np.array([sample.label for sample in stack.samples])


def finish(
    experiment: Experiment,
    training: TrainingResult,
    predictions: Predictions,
    metrics: dict[str, Metric],
    total_seconds: float,
) -> Path:
    """Save weights, then the record, into the run folder; the record marks the run as complete."""
    config = experiment.config
    folder = config.run_folder
    save_detector(experiment.detector, folder)
    record = {
        "schema": 1,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "config": settings(config),
        "data": {
            split: {"images": len(stack.samples), "fingerprint": stack.fingerprint}
            for split, stack in (("train", experiment.train), ("test", experiment.test))
        }
        | {"test_defects": int(labels(experiment.test).sum())},
        "git": git_state(),
        "versions": package_versions(),
        "device": device_facts(experiment.fabric.device)
        | {"precision": experiment.fabric.strategy.precision.precision},
        "seconds": {
            "prepare": experiment.prepared_seconds,
            "train": training.seconds,
            "predict": predictions.seconds,
            "total": total_seconds,
        },
        "peak_memory": peak_memory(experiment.fabric.device),
        "training": {
            "steps": training.steps,
            "stopped_by": training.stopped_by,
            "selected_step": training.selected_step,
            "resumed_from": training.resumed_from,
            "last": training.history[-1],
        },
        "images_per_second": predictions.images_per_second,
        "metrics": {name: asdict(metric) for name, metric in metrics.items()},
        "images": [
            {
                "file": sample.image.name,
                "defect": sample.defect,
                "label": sample.label,
                "score": float(score),
            }
            for sample, score in zip(experiment.test.samples, predictions.image_scores, strict=True)
        ],
    }
    write_json(folder / RECORD_NAME, record)
    for name in (CHECKPOINT_NAME, CONFIG_NAME):
        (folder / name).unlink(missing_ok=True)
    remove_leftovers(folder)
    return folder / RECORD_NAME


def _test_auroc_sum(experiment: Experiment, detector: Detector) -> float:
    """Image + pixel AUROC on the test images: the official code's choice of weights, a leak."""
    test = experiment.test
    predictions = predict_all(detector, test.images, experiment.fabric)
    return image_auroc(predictions.image_scores, labels(test)) + pixel_auroc(
        predictions.anomaly_maps, test.masks[:, 0]
    )


def _foregrounds(config: RunConfig, kind: Kind, train: ImageStack) -> np.ndarray | None:
    """Masks for the training images of an object; a texture gets random regions at synthesis."""
    if config.foreground_folder is not None:
        return load_mask_folder(config.foreground_folder, train.samples, config.image_size)
    if config.foreground == "none" or kind == "texture":
        return None
    make = {"auto": automatic_masks, "rembg": isnet_masks}[config.foreground]
    return make(train.images)


def _textures(config: RunConfig) -> np.ndarray:
    if config.textures is None:
        return builtin_textures(config.image_size)
    return load_texture_folder(config.textures, config.image_size)


def _network_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that the method's constructor takes."""
    names = {
        "autoencoder": ("image_size", "base_width", "bottleneck", "score_window"),
        "draem": ("image_size", "base_width", "segmentation_width", "score_window"),
        "diffusionad": (
            "image_size",
            "base_width",
            "segmentation_width",
            "channel_multipliers",
            "residual_blocks",
            "attention_resolutions",
            "less_t_range",
            "test_normal_t",
            "test_noisier_t",
            "guidance_weight",
            "signed_range",
            "prediction",
            "noise_draws",
            "score_pixels",
        ),
    }[config.method]
    return {name: getattr(config, name) for name in names}
