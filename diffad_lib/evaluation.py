"""Predictions of a detector on a test set, batched and seeded."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from diffad_lib.detector import Detector
from diffad_lib.types import Prediction


@dataclass(frozen=True)
class SetPrediction:
    """A detector's output on N images."""

    image_scores: np.ndarray  # float32 [N]
    anomaly_maps: np.ndarray  # float32 [N,H,W]
    seconds: float  # wall time for all images, from uint8 on the host to maps on the host

    @property
    def images_per_second(self) -> float:
        """Throughput of `predict`, batched."""
        return len(self.image_scores) / self.seconds


def predict_batch(
    detector: Detector, images: np.ndarray, fabric: Fabric, seed: int = 0
) -> Prediction:
    """Predict uint8 images [B,3,H,W]; the same seed gives the same scores."""
    pixels = as_pixels(images, fabric)
    generator = torch.Generator(fabric.device).manual_seed(seed)
    detector.eval()
    with torch.inference_mode(), fabric.autocast():
        return detector.predict(pixels, generator)


def as_pixels(images: np.ndarray, fabric: Fabric) -> Tensor:
    """uint8 [B,3,H,W] as float32 in [0,1] on the device."""
    return torch.from_numpy(np.array(images)).to(fabric.device).float() / 255


def predict_all(
    detector: Detector, images: np.ndarray, fabric: Fabric, batch_size: int = 16, seed: int = 0
) -> SetPrediction:
    """Predict uint8 images [N,3,H,W]; scores repeat and do not depend on the batch size."""
    scores, maps = [], []
    started = time.perf_counter()
    for start in range(0, len(images), batch_size):
        prediction = predict_batch(detector, images[start : start + batch_size], fabric, seed)
        scores.append(prediction.image_score.float().cpu().numpy())
        maps.append(prediction.anomaly_map[:, 0].float().cpu().numpy())  # [B,H,W]
    seconds = time.perf_counter() - started
    return SetPrediction(np.concatenate(scores), np.concatenate(maps), seconds)
