"""From a configuration to data, detector and training plan; from results to a record."""

import contextlib
import datetime
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from diffad_lib.batches import SyntheticBatches
from diffad_lib.checkpoint import checkpoint_step, checkpoints
from diffad_lib.datasets.images import ImageStack
from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError, shown
from diffad_lib.evaluation import SetPrediction, measure_invariance, predict_all
from diffad_lib.files import remove_leftovers
from diffad_lib.methods.method import find_method
from diffad_lib.metrics import Metric, compute_metrics, image_auroc, pixel_auroc
from diffad_lib.plans import TrainingSettings
from diffad_lib.runs import facts
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import load_data, what_is_read
from diffad_lib.runs.device import check_device, flushes_denormals
from diffad_lib.runs.folder import (
    CONFIG_NAME,
    claim_folder,
    hold,
    let_go,
    resumed_under,
    settings_of,
)
from diffad_lib.runs.given import given_detector, given_weights
from diffad_lib.runs.launch import node_rank, train_together
from diffad_lib.runs.record import (
    RECORD_NAME,
    Data,
    Invariance,
    Measured,
    Record,
    Training,
    write_record,
)
from diffad_lib.runs.synthetic import foreground_lines, make_batches
from diffad_lib.selection import Aurocs, KeepBest
from diffad_lib.swap import swap_test
from diffad_lib.training import Trainer, TrainingResult
from diffad_lib.weights import save_detector


@dataclass(frozen=True)
class Experiment:
    """All parts of one run, ready to train."""

    config: RunConfig
    fabric: Fabric
    train: ImageStack
    test: ImageStack
    batches: SyntheticBatches
    detector: Detector
    plan: TrainingSettings  # its length in steps
    data: Data
    prepared_seconds: float
    changed: contextlib.ExitStack  # callbacks alone, which nothing calls if a run is dropped


def prepare(
    config: RunConfig, meet_others: Callable[[RunConfig], Fabric] | None = None
) -> Experiment:
    """Read data, make foregrounds, build detector and plan; DiffadError for damaged data.

    meet_others: of one of several processes that train, see `member.py`. Until `finish`, or until
    something fails, this process takes denormal numbers for 0.
    """
    started = time.monotonic()
    with contextlib.ExitStack() as changed:
        changed.callback(torch.set_flush_denormal, flushes_denormals())
        torch.set_flush_denormal(True)  # first: threads begin with what they find
        fabric = (meet_others or make_fabric)(config)
        train, test = load_data(config)
        batches, detector = make_batches(config, train, fabric), new_detector(config)
        plan, seconds = config.training.in_steps(len(train.images)), time.monotonic() - started
        data = what_is_read(config, (train, test))
        data.notes.extend(foreground_lines(config, batches.foregrounds))
        for note in data.notes:
            print(shown(f"note: {note}"))
        parts = config, fabric, train, test, batches, detector, plan, data
        return Experiment(*parts, seconds, changed.pop_all())


def new_detector(config: RunConfig) -> Detector:
    """The detector with its initial weights, which the seed decides, or the given one; on the CPU.

    DiffadError for weights that are not those of the configuration.
    """
    if config.weights is not None:
        return given_detector(config, config.weights)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return find_method(config.method).detector(config.detector)


def make_fabric(config: RunConfig) -> Fabric:
    """Device and precision of a run; "auto" takes bf16 where the hardware computes in it.

    One device, on which a run evaluates, also where several processes train it.
    """
    device, precision = check_device(config), config.training.precision
    if precision == "auto":
        precision = "bf16-mixed" if facts.computes_bf16(torch.device(device)) else "32"
    full = "32-true" if precision == "32" else precision
    alone = LightningEnvironment()  # also below SLURM, whose tasks Fabric would count
    return Fabric(accelerator=device, devices=1, precision=full, plugins=[alone])


def train_experiment(experiment: Experiment) -> TrainingResult:
    """Train in the run folder, from its checkpoint if any; raises as `claim_folder` and `train`.

    With weights in the configuration nothing is trained: 0 steps.

    No other process trains in the folder until `finish`, or until this one fails.
    """
    folder, plan = experiment.config.run_folder, experiment.config.training
    if node := node_rank(plan):
        raise DiffadError(f"NODE_RANK={node}: on this node only `diffad run` can take part")
    lock = hold(folder)
    try:
        return _train(experiment, lock)
    except BaseException:
        let_go(folder)
        experiment.changed.close()
        raise


def _train(experiment: Experiment, lock: int) -> TrainingResult:
    config, plan = experiment.config, experiment.config.training
    precision = precision_of(experiment.fabric)
    under = facts.conditions(experiment.fabric.device, precision) | {"processes": plan.processes}
    print("computes on {device}, threads: {threads}, precision {precision}".format(**under))
    if changed := claim_folder(config, experiment.data, under):
        told = "last digits differ, and with another kind of device all random draws"
        print(f"began otherwise, so that {told}: {'; '.join(changed)}")
    if config.weights is not None:
        print(shown(f"nothing is trained: the weights are those in {config.weights}"))
        experiment.fabric.to_device(experiment.detector)
        return TrainingResult(
            experiment.detector, 0, 0.0, [], "weights", resumed_from=0, selected_step=0
        )
    if plan.processes == 1:
        return make_trainer(experiment).train()
    print(
        f"{plan.processes} processes train, each {plan.accumulate // plan.processes} of the "
        f"{plan.accumulate} micro-batches of a step"
    )
    began = checkpoint_step(config.run_folder) or 0
    train_together(config, precision, keep=[lock])
    # Nothing is left to train: it reads the last checkpoint.
    result = make_trainer(experiment, report=lambda line: None).train()
    return replace(result, resumed_from=began)


def make_trainer(experiment: Experiment, report: Callable[[str], None] = print) -> Trainer:
    """The training of a run in its folder; only the first of several processes writes there."""
    config, plan = experiment.config, experiment.config.training
    callbacks = []
    if plan.select_on_test_epochs is not None:
        an_epoch = plan.steps_an_epoch(len(experiment.train.images))
        every = plan.select_on_test_epochs * an_epoch
        callbacks.append(KeepBest(lambda detector: _test_aurocs(experiment, detector), every))
    parts = experiment.detector, experiment.batches, experiment.plan, experiment.fabric
    folder = config.run_folder if experiment.fabric.is_global_zero else None
    return Trainer(*parts, folder, callbacks, report)


def evaluate_experiment(experiment: Experiment) -> tuple[SetPrediction, dict[str, Metric]]:
    """Predictions on the test images, and their metrics."""
    config, test, how = experiment.config, experiment.test, experiment.config.evaluation
    predictions = predict_all(
        experiment.detector, test.images, experiment.fabric, how.eval_batch_size, config.seed
    )
    given = predictions.image_scores, labels(test), predictions.anomaly_maps, test.regions[:, 0]
    metrics = compute_metrics(*given, how.fpr_limit, how.bootstrap_samples, config.seed)
    return predictions, metrics


def swap_experiment(experiment: Experiment) -> dict[str, dict[str, float]]:
    """The swap test on the test images (`swap.py`); {} for a method without a reconstruction."""
    test, how = experiment.test, experiment.config.evaluation
    given = test.images, labels(test), test.masks[:, 0], experiment.fabric
    return swap_test(experiment.detector, *given, how.eval_batch_size, experiment.config.seed)


def labels(stack: ImageStack) -> np.ndarray:
    """int64 [N]: 1 for an image with a defect."""
    return np.array([sample.label for sample in stack.samples])


def finish(
    experiment: Experiment,
    training: TrainingResult,
    predictions: SetPrediction,
    metrics: dict[str, Metric],
    swaps: dict[str, dict[str, float]],
    total_seconds: float,
) -> Path:
    """Save weights, then the record, into the run folder; the record marks the run as complete.

    Prints whether scores depend on what else is predicted. Ends what `prepare` and
    `train_experiment` began.
    """
    folder = experiment.config.run_folder
    given = given_weights(experiment.config)
    save_detector(experiment.detector, folder, given.official if given else None)
    record = _record(experiment, training, predictions, metrics, swaps, total_seconds)
    write_record(folder / RECORD_NAME, record.model_copy(update={"weights": given}))
    for path in (*checkpoints(folder), folder / CONFIG_NAME):
        path.unlink(missing_ok=True)
    remove_leftovers(folder)
    let_go(folder)
    experiment.changed.close()
    return folder / RECORD_NAME


def _told(found: Invariance) -> str:
    differ = (
        f"{found.images} images predicted alone and in other batches: scores differ by "
        f"{found.score_difference:.1g} of the highest, maps by {found.map_difference:.1g} "
        f"(rounding: up to {found.tolerance:g})"
    )
    return differ if found.holds else f"SCORES DEPEND ON WHAT ELSE IS PREDICTED: {differ}"


def precision_of(fabric: Fabric) -> str:
    """As Fabric calls it."""
    return fabric.strategy.precision.precision


def _record(
    experiment: Experiment,
    training: TrainingResult,
    predictions: SetPrediction,
    metrics: dict[str, Metric],
    swaps: dict[str, dict[str, float]],
    total_seconds: float,
) -> Record:
    fabric, device = experiment.fabric, experiment.fabric.device
    images, seed = experiment.test.images, experiment.config.seed
    processes = experiment.config.training.processes
    measured = measure_invariance(experiment.detector, images, fabric, predictions, seed)
    invariance = Invariance.model_validate(measured, from_attributes=True)
    print(_told(invariance))
    scored = zip(experiment.test.samples, predictions.image_scores.tolist(), strict=True)
    return Record(
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        config=settings_of(experiment.config),
        data=experiment.data.model_copy(
            update={"test_defects": int(labels(experiment.test).sum())}
        ),
        git=facts.git_state(),
        versions=facts.package_versions(),
        device=facts.device_facts(device)
        | {"precision": precision_of(fabric), "processes": processes},
        resumed_under=resumed_under(experiment.config),
        seconds={
            "prepare": experiment.prepared_seconds,
            "train": training.seconds,
            "predict": predictions.seconds,
            "total": total_seconds,
        },
        # Of other processes than this one the memory on a GPU is not known.
        peak_memory=facts.peak_memory(device) | ({"device_bytes": None} if processes > 1 else {}),
        training=Training.model_validate(training, from_attributes=True),
        images_per_second=predictions.images_per_second,
        invariance=invariance,
        metrics={name: Measured.of(metric) for name, metric in metrics.items()},
        swaps={name: _without_nan(found) for name, found in swaps.items()},
        images=[
            {"file": one.image.name, "defect": one.defect, "label": one.label, "score": score}
            for one, score in scored
        ],
    )


def _without_nan(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _test_aurocs(experiment: Experiment, detector: Detector) -> Aurocs:
    """Of the test images: the official code's choice of weights, a leak."""
    test, config = experiment.test, experiment.config
    how = experiment.fabric, config.evaluation.eval_batch_size, config.seed
    found = predict_all(detector, test.images, *how)
    image = image_auroc(found.image_scores, labels(test))
    return image, pixel_auroc(found.anomaly_maps, test.masks[:, 0])
