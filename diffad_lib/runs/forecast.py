"""What runs cost before they start: steps, FLOP, hours, disk, and memory at every micro-batch."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import torch

from diffad_lib.cost import count_memory
from diffad_lib.datasets.catalog import find_dataset
from diffad_lib.datasets.layouts import has_dataset, list_categories, list_samples
from diffad_lib.detector import Detector
from diffad_lib.methods.method import find_method
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import data_kind, data_root
from diffad_lib.runs.speed import Speed, step_flop, test_image_flop
from diffad_lib.settings import DetectorSettings

CARDS = (8, 16, 24, 40, 80)  # memory of common GPUs, GB (1e9 bytes)
# What no count sees: the driver and its kernels, workspaces of convolutions, gaps between tensors.
UNSEEN_BYTES, UNSEEN_SHARE = 0.6e9, 0.10
# CPU time beside training and prediction of laptop runs of one step, with and without a cache of
# images: kernel, imports, metrics and figures; and reading an image, rounded up for slower disks.
START_SECONDS, IMAGE_SECONDS = 15.0, 0.01
NOTEBOOK_BYTES = 2e6  # the executed notebook and the record
MORE_PREDICTIONS = 20  # test images that are predicted once more, for checks and figures


class Images(NamedTuple):
    """Images of a category, and where the numbers are from."""

    train: int  # normal ones
    test: int
    source: str  # "found", "catalog" or "mini data"


def count_images(config: RunConfig) -> Images:
    """Images of a run: counted where they lie, else the official numbers; decodes nothing.

    Without `data_root` a category that only the mini data has is counted there.
    """
    root = config.data_root
    official = find_dataset(config.dataset).categories.get(config.category)
    has_data = root is not None and has_dataset(config.dataset, root)
    is_there = root and has_data and config.category in list_categories(config.dataset, root)
    if official and not is_there:
        return Images(official.train_good, official.test_good + official.test_defect, "catalog")
    samples = list_samples(config.dataset, config.category, data_root(root))
    train = sum(sample.split == "train" for sample in samples)
    source = "found" if root else "mini data"
    return Images(train, len(samples) - train, source)


@dataclass(frozen=True)
class Forecast:
    """What a run costs."""

    config: RunConfig
    images: Images
    speed: Speed

    @cached_property
    def steps(self) -> int:
        """Optimiser steps."""
        steps = self.config.training.in_steps(self.images.train).steps
        assert steps is not None  # in_steps
        return steps

    @property
    def flop(self) -> float:
        """FLOP of training and evaluation."""
        tested = self.images.test + MORE_PREDICTIONS
        return self.steps * step_flop(self.config) + tested * test_image_flop(self.config)

    @property
    def train_seconds(self) -> float:
        """Time of the training, as the record tells it."""
        seconds, limit = self.steps * self.speed.step, self.config.training.max_train_seconds
        return seconds if limit is None else min(seconds, limit)

    @property
    def seconds(self) -> float:
        """Time of the whole run."""
        tested = (self.images.test + MORE_PREDICTIONS) * self.speed.test_image
        read = (self.images.train + self.images.test) * IMAGE_SECONDS
        return START_SECONDS + read + self.train_seconds + tested

    @property
    def kept_bytes(self) -> float:
        """What stays on disk: weights, notebook and record."""
        return self._weights_and_checkpoint[0] + NOTEBOOK_BYTES

    @property
    def running_bytes(self) -> float:
        """The most on disk while it runs: two checkpoints and the weights."""
        weights, checkpoint = self._weights_and_checkpoint
        return 2 * checkpoint + weights + NOTEBOOK_BYTES

    @property
    def _weights_and_checkpoint(self) -> tuple[float, float]:
        config = self.config
        kind = find_method(config.method).detector
        return _state_bytes(kind, config.detector, config.training.ema_decay > 0)


@dataclass(frozen=True)
class Choice:
    """A way to train: what it changes of the run, and its memory."""

    batch_size: int
    accumulate: int
    precision: str
    recomputes: bool
    changes: Mapping[str, Any]
    bytes: float

    @property
    def needed(self) -> float:
        """Memory of a device on which it runs, bytes: counted, and an allowance for the rest."""
        return self.bytes * (1 + UNSEEN_SHARE) + UNSEEN_BYTES


def forecast(configs: Iterable[RunConfig], measure: Callable[[RunConfig], Speed]) -> list[Forecast]:
    """A forecast of every run; runs with equal settings are measured once."""
    speeds: dict[Any, Speed] = {}
    images: dict[Any, Images] = {}
    found = []
    for config in configs:
        place = config.dataset, config.category, config.data_root
        if place not in images:
            images[place] = count_images(config)
        sections = config.detector, config.synthesis, config.training, config.evaluation
        key = config.method, data_kind(config), *sections
        if key not in speeds:
            speeds[key] = measure(config)
        found.append(Forecast(config, images[place], speeds[key]))
    return found


def choices(config: RunConfig) -> list[Choice]:
    """Ways to train with batches of the same size, those nearest to the run's own first.

    The whole batch before micro-batches, which change what batch norm and losses average over;
    the run's precision before bf16, which rounds; kept activations before those computed again,
    which give the same gradients and cost time.
    """
    kind, plan = find_method(config.method).detector, config.training
    whole = plan.batch_size
    precisions = dict.fromkeys((plan.precision, "bf16-mixed"))
    return [
        Choice(
            micro,
            plan.accumulate * whole // micro,
            precision,
            settings != config.detector,
            _changes(config, settings, precision, micro),
            step_bytes(kind, settings, precision, micro),
        )
        for micro in (size for size in range(whole, 0, -1) if whole % size == 0)
        for precision in precisions
        for settings in dict.fromkeys((config.detector, config.detector.with_least_memory()))
    ]


def step_bytes(
    kind: type[Detector], settings: DetectorSettings, precision: str, micro: int
) -> float:
    """Bytes at the peak of a training step, by count; precision as in `TrainingSettings`."""
    return count_memory(kind, settings, precision.endswith("mixed")).of(micro)


def _changes(
    config: RunConfig, settings: DetectorSettings, precision: str, micro: int
) -> dict[str, Any]:
    """What `--set` has to give."""
    plan = config.training
    values = dict(settings) | {"precision": precision, "batch_size": micro}
    values["accumulate"] = plan.accumulate * plan.batch_size // micro
    own = dict(config.detector) | dict(plan)
    return {key: value for key, value in values.items() if own[key] != value}


def first_fit(ways: Iterable[Choice], gigabytes: float) -> Choice | None:
    """The first for which a device with so much memory is large enough; None if there is none."""
    return next((way for way in ways if way.needed <= gigabytes * 1e9), None)


@cache
def _state_bytes(
    kind: type[Detector], settings: DetectorSettings, averages: bool
) -> tuple[float, float]:
    """Bytes of the weights, and of a checkpoint, which holds Adam's means too."""
    with torch.device("meta"):
        detector = kind(settings)
    values = [*detector.parameters(), *detector.buffers()]
    weights = float(sum(value.nbytes for value in values))
    trained = sum(weight.nbytes for weight in detector.parameters() if weight.requires_grad)
    return weights, (2 if averages else 1) * weights + 2 * trained
