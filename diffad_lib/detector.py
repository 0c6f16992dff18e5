"""The one interface that the loop, the evaluation and the notebooks know."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from diffad_lib.types import Prediction, TrainingBatch


class Detector(nn.Module, ABC):
    """An anomaly detector: losses to train it, predictions to use it.

    Images are float32 [B,3,H,W] RGB in [0,1]; a detector that wants another range or
    channel order converts inside.
    """

    @abstractmethod
    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Scalar loss terms by name; "total" is the one that is minimised."""

    @abstractmethod
    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        """Scores, maps and reconstructions of a batch; call under `torch.inference_mode()`."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by the name of the network they belong to, each once.

        The training loop gives every name its own learning rate.
        """
        return {"main": list(self.parameters())}
