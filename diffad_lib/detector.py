"""The one interface that the loop, the evaluation and the notebooks know."""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from diffad_lib.errors import DiffadError
from diffad_lib.plans import TrainingSettings
from diffad_lib.settings import DetectorSettings
from diffad_lib.types import Prediction, TrainingBatch


class BatchSource(Protocol):
    """Batches by index. The batch depends on the index alone, so a resumed run sees the same."""

    def __call__(self, index: int) -> TrainingBatch: ...

    def describe(self, index: int) -> str:
        """Names what is in the batch, for error messages."""
        ...


class Detector(nn.Module, ABC):
    """An anomaly detector: losses to train it, predictions to use it.

    Images are float32 [B,3,H,W] RGB in [0,1]; a detector that wants others converts inside. One
    whose weights were converted as a whole, as by `half()`, takes images of their dtype, unless it
    computes in float32 only.
    """

    def __init__(self, settings: DetectorSettings) -> None:
        super().__init__()
        self.settings = settings  # saved with the weights

    @abstractmethod
    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        """Scalar loss terms by name; "total" is the one that is minimised."""

    @abstractmethod
    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        """Scores, maps and reconstructions of a batch; call under `torch.inference_mode()`.

        generator: on the CPU, so that the same seed means the same numbers on every device.
        """

    def judge(self, images: Tensor, reconstruction: Tensor) -> Prediction | None:
        """What `predict` would say if the reconstruction [B,3,H,W] in [0,1] were the given one.

        None of a method that has no reconstruction. The swap test asks it (`swap.py`).
        """
        return None

    def check_images(self, images: Tensor) -> None:
        """DiffadError unless images are [B,3,H,W] in [0,1], at the size of the settings.

        Their dtype has to be one of the weights, or float32 where there are none.
        """
        if not isinstance(images, Tensor):
            raise DiffadError(f"images are a {type(images).__name__}; give a torch.Tensor")
        side = self.settings.image_size
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise DiffadError(f"images have the shape {[*images.shape]}; give [B,3,{side},{side}]")
        if len(images) == 0:
            raise DiffadError("images are an empty batch; give at least one")
        kinds = {weight.dtype for weight in self.parameters()} or {torch.float32}
        if images.dtype not in kinds:
            wanted = " or ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
            raise DiffadError(f"images are {images.dtype}; give {wanted} in [0,1]")
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):  # also true of NaN
            raise DiffadError(f"images reach from {low:g} to {high:g}; they have to be in [0,1]")

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters to train, each once, by network; `TrainingSettings.rate` takes its name."""
        return {"main": [weight for weight in self.parameters() if weight.requires_grad]}

    def optimizer(self, plan: TrainingSettings) -> torch.optim.Optimizer:
        """Adam over the parameter groups; each group holds its "name" and lr "schedule"."""
        groups = []
        for name, parameters in self.parameter_groups().items():
            rate, schedule = plan.rate(name)
            groups.append({"params": parameters, "lr": rate, "name": name, "schedule": schedule})
        return torch.optim.Adam(groups, fused=True)

    def after_training(self, batches: BatchSource) -> None:
        """What is left to do with the trained weights, in evaluation mode; most need nothing.

        A place to calibrate from training images: what it finds belongs into buffers, which are
        saved with the weights. It has to be deterministic: a resumed run does it again.
        """
