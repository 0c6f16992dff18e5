"""PatchCore and EfficientAD of anomalib, where it is installed, behind our interface.

Weights are random and nothing is read from the net: time depends on shapes alone. So the same
function, `predict_all`, is timed for these and for ours.
"""

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from diffad_lib.detector import Detector
from diffad_lib.errors import one_line
from diffad_lib.settings import DetectorSettings
from diffad_lib.types import Prediction, TrainingBatch

# What both papers have, and anomalib as its default.
BOTTLE, CORESET, STRIDE = 209, 0.1, 8  # training images; share kept; pixels a patch, each way
CHANNELS = {"layer2": 512, "layer3": 1024}  # of the layers that PatchCore reads of its backbone
LEAST = 256  # pixels: EfficientAD halves five times, then takes a kernel of 8 × 8
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet

PATCHCORE, EFFICIENT_AD = "PatchCore", "EfficientAD"


class Theirs(Detector):
    """A network of anomalib; mean and std: of the pixels, where its pre-processor takes them."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, pixels: int, mean: Tensor, std: Tensor) -> None:
        super().__init__(DetectorSettings(image_size=pixels))
        self.network = network
        self.register_buffer("mean", mean.reshape(1, 3, 1, 1))
        self.register_buffer("std", std.reshape(1, 3, 1, 1))

    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        raise NotImplementedError("a network that is timed is not trained")

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        self.check_images(images)
        found = self.network((images - self.mean) / self.std)
        return Prediction(found.pred_score.flatten(), found.anomaly_map)


def why_absent() -> str | None:
    """Why anomalib's networks cannot be measured here; None if they can."""
    if importlib.util.find_spec("anomalib") is None:
        return "anomalib is not installed"
    try:
        _module("patchcore")
        _module("efficient_ad")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        return f"anomalib cannot be imported: {one_line(str(error))}"
    return None


def networks(pixels: int) -> dict[str, Callable[[], Detector]]:
    """What makes each network that takes images of this size."""
    found: dict[str, Callable[[], Detector]] = {PATCHCORE: partial(_patchcore, pixels)}
    if pixels >= LEAST:
        found[EFFICIENT_AD] = partial(_efficient_ad, pixels)
    return found


def _module(name: str) -> Any:
    return importlib.import_module(f"anomalib.models.image.{name}.torch_model")


def bank_rows(pixels: int) -> int:
    """Patches in PatchCore's memory bank of MVTec AD's bottle."""
    return int(BOTTLE * (pixels // STRIDE) ** 2 * CORESET)


def _patchcore(pixels: int) -> Detector:
    network = _module("patchcore").PatchcoreModel(layers=[*CHANNELS], pre_trained=False)
    network.memory_bank = torch.rand(bank_rows(pixels), sum(CHANNELS.values()))
    return Theirs(network.eval(), pixels, torch.tensor(_MEAN), torch.tensor(_STD))


def _efficient_ad(pixels: int) -> Detector:
    """The small one, as a trained one is: with means, deviations and quantiles, which cost time."""
    network = _module("efficient_ad").EfficientAdModel()
    for values in (network.mean_std, network.quantiles):
        for weight in values.values():
            nn.init.uniform_(weight, 0.5, 1.5)
    return Theirs(network.eval(), pixels, torch.zeros(3), torch.ones(3))
