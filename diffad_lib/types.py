"""What passes between synthesis, detectors, the training loop and the evaluation."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingBatch:
    """One training batch on the device.

    normal: float32 [B,3,H,W] in [0,1], anomaly-free (the reconstruction target).
    image: float32 [B,3,H,W] in [0,1], what the detector sees; equals `normal` where `mask` is 0.
    mask: float32 [B,1,H,W] in {0,1}, 1 where an anomaly was pasted.
    generator: source of every random number drawn while computing losses (on the device).
    """

    normal: Tensor
    image: Tensor
    mask: Tensor
    generator: torch.Generator | None = None

    @property
    def is_anomalous(self) -> Tensor:
        """bool [B]: True where the mask holds at least one anomalous pixel."""
        return self.mask.flatten(1).any(dim=1)


@dataclass(frozen=True)
class Prediction:
    """image_score [B] and anomaly_map [B,1,H,W], higher is more anomalous; all float32.

    reconstruction: [B,3,H,W] in [0,1]; None of a method that has none.
    """

    image_score: Tensor
    anomaly_map: Tensor
    reconstruction: Tensor | None = None
