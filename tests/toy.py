"""A detector and a stream of batches small enough to train in milliseconds."""

import torch
from torch import Tensor, nn

from diffad_lib.detector import Detector
from diffad_lib.plans import LrSchedule, TrainingSettings
from diffad_lib.settings import DetectorSettings
from diffad_lib.types import Prediction, TrainingBatch


class ToyTraining(TrainingSettings):
    """A rate and a schedule of its own for the head."""

    def rate(self, network: str) -> tuple[float, LrSchedule]:
        return (1e-3, "constant") if network == "head" else super().rate(network)


class ToyDetector(Detector):
    """Two convolutions and a batch norm: weights, buffers and two parameter groups."""

    def __init__(self) -> None:
        super().__init__(DetectorSettings())
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Conv2d(4, 3, 3, padding=1)

    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        noise = torch.randn(batch.image.shape, generator=batch.generator)
        residual = self.second(self.first(batch.image + 0.1 * noise)) - batch.normal
        l2 = residual.square().mean()
        return {"total": 2 * l2, "l2": l2}

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        reconstruction = self.second(self.first(images))
        residual = (images - reconstruction).abs().mean(dim=1, keepdim=True)
        return Prediction(residual.flatten(1).amax(dim=1), residual, reconstruction)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"main": list(self.first.parameters()), "head": list(self.second.parameters())}


class ToyBatches:
    """Random batches by index; `poisoned` holds the index of a batch with a NaN."""

    def __init__(self, poisoned: int | None = None) -> None:
        self.poisoned = poisoned
        self.seen: list[int] = []

    def __call__(self, index: int) -> TrainingBatch:
        self.seen.append(index)
        generator = torch.Generator().manual_seed(index)
        images = torch.rand(2, 3, 8, 8, generator=generator)
        if index == self.poisoned:
            images[0, 0, 0, 0] = torch.nan
        return TrainingBatch(images, images, torch.zeros(2, 1, 8, 8), generator)

    def describe(self, index: int) -> str:
        return f"image-{index}.png"


def toy_detector() -> ToyDetector:
    """The same initial weights every time."""
    torch.manual_seed(0)
    return ToyDetector()
