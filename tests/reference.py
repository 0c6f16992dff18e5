"""Values that the official implementations computed; they lie beside the checkout."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.typing import ArrayLike
from safetensors.torch import load_file
from torch import Tensor, nn

from diffad_lib.metrics import aupro, image_ap, image_auroc, pixel_ap, pixel_auroc

SHARED = Path(__file__).resolve().parents[2] / "shared"
REFERENCE = SHARED / "reference"
DIFFUSIONAD_CHECKPOINT = REFERENCE / "diffusionad_small_params-last.pt"
DRAEM_CHECKPOINTS = (
    REFERENCE / "DRAEM_small_bottle_.pckl",
    REFERENCE / "DRAEM_small_bottle__seg.pckl",
)

needs_reference = pytest.mark.skipif(
    not SHARED.exists(), reason="the reference values are not beside this checkout"
)


def reference_json(name: str) -> Any:
    return json.loads((REFERENCE / name).read_text())


def reference_tensors(name: str) -> dict[str, Tensor]:
    return load_file(REFERENCE / name)


def assert_matches(actual: Tensor, expected: Tensor, divided_by: Tensor | float = 1.0) -> None:
    """Equal to 1e-5 as reference/README.md asks; `divided_by`: √ᾱ_t [B] of divided values."""
    tolerance = 1e-5 / torch.as_tensor(divided_by, dtype=torch.float64).reshape(-1, 1)
    error = (actual - expected).abs().reshape(len(expected), -1)
    assert actual.shape == expected.shape
    assert (error <= tolerance).all(), f"largest error {error.max():.2e}"


def shapes(network: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in network.state_dict().items()}


def referenced_metrics(
    scores: ArrayLike, labels: ArrayLike, maps: ArrayLike, masks: ArrayLike
) -> dict[str, float]:
    """What the two files of reference metrics hold, by the names that they have there."""
    return {
        "image_auroc": image_auroc(scores, labels),
        "image_ap": image_ap(scores, labels),
        "pixel_auroc": pixel_auroc(maps, masks),
        "pixel_ap": pixel_ap(maps, masks),
        "aupro_30": aupro(maps, masks, 0.3),
        "aupro_05": aupro(maps, masks, 0.05),
    }
