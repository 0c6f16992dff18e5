"""python -m benchmarks.accuracy: accuracy against seconds of training, also of the official DRAEM.

    python -m benchmarks.accuracy --data-root DATA --textures DTD/images --draem DIR

Three categories with three seeds each, on the CPU: this project at its laptop budget (DRAEM at 128,
DiffusionAD at 64 pixels, in bf16 where the CPU computes in it), and the official code at 128 pixels
in fp32, width 32 and batches of 8, with its own data loading and learning rates. Only training
counts as time; this project reads images and makes foregrounds before, which is told apart. From
time to time the test set is looked at; nothing is chosen by it. A training that is finished is kept
in the folder, and a second start makes what is missing.

imgaug, which the official data loading needs, is no part of this project: install it beside.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import official
from benchmarks.accuracy_page import write_accuracy
from benchmarks.machine import machine
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import SetPrediction, in_batches, predict_all
from diffad_lib.files import json_object, write_json
from diffad_lib.methods.method import find_method
from diffad_lib.metrics import compute_metrics
from diffad_lib.runs.config import build_config
from diffad_lib.runs.experiment import Experiment, labels, prepare
from diffad_lib.training import Trainer

CATEGORIES = (("mvtec", "bottle"), ("mvtec", "screw"), ("mpdd", "metal_plate"))
SEEDS = (0, 1, 2)
LOOKS = (15.0, 30.0, 60.0, 120.0, 240.0, 360.0)  # seconds of training
OFFICIAL = "official DRAEM"
OFFICIAL_WIDTHS, OFFICIAL_BATCH = (32, 16), 8
METHODS = ("draem", "diffusionad")


@dataclass(frozen=True)
class Job:
    """One training. way: a method of this project, or `OFFICIAL`."""

    way: str
    dataset: str
    category: str
    seed: int

    @property
    def file(self) -> str:
        way = self.way.replace(" ", "_")
        return f"{way}_{self.dataset}_{self.category}_seed{self.seed}.json"


@dataclass(frozen=True)
class Runner:
    """A training that can be stopped after any step. `step` is told the share of time spent."""

    step: Callable[[float], None]
    predict: Callable[[], SetPrediction]
    steps: float  # after which it ends before its time


@dataclass(frozen=True)
class Places:
    """Where data, textures and the official code are, as far as the user has them."""

    data_root: Path | None
    textures: Path | None
    draem: Path | None


def jobs(ways: Sequence[str]) -> Iterator[Job]:
    """Seed after seed, so that what is finished early is a whole comparison."""
    for seed in SEEDS:
        for dataset, category in CATEGORIES:
            for way in ways:
                yield Job(way, dataset, category, seed)


def prepared(job: Job, places: Places, seconds: float, **overrides: Any) -> Experiment:
    """The experiment of a job; the official code is judged on images as it resizes them."""
    is_official = job.way == OFFICIAL
    config = build_config(
        job.dataset,
        job.category,
        "draem" if is_official else job.way,
        "laptop",
        ("code-resize",) if is_official else (),
        {"device": "cpu", **overrides},
        seed=job.seed,
        max_train_seconds=seconds,
        data_root=places.data_root,
        textures=places.textures,
    )
    return prepare(config)


def ours(experiment: Experiment, seconds: float) -> Runner:
    """This project's training, whose clock is set from outside."""
    how = experiment.batches, experiment.plan, experiment.fabric
    trainer = Trainer(experiment.detector, *how)
    config = experiment.config

    def step(share: float) -> None:
        trainer.detector.train()
        trainer.state.seconds = share * seconds
        trainer.step()

    def predict() -> SetPrediction:
        detector, batch_size = trainer.detector, config.evaluation.eval_batch_size
        return predict_all(
            detector, experiment.test.images, experiment.fabric, batch_size, config.seed
        )

    return Runner(step, predict, trainer.steps)


def theirs(experiment: Experiment, checkout: Path) -> Runner:
    """The official training on the images of an experiment."""
    train = experiment.train.samples[0].image.parent
    textures = experiment.config.textures
    if textures is None:
        raise DiffadError("--textures: the official code reads its textures from a folder; give it")
    size = experiment.config.detector.image_size
    step, judge = official.draem_training(
        checkout, OFFICIAL_WIDTHS, train, textures, size, OFFICIAL_BATCH, experiment.config.seed
    )
    images = np.ascontiguousarray(experiment.test.images[:, ::-1])  # it reads BGR
    batch_size = experiment.config.evaluation.eval_batch_size

    def predict() -> SetPrediction:
        started = time.perf_counter()
        batches = (images[rows] for rows in in_batches(len(images), batch_size))
        parts = [judge(torch.from_numpy(one).float() / 255) for one in batches]
        scores, maps = (torch.cat(one).numpy() for one in zip(*parts, strict=True))
        return SetPrediction(scores, maps[:, 0], time.perf_counter() - started)

    return Runner(step, predict, float("inf"))


def race(runner: Runner, looks: Sequence[float], judge: Callable[[SetPrediction], Any]) -> list:
    """Train until the last look; each look: when it was due, seconds trained, steps, metrics."""
    found: list[dict[str, Any]] = []
    spent, steps, last = 0.0, 0, looks[-1]
    for due in looks:
        while spent < due and steps < runner.steps:
            begun = time.monotonic()
            runner.step(spent / last)
            spent += time.monotonic() - begun
            steps += 1
        is_same = found and found[-1]["steps"] == steps  # it has ended before its time
        metrics = found[-1]["metrics"] if is_same else judge(runner.predict())
        found.append({"due": due, "seconds": spent, "steps": steps, "metrics": metrics})
        print(f"  {spent:.0f} s, {steps} steps: {metrics}", flush=True)
    return found


def run_job(job: Job, places: Places, looks: Sequence[float], **overrides: Any) -> dict[str, Any]:
    """Train and look; what was found as one row of the record."""
    experiment = prepared(job, places, looks[-1], **overrides)
    if job.way == OFFICIAL:
        assert places.draem is not None
        runner = theirs(experiment, places.draem)
    else:
        runner = ours(experiment, looks[-1])
    truth, regions = labels(experiment.test), experiment.test.regions[:, 0]

    def judge(found: SetPrediction) -> dict[str, float]:
        given = found.image_scores, truth, found.anomaly_maps, regions
        measured = compute_metrics(*given, bootstrap_samples=0)
        return {name: round(metric.value, 4) for name, metric in measured.items()}

    found = race(runner, looks, judge)
    told = {
        "pixels": experiment.config.detector.image_size,
        "textures": places.textures and places.textures.name,
        # The official code prepares nothing: it reads its files as it trains.
        "prepare_seconds": None if job.way == OFFICIAL else experiment.prepared_seconds,
        "machine": machine(torch.device("cpu")),
    }
    return {**asdict(job), **told, "looks": found}


def kept_row(path: Path, places: Places) -> dict[str, Any]:
    """A row that was made before; DiffadError if it was made otherwise than the rest will be."""
    row, advice = json_object(path, "delete it"), "delete it, or give another folder with --to"
    now = places.textures and places.textures.name, torch.get_num_threads()
    if (then := (row["textures"], row["machine"]["threads"])) != now:
        raise DiffadError(f"{path}: was made with textures and threads {then}, not {now}; {advice}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the datasets")
    parser.add_argument("--textures", type=Path, help="folder of texture images, as DTD's")
    parser.add_argument("--draem", type=Path, help="checkout of VitjanZ/DRAEM")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--to", type=Path, default=Path("runs/benchmarks"), help="folder")
    given = parser.parse_args()
    if given.threads < 1:
        sys.exit("error: --threads must be at least 1")
    torch.set_num_threads(given.threads)
    # First what needs most: whatever is missing for it is told at once.
    ways = [*([OFFICIAL] if given.draem else []), *METHODS]
    places = Places(given.data_root, given.textures, given.draem)
    files = {job: given.to / "accuracy" / job.file for job in jobs(ways)}
    try:
        rows = {job: kept_row(path, places) for job, path in files.items() if path.exists()}
        for job, path in files.items():
            if job not in rows:
                print(f"{job.way}, {job.category}, seed {job.seed}", flush=True)
                rows[job] = run_job(job, places, LOOKS)
                write_json(path, rows[job])
    except DiffadError as error:
        sys.exit(f"error: {error}")
    titles = {name: find_method(name).title for name in METHODS}
    write_accuracy(given.to, [rows[job] for job in files], titles)
    print(f"{given.to}/accuracy.json, {given.to}/accuracy.md and {given.to}/accuracy.png")


if __name__ == "__main__":
    main()
