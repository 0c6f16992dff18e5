"""How to train and to evaluate: settings of the loop, budgets, and named departures from them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import SerializeAsAny, model_validator

from diffad_lib.datasets.images import ImageRule, MaskRule
from diffad_lib.errors import DiffadError, nearest, one_line
from diffad_lib.settings import DetectorSettings, Settings, setting
from diffad_lib.synthesis.synthesizer import NormalSettings

Precision = Literal["auto", "32", "bf16-mixed", "16-mixed"]
LrSchedule = Literal["constant", "paper-steps", "code-steps", "cosine", "cosine-10"]
# What every mini budget changes of its laptop budget; 32-bit, so that figures repeat elsewhere.
MINI: Mapping[str, Any] = {"image_size": 64, "precision": "32", "bootstrap_samples": 200}
# Training settings that say where a run computes, not what: a run may go on with others.
PLACES = frozenset({"devices", "num_nodes"})


class TrainingSettings(Settings):
    """How to train: every number that the loop needs.

    Training ends after `steps` optimiser steps (or `epochs`, exactly one is set) or
    `max_train_seconds`, whichever is first. Learning rates follow the share of the training that
    is spent, so that a time limit still ends with the small rates.
    """

    batch_size: int = setting(8, "images of a micro-batch", ge=1)
    accumulate: int = setting(
        1, "micro-batches of an optimiser step; batch norm, and each loss as a mean, see one of "
        "them at a time", ge=1,
    )  # fmt: skip
    steps: int | None = setting(None, "length in optimiser steps", ge=1)
    epochs: int | None = setting(None, "length in passes through the images", ge=1)
    max_train_seconds: float | None = setting(None, "time limit of the training, s", gt=0)
    learning_rate: float = setting(1e-4, "learning rate before its schedule", gt=0)
    lr_schedule: LrSchedule = setting("constant", "how the learning rate falls over the training")
    warmup_fraction: float = setting(0.0, "share in which the learning rate rises", ge=0, lt=1)
    ema_decay: float = setting(
        0.0,
        "decay of a mean of weights and statistics, 0 is off; in no budget, as it did not help",
        ge=0,
        lt=1,
    )
    precision: Precision = setting("32", "auto is bf16 where the hardware computes in it")
    channels_last: bool = setting(False, "channels-last memory format")
    device: Literal["auto", "cpu", "cuda", "mps"] = setting("auto", "device that computes")
    devices: int = setting(1, "processes on a machine, each with a device of its own", ge=1)
    num_nodes: int = setting(1, "machines that train together", ge=1)
    checkpoint_seconds: float = setting(
        60.0, "least time between checkpoints, s; up to ten times that where writing one is slow",
        ge=0,
    )  # fmt: skip
    select_on_test_epochs: int | None = setting(
        None, "epochs between looks at the test set, to keep the best weights: a leak", ge=1
    )

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("set exactly one of steps and epochs")
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        """Processes share micro-batches, so each of them has to get as many."""
        processes, images = self.processes, self.batch_size * self.accumulate
        if self.accumulate % processes == 0:
            return self
        sizes = range(self.batch_size, 0, -1)
        advice = f"choose an accumulate that {processes} divides"
        if micro := next((size for size in sizes if images % (size * processes) == 0), 0):
            same = f"{images} images a step (batch norm then sees {micro})"
            advice = f"set batch_size={micro} and accumulate={images // micro} for the same {same}"
        told = f"{processes} processes cannot share accumulate={self.accumulate}"
        raise ValueError(f"{told}; {advice}")

    @property
    def processes(self) -> int:
        """Processes that train together, on all machines."""
        return self.devices * self.num_nodes

    def rate(self, network: str) -> tuple[float, LrSchedule]:
        """Learning rate and schedule of a network, by its name in `Detector.parameter_groups`."""
        return self.learning_rate, self.lr_schedule

    def steps_an_epoch(self, image_count: int) -> int:
        """Optimiser steps in which every training image is seen about once."""
        return max(1, image_count // (self.batch_size * self.accumulate))

    def in_steps(self, image_count: int) -> Self:
        """The same plan with its length in steps."""
        if self.epochs is None:
            return self
        return self.but(steps=self.epochs * self.steps_an_epoch(image_count), epochs=None)


class HeadTraining(TrainingSettings):
    """How to train a detector whose segmentation head may have a learning rate of its own."""

    segmentation_learning_rate: float | None = setting(
        None, "learning rate of the head; none: learning_rate", gt=0
    )
    segmentation_lr_schedule: LrSchedule | None = setting(None, "of the head; none: lr_schedule")

    def rate(self, network: str) -> tuple[float, LrSchedule]:
        rate, schedule = super().rate(network)
        if network != "segmentation":
            return rate, schedule
        return self.segmentation_learning_rate or rate, self.segmentation_lr_schedule or schedule


class EvaluationSettings(Settings):
    """How images are read, and how the test set is predicted and measured."""

    eval_batch_size: int = setting(16, "images predicted at a time", ge=1)
    fpr_limit: float = setting(0.3, "false-positive rate up to which AUPRO is taken", gt=0, le=1)
    bootstrap_samples: int = setting(1000, "resamples for the intervals, 0: none", ge=0)
    accept_masks: bool = setting(False, "go on where most masks look inverted")
    image_rule: ImageRule = setting(
        "area", "training images, test images and textures shrink by averaging areas, or linearly "
        "as in the official codes, which leaves pixels out",
    )  # fmt: skip
    mask_rule: MaskRule = setting(
        "half", "a pixel of a resized mask is defective where at least half of it is, or only "
        "where it is as a whole, as in the official codes; small defects vanish then",
    )  # fmt: skip


class Budget(Settings):
    """All numbers of a run but who runs: one section each, no key in two of them."""

    detector: SerializeAsAny[DetectorSettings]
    synthesis: SerializeAsAny[NormalSettings] = NormalSettings()
    training: SerializeAsAny[TrainingSettings]
    evaluation: EvaluationSettings = EvaluationSettings()

    def setting_keys(self) -> dict[str, str]:
        """The section of every key that can be set."""
        return {
            key: name
            for name in Budget.model_fields
            for key in type(getattr(self, name)).model_fields
        }

    def with_settings(self, changes: Mapping[str, Any]) -> Self:
        """The same with some settings changed, each in the section that has its key.

        A length given one way, steps or epochs, replaces a length given the other way. Raises
        DiffadError that names an unknown key and the nearest valid one, or a wrong value.
        """
        sections = self.setting_keys()
        changed: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            if key not in sections:
                raise DiffadError(f'"{one_line(key)}" is not a setting; {nearest(key, sections)}')
            changed.setdefault(sections[key], {})[key] = value
        lengths = {"steps", "epochs"} & changes.keys()
        if len(lengths) == 1 and changes[next(iter(lengths))] is not None:
            changed["training"] |= dict.fromkeys({"steps", "epochs"} - lengths)
        new = {name: getattr(self, name).but(**values) for name, values in changed.items()}
        return self.but(**new)


@dataclass(frozen=True)
class Variant:
    """A named departure from a method's budgets."""

    sentence: str  # what it changes
    source: str  # where it comes from
    settings: Mapping[str, Any]  # key and value
    official: bool = False  # one of the departures of the official code from the paper


def official_masks(source: str) -> Variant:
    """The masks of the official codes; source: where one of them makes them so."""
    return Variant(
        "A pixel of a resized mask is defective only where it is as a whole: the code cuts off the "
        "fraction after a linear resize. Pixel metrics are then over smaller defects.",
        source,
        {"mask_rule": "whole"},
        official=True,
    )


def code_resize(source: str) -> Variant:
    """The images of the official codes; source: where one of them makes them so."""
    told = "Resize images linearly: where they shrink to less than half, pixels are left out."
    return Variant(told, source, {"image_rule": "linear"}, official=True)


def lr_factor(schedule: str, step: int, progress: float, warmup_fraction: float = 0.0) -> float:
    """Multiplier of a learning rate at an optimiser step.

    step: 0-based. progress: share of the training that is spent, in [0,1].
    paper-steps: ×0.1 at 4/7 and 6/7 (epochs 400 and 600 of 700, arXiv 2108.07610). code-steps:
    ×0.2 at 80 % and 90 % (its published code). cosine: to zero over the training. cosine-10:
    cosine with T_max of 10 *steps*, so it rises and falls every 20 (code of arXiv 2303.08730).
    """
    if progress < warmup_fraction:
        return max(progress / warmup_fraction, 1e-3)
    if schedule == "constant":
        return 1.0
    if schedule == "paper-steps":
        return 0.1 ** sum(progress >= at for at in (4 / 7, 6 / 7))
    if schedule == "code-steps":
        return 0.2 ** sum(progress >= at for at in (0.8, 0.9))
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    if schedule == "cosine-10":
        return 0.5 * (1 + math.cos(math.pi * step / 10))
    raise ValueError(f"unknown learning-rate schedule {schedule!r}")
