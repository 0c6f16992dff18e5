"""Trainings that have to come out the same in one process and in two.

Imported by the tests, this computes them alone. Started as `two_processes.py FOLDER`, once for each
process, it computes them together, and leaves what each process found in FOLDER/<rank>.pt.
"""

import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

import conftest  # noqa: F401  as many threads as in the tests
from diffad_lib.batches import SyntheticBatches
from diffad_lib.detector import BatchSource, Detector
from diffad_lib.errors import DiffadError
from diffad_lib.methods.method import find_method
from diffad_lib.plans import TrainingSettings
from diffad_lib.runs.config import build_config
from diffad_lib.runs.member import meet_others
from diffad_lib.synthesis.synthesizer import SynthesisSettings, Synthesizer
from diffad_lib.training import Trainer, TrainingResult
from diffad_lib.types import TrainingBatch
from small import small_detector
from toy import ToyBatches, ToyTraining, toy_detector

STEPS, SIZE = 20, 32
TOY = ToyTraining(
    steps=40, learning_rate=1e-2, lr_schedule="cosine", accumulate=4, checkpoint_seconds=0.0
)


class Doubled:
    """The same batches in float64, in which no rounding is left to grow."""

    def __init__(self, source: BatchSource) -> None:
        self.source, self.describe = source, source.describe

    def __call__(self, index: int) -> TrainingBatch:
        batch = self.source(index)
        images = {name: getattr(batch, name).double() for name in ("normal", "image", "mask")}
        return replace(batch, **images)


class Looker:
    """A callback that counts its calls."""

    every = 10

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, step: int, detector: Detector) -> None:
        self.calls += 1
        time.sleep(0.2)  # the others have to wait

    def finish(self, detector: Detector) -> None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = state["calls"]


def told(result: TrainingResult) -> dict[str, Any]:
    """What is compared."""
    weights = {name: value.clone() for name, value in result.detector.state_dict().items()}
    found = {"history": result.history, "weights": weights, "from": result.resumed_from}
    return found | {"steps": result.steps, "stopped_by": result.stopped_by}


def quiet(line: str) -> None:
    pass


def of_method(fabric: Fabric, name: str) -> dict[str, Any]:
    """Steps of a small detector on noise and textures of noise."""
    settings = {"steps": STEPS, "epochs": None, "batch_size": 2, "accumulate": 2}
    plan = find_method(name).budget("mini").training.but(**settings)
    rng = np.random.default_rng(0)
    images, textures = (rng.integers(0, 256, (n, 3, SIZE, SIZE), np.uint8) for n in (10, 5))
    names = [str(number) for number in range(len(images))]
    synthesizer = Synthesizer(textures, SynthesisSettings(), "texture")
    source = SyntheticBatches(images, names, synthesizer, 2, 0, fabric.device)
    return told(Trainer(small_detector(name), source, plan, fabric, report=quiet).train())


def of_toy(fabric: Fabric, plan: TrainingSettings = TOY, **more: Any) -> dict[str, Any]:
    detector, batches = toy_detector().double(), Doubled(more.pop("source", None) or ToyBatches())
    return told(Trainer(detector, batches, plan, fabric, report=quiet, **more).train())


def first_only(fabric: Fabric, folder: Path) -> Path | None:
    return folder if fabric.is_global_zero else None


def half(fabric: Fabric, folder: Path) -> None:
    """The first steps of TOY; its checkpoint is one in the middle, as of a killed training."""

    class Stop(ToyBatches):
        def __call__(self, index: int) -> TrainingBatch:
            if index // TOY.accumulate == 25:
                raise KeyboardInterrupt
            return super().__call__(index)

    try:
        of_toy(fabric, source=Stop(), folder=first_only(fabric, folder))
    except KeyboardInterrupt:
        return
    raise AssertionError


def limited(fabric: Fabric) -> dict[str, Any]:
    """A time limit; the clock moves with every look at it, ten times as far in all processes
    but the first."""
    real, pace = time.monotonic, 0.004 if fabric.is_global_zero else 0.04  # seconds
    looks = itertools.count()
    time.monotonic = lambda: pace * next(looks)
    try:
        return of_toy(fabric, TOY.but(steps=10**6, max_train_seconds=1.0))
    finally:
        time.monotonic = real


def poisoned(fabric: Fabric) -> str:
    """A batch of the second process holds a NaN; what each process says."""
    try:
        of_toy(fabric, source=ToyBatches(poisoned=4 * 12 + 3))
    except DiffadError as error:
        return str(error)
    raise AssertionError


def watched(fabric: Fabric) -> int:
    looker = Looker()
    of_toy(fabric, callbacks=[looker])
    return looker.calls


def computed(fabric: Fabric) -> list[int]:
    """Indices of the batches that this process computes in two steps."""
    source = ToyBatches()
    of_toy(fabric, TOY.but(steps=2), source=source)
    return source.seen


ALONE: dict[str, Callable[[Fabric], Any]] = {
    "draem": lambda fabric: of_method(fabric, "draem"),
    "diffusionad": lambda fabric: of_method(fabric, "diffusionad"),
    "toy": of_toy,
    "averaged": lambda fabric: of_toy(fabric, TOY.but(ema_decay=0.9)),
}
TOGETHER = ALONE | {
    "limited": limited,
    "poisoned": poisoned,
    "watched": watched,
    "computed": computed,
}


def main(folder: Path) -> None:
    config = build_config(
        "mvtec", "bottle", "draem", devices=2, overrides={"accumulate": 2, "device": "cpu"}
    )
    fabric = meet_others(config, "32-true")
    found = {name: train(fabric) for name, train in TOGETHER.items()}
    # A training that one process began goes on in two; this one leaves its checkpoint.
    found["resumed"] = of_toy(fabric, folder=first_only(fabric, folder / "one"))
    half(fabric, folder / "two")
    torch.save(found, folder / f"{fabric.global_rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
