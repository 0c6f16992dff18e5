"""What passes between synthesis, detectors, the training loop and the evaluation."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingBatch:
    """One training batch on the device; images and masks are float32."""

    normal: Tensor  # [B,3,H,W] in [0,1], anomaly-free (the reconstruction target)
    image: Tensor  # [B,3,H,W] in [0,1], what the detector sees; equals `normal` where `mask` is 0
    mask: Tensor  # [B,1,H,W] in {0,1}, 1 where an anomaly was pasted
    generator: torch.Generator | None = None  # of every random number drawn in computing losses

    @property
    def is_anomalous(self) -> Tensor:
        """bool [B]: True where the mask holds at least one anomalous pixel."""
        return self.mask.flatten(1).any(dim=1)


@dataclass(frozen=True)
class Prediction:
    """What a detector says about a batch, float32."""

    image_score: Tensor  # [B], higher is more anomalous
    anomaly_map: Tensor  # [B,1,H,W], higher is more anomalous
    reconstruction: Tensor | None = None  # [B,3,H,W] in [0,1]; None of a method that has none


def joined(first: Prediction, second: Prediction) -> Prediction:
    """What is said of all images of two batches, in their order."""
    one, other = first.reconstruction, second.reconstruction
    return Prediction(
        torch.cat([first.image_score, second.image_score]),
        torch.cat([first.anomaly_map, second.anomaly_map]),
        None if one is None or other is None else torch.cat([one, other]),
    )
