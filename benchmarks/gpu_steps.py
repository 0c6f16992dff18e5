"""How long an optimiser step takes at a method's own settings, and how much memory it needs."""

import contextlib
import gc
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from diffad_lib.batches import SyntheticBatches
from diffad_lib.detector import Detector
from diffad_lib.errors import one_line
from diffad_lib.evaluation import is_out_of_memory, predict_all
from diffad_lib.methods.method import find_method
from diffad_lib.runs import experiment as ex
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.forecast import step_bytes
from diffad_lib.runs.speed import noise, noise_batches
from diffad_lib.training import Callback, Trainer

WARM_UP, MEASURED, SECONDS = 3, 12, 8.0  # steps; the measured ones end after these seconds
IMAGES = 209  # in training, of the category whose hours are told: as MVTec AD's bottle has


@dataclass(frozen=True)
class Way:
    """How a step is computed."""

    precision: str
    channels_last: bool = False
    compiled: bool = False

    def settings(self) -> dict[str, Any]:
        """Those of it that are settings of a run."""
        return {"precision": self.precision, "channels_last": self.channels_last}


class Enough(Exception):
    """Enough steps were measured."""


@dataclass
class Clock(Callback):
    """A callback of the training loop that notes when a step has ended on the device."""

    every: int = 1
    ends: list[float] = field(default_factory=list)

    def __call__(self, step: int, detector: Detector) -> None:
        self.ends.append(time.monotonic())  # the losses were read, so the device is done
        measured = len(self.ends) - WARM_UP
        if measured >= MEASURED or (
            measured > 0 and self.ends[-1] - self.ends[WARM_UP - 1] > SECONDS
        ):
            raise Enough


def measure(config: RunConfig, way: Way, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """A row: the largest micro-batch that fits, seconds a step with it, memory, prediction.

    known: micro-batch and accumulation that fitted before. A micro-batch that does not fit is
    halved, with twice as many of them in a step. What cannot be compiled is told in the row.
    """
    row: dict[str, Any] = {"method": config.method, **asdict(way)}
    micro = known["micro_batch"] if known else config.training.batch_size
    whole = config.training.batch_size * config.training.accumulate
    while True:
        accumulate = -(-whole // micro)
        plan = config.with_settings({"batch_size": micro, "accumulate": accumulate})
        try:
            found = _times(plan, way)
            return row | {"micro_batch": micro, "accumulate": accumulate, "problem": None} | found
        except Exception as error:
            reason = one_line(error)
            if not is_out_of_memory(error):
                if not way.compiled:
                    raise
                return row | {"left_out": f"not compiled: {type(error).__name__}: {reason}"}
        _forget()
        if micro == 1:
            told = f"{config.method}: a single image does not fit in {way.precision} ({reason})"
            return row | {"micro_batch": None, "problem": told}
        micro = -(-micro // 2)


def _times(config: RunConfig, way: Way) -> dict[str, Any]:
    _forget()  # the measurement before
    fabric = ex.make_fabric(config)
    device, clock = fabric.device, Clock()
    detector = ex.new_detector(config)
    if way.compiled:
        for network in detector.children():
            network.compile()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begun = time.monotonic()
    plan = config.training.but(steps=WARM_UP + MEASURED + 1, epochs=None)
    batches = noise_batches(config, device)
    parts = detector, batches, plan, fabric
    with contextlib.suppress(Enough):
        Trainer(*parts, callbacks=[clock], report=_silent).train()
    steps = np.diff(clock.ends[WARM_UP - 1 :])
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    rate = None if way.compiled else _images_a_second(detector, config, fabric)
    median = statistics.median(steps)
    paper = config.training.in_steps(IMAGES).steps or 0
    return {
        "s_per_step": round(median, 4),
        "steps_per_s": round(1 / median, 3),
        "synthesis_s": round(config.training.accumulate * _seconds_a_batch(batches), 4),
        "warm_up_s": round(clock.ends[WARM_UP - 1] - begun, 1),
        "hours": round(paper * median / 3600, 2),
        "predicted_images_per_s": rate,
        "peak_gib": None if peak is None else round(peak / 2**30, 2),
        "planned_gib": round(planned_bytes(config) / 2**30, 2),
    }


def _seconds_a_batch(batches: SyntheticBatches) -> float:
    """Median time to make a batch and no more, until the device is done."""
    spent = []
    for index in range(MEASURED):
        begun = time.monotonic()
        batches(index).mask.sum().item()
        spent.append(time.monotonic() - begun)
    return statistics.median(spent)


def planned_bytes(config: RunConfig) -> float:
    """What `diffad plan` counts at the peak of a step."""
    kind, plan = find_method(config.method).detector, config.training
    return step_bytes(kind, config.detector, plan.precision, plan.batch_size)


def _images_a_second(detector: Detector, config: RunConfig, fabric: Fabric) -> float:
    """Of a prediction; not of a compiled detector, which would be compiled once more for it."""
    images = noise(config.evaluation.eval_batch_size, config.detector.image_size)
    predict_all(detector, images, fabric, len(images))  # warms up
    return round(predict_all(detector, images, fabric, len(images)).images_per_second, 1)


def _forget() -> None:
    """Give memory of a measurement back, so that the next one has all of it."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _silent(_: str) -> None:
    pass
