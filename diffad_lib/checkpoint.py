"""What a training needs to go on exactly: its plan, its state, and the file that keeps both."""

import math
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.files import write_torch

CHECKPOINT_NAME = "checkpoint.pt"


@dataclass(frozen=True)
class TrainingPlan:
    """How to train: every number that the loop needs.

    learning_rates and lr_schedules are keyed by `Detector.parameter_groups()`. Training ends
    after `steps` optimiser steps or `max_seconds`, whichever is first; learning rates follow the
    share of the plan that is spent, so that a time limit still ends with the small rates.
    """

    steps: int
    learning_rates: dict[str, float]
    lr_schedules: dict[str, str]
    warmup_fraction: float = 0.0
    accumulate: int = 1
    ema_decay: float = 0.0
    channels_last: bool = False
    max_seconds: float | None = None
    checkpoint_seconds: float = 60.0


@dataclass
class TrainingState:
    """What a checkpoint holds beside weights and optimiser: enough to go on exactly."""

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_value: float = -math.inf
    best_step: int = 0


def save_checkpoint(
    path: Path,
    plan: TrainingPlan,
    state: TrainingState,
    best: dict[str, Tensor] | None,
    detector: Detector,
    averaged: AveragedModel | None,
    optimizer: Any,
    fabric: Fabric,
) -> None:
    content = {
        "plan": _identity(plan),
        "state": asdict(state),
        "best": best,
        "detector": detector.state_dict(),
        "averaged": averaged.state_dict() if averaged is not None else None,
        "optimizer": optimizer.state_dict(),
        "precision": fabric.strategy.precision.state_dict(),
    }
    write_torch(path, content)


def load_checkpoint(
    path: Path,
    plan: TrainingPlan,
    detector: Detector,
    averaged: AveragedModel | None,
    optimizer: Any,
    fabric: Fabric,
) -> tuple[TrainingState, dict[str, Tensor] | None]:
    """Put everything back where it was; returns the state and the best weights so far.

    Raises DiffadError for a damaged file and for a checkpoint of another plan.
    """
    try:
        _check_bytes(path)
        content = torch.load(path, map_location=fabric.device, weights_only=True)
        if content["plan"] == _identity(plan):
            detector.load_state_dict(content["detector"])
            if averaged is not None:
                averaged.load_state_dict(content["averaged"])
            optimizer.load_state_dict(content["optimizer"])
            fabric.strategy.precision.load_state_dict(content["precision"])
            return TrainingState(**content["state"]), content["best"]
    except (MemoryError, torch.OutOfMemoryError):  # the file may be good
        raise
    except Exception as error:  # torch raises many types for a damaged file
        raise DiffadError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); "
            "delete it to start the training again"
        ) from error
    raise DiffadError(
        f"{path}: belongs to a training with other settings; "
        "delete it, or choose another --runs-dir"
    )


def _check_bytes(path: Path) -> None:
    """Raise BadZipFile if a byte has changed; torch.load would take it without a word."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise zipfile.BadZipFile(damaged)


def _identity(plan: TrainingPlan) -> dict[str, Any]:
    """What has to be equal for a checkpoint to be gone on from."""
    return {key: value for key, value in asdict(plan).items() if key != "checkpoint_seconds"}
