"""How fast a run would go: measured by a short training here, or from a rate of another machine."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric

from diffad_lib.batches import SyntheticBatches
from diffad_lib.cost import count_flop
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import is_out_of_memory, predict_all
from diffad_lib.methods.method import find_method
from diffad_lib.mini.texture_bank import builtin_textures
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import data_kind
from diffad_lib.runs.device import denormals_as_zero
from diffad_lib.runs.experiment import make_fabric, new_detector
from diffad_lib.swap import swap_test
from diffad_lib.synthesis.synthesizer import Synthesizer
from diffad_lib.training import Trainer

PROBE_SECONDS = 4.0  # of training that is measured, after two steps that are not
MOST_STEPS = 60
MOST_FLOP = {"cpu": 0.6e12, "cuda": 60e12}  # of a step that is tried; a larger one is scaled
LEAST_SIDE = 64  # pixels
HEAD_SHARE = 1.5  # what the three swaps of an evaluation cost at most, in predictions


@dataclass(frozen=True)
class Speed:
    """Seconds of an optimiser step, and of all that a run does with a test image."""

    step: float
    test_image: float
    told: str


def step_flop(config: RunConfig) -> float:
    """FLOP of an optimiser step."""
    flop = count_flop(find_method(config.method).detector, config.detector)
    return float(flop.training * config.training.batch_size * config.training.accumulate)


def test_image_flop(config: RunConfig) -> float:
    """FLOP of a test image: predicted for the metrics, again for the swap test, and swapped."""
    flop = count_flop(find_method(config.method).detector, config.detector)
    return flop.prediction * (2 + HEAD_SHARE)


def by_rate(config: RunConfig, tflops: float) -> Speed:
    """The speed on a machine that sustains so many TFLOP/s."""
    step, image = (flop / tflops / 1e12 for flop in (step_flop(config), test_image_flop(config)))
    return Speed(step, image, f"counted, at {tflops:g} TFLOP/s")


def probe(config: RunConfig) -> Speed:
    """The speed here: some steps on noise, with the run's networks, synthesis and precision.

    Where a step would take long, a smaller batch or image is tried, and scaled by its FLOP.
    """
    try:
        fabric = make_fabric(config)
    except DiffadError as error:
        told = "no speed can be measured; give --device-tflops, or a device that is here"
        raise DiffadError(f"{str(error).split(';')[0]}: {told}") from error
    most = MOST_FLOP["cpu" if fabric.device.type == "cpu" else "cuda"]
    try:
        with denormals_as_zero():
            trial, step, steps = _time_what_fits(_smaller(config, most), fabric)
            is_large = step_flop(trial) > most / 2
            count = 2 if is_large else trial.evaluation.eval_batch_size
            image = _time_prediction(trial, fabric, count)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        told = "no speed can be measured; give --device-tflops"
        raise DiffadError(f"the device has no memory for a single image: {told}") from error
    size, count = trial.detector.image_size, trial.training.batch_size
    tried = f"{steps} steps of {count} images at {size} px, {step:.3g} s each"
    if trial.detector == config.detector and count == config.training.batch_size:
        return Speed(step * config.training.accumulate, image, f"measured: {tried}")
    larger = step_flop(config) / step_flop(trial)
    test_share = test_image_flop(config) / test_image_flop(trial)
    return Speed(step * larger, image * test_share, f"scaled by FLOP: {tried}")


def _smaller(config: RunConfig, most: float) -> RunConfig:
    """The same with a smaller batch, then smaller images, until a step has `most` FLOP."""
    plan = config.training.but(accumulate=1, select_on_test_epochs=None, max_train_seconds=None)
    trial = config.but(training=plan)
    while step_flop(trial) > most and trial.training.batch_size > 1:
        plan = trial.training.but(batch_size=trial.training.batch_size // 2)
        trial = trial.but(training=plan)
    while step_flop(trial) > most and trial.detector.image_size >= 2 * LEAST_SIDE:
        try:
            detector = trial.detector.but(image_size=trial.detector.image_size // 2)
        except DiffadError:  # its other settings do not suit
            break
        trial = trial.but(detector=detector)
    return trial


def _time_what_fits(config: RunConfig, fabric: Fabric) -> tuple[RunConfig, float, int]:
    """The same with a batch for which the device has the memory; and what `_time_steps` tells."""
    while True:
        count = config.training.batch_size
        try:
            return config, *_time_steps(config, fabric)
        except RuntimeError as error:
            if count == 1 or not is_out_of_memory(error):
                raise
        config = config.but(training=config.training.but(batch_size=count // 2))


def _time_steps(config: RunConfig, fabric: Fabric) -> tuple[float, int]:
    """Seconds of a step, and how many were measured."""
    plan, detector = config.training, new_detector(config)
    batches = noise_batches(config, fabric.device)

    def train(steps: int) -> float:
        of_steps = plan.but(steps=steps, epochs=None)
        return (
            Trainer(detector, batches, of_steps, fabric, report=lambda _: None).train().seconds
            / steps
        )

    warm = train(2)
    steps = max(2, min(MOST_STEPS, math.ceil(PROBE_SECONDS / warm)))
    return train(steps), steps


def _time_prediction(config: RunConfig, fabric: Fabric, count: int) -> float:
    """Seconds of one of `count` test images, in predictions and in the swap test."""
    detector, how = new_detector(config), config.evaluation
    fabric.to_device(detector)
    if config.training.channels_last:
        detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = noise(count, config.detector.image_size)
    truth = np.zeros(count, np.int64), np.zeros((count, *images.shape[2:]), np.uint8)
    predict_all(detector, images, fabric, how.eval_batch_size, config.seed)
    started = time.perf_counter()
    predict_all(detector, images, fabric, how.eval_batch_size, config.seed)
    swap_test(detector, images, *truth, fabric, how.eval_batch_size, config.seed)
    return (time.perf_counter() - started) / count


def noise_batches(config: RunConfig, device: torch.device) -> SyntheticBatches:
    """Batches as the run makes them, of noise in place of photographs; all of it is foreground."""
    size, side, kind = config.training.batch_size, config.detector.image_size, data_kind(config)
    images = noise(max(size, 8), side)
    foregrounds = None
    if kind == "object" and getattr(config.synthesis, "foreground", "none") != "none":
        foregrounds = np.ones((len(images), 1, side, side), np.uint8)
    return SyntheticBatches(
        images,
        ["noise"] * len(images),
        Synthesizer(builtin_textures(side), config.synthesis, kind),
        size,
        config.seed,
        device,
        foregrounds,
    )


def noise(count: int, side: int) -> np.ndarray:
    """Images of noise, uint8 [count,3,side,side]."""
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), np.uint8)
