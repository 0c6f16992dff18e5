"""Toy: how far a pixel is from the mean colour of the normal images. It reconstructs nothing.

A worked example of a method in one file: a frozen part, a trained part, and a calibration.
"""

import torch
from torch import Tensor, nn

from diffad_lib.detector import BatchSource, Detector
from diffad_lib.methods.method import Method
from diffad_lib.plans import Budget, TrainingSettings
from diffad_lib.settings import DetectorSettings, setting
from diffad_lib.types import Prediction, TrainingBatch


class ToySettings(DetectorSettings):
    """What can be set."""

    gain: float = setting(1.0, "factor of the anomaly map", gt=0)


class Toy(Detector):
    """A frozen teacher doubles the colours; a student learns to do the same."""

    settings: ToySettings

    def __init__(self, settings: ToySettings) -> None:
        super().__init__(settings)
        self.teacher = nn.Conv2d(3, 3, 1).requires_grad_(False)
        self.student = nn.Conv2d(3, 3, 1)
        self.register_buffer("mean", torch.zeros(3, 1, 1))

    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """total: the student's squared distance from the teacher."""
        return {"total": (self.student(batch.normal) - self.teacher(batch.normal)).square().mean()}

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        """anomaly_map: distance from the mean colour; image_score: its maximum."""
        self.check_images(images)
        distance = (images - self.mean).abs().mean(dim=1, keepdim=True)
        anomaly_map = self.settings.gain * distance
        return Prediction(anomaly_map.flatten(1).amax(dim=1), anomaly_map)

    def after_training(self, batches: BatchSource) -> None:
        """The mean colour of a batch of normal images."""
        self.mean.copy_(batches(0).normal.mean(dim=(0, 2, 3)).reshape(3, 1, 1))


METHOD = Method(
    title="Toy",
    detector=Toy,
    settings=ToySettings,
    budgets={
        "mini": Budget(detector=ToySettings(image_size=32), training=TrainingSettings(steps=3))
    },
)
