"""What tools/traps.py measures of the predictions for a test set."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffad_lib.course import traps
from diffad_lib.datasets.regions import whole_regions
from diffad_lib.detector import Detector
from diffad_lib.metrics import compute_metrics, image_auroc, pixel_ap, pixel_auroc
from diffad_lib.scores import highest_mean, smoothed_maximum
from diffad_lib.types import Prediction

BATCH = 20


def as_list(scores: NDArray) -> list[float]:
    """Scores with so many digits that no two float32 numbers above 0.1 become equal."""
    return [round(score, 8) for score in scores.tolist()]


def predicted(predict: Callable[[Tensor], Prediction], images: Tensor) -> tuple[NDArray, NDArray]:
    """Image scores [N] and maps [N,H,W] of images [N,3,H,W] in [0,1]."""
    with torch.inference_mode():
        found = [predict(part) for part in images.split(BATCH)]
    maps = torch.cat([one.anomaly_map[:, 0] for one in found])
    return torch.cat([one.image_score for one in found]).numpy(), maps.numpy()


def normalised(detector: Detector) -> Callable[[Tensor], Prediction]:
    """How a detector predicts that was trained on ImageNet-normalised images."""

    def predict(images: Tensor) -> Prediction:
        given = traps.imagenet_normalised(images)
        return detector.judge(given, detector.reconstruction(given))

    return predict


def figures(found: tuple[NDArray, NDArray], test: dict[str, Any]) -> dict[str, Any]:
    """Scores and metrics of a prediction."""
    scores, maps = found
    measured = compute_metrics(scores, test["labels"], maps, test["regions"], bootstrap_samples=200)
    metrics = {name: [one.value, one.low, one.high] for name, one in measured.items()}
    return {"image_scores": as_list(scores), "metrics": metrics}


def protocol_figures(maps: NDArray, test: dict[str, Any], window: int) -> dict[str, Any]:
    """What follows from the maps alone: other masks, other protocols, other image scores."""
    label, native = test["labels"], test["native"]
    masks = (test["regions"] > 0).astype(np.uint8)
    whole = np.stack([whole_regions(mask, maps.shape[-1]) for mask in native]) > 0
    every = np.arange(len(label))
    ways = traps.protocols(maps, test["regions"], native)
    whole_maps = torch.from_numpy(maps)[:, None]
    scores = {
        "maximum": whole_maps.flatten(1).amax(dim=1),
        "mean of 50 pixels": highest_mean(whole_maps, 50),
        "21 × 21 window": smoothed_maximum(whole_maps, 21),
        f"{window} × {window} window": smoothed_maximum(whole_maps, window),
    }
    return {
        "cast": {"pixel_ap": pixel_ap(maps, whole), "pixel_auroc": pixel_auroc(maps, whole)},
        "protocols": {name: way(every) for name, way in ways.items()},
        "way_aurocs": {name: image_auroc(one.numpy(), label) for name, one in scores.items()},
        "rounded_maps": {str(n): pixel_ap(np.round(maps, n), masks) for n in (3, 2, 1)},
    }
