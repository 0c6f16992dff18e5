"""Predictions of a detector on a test set, batched and seeded."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypeVar, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.progress import next_line
from diffad_lib.types import Prediction, joined

Told = TypeVar("Told", bound=Prediction | None)
_LOOKED_AT = 4  # images of `measure_invariance`
# Of largest values; measured: 1e-7 in float32 on a CPU, 1e-3 with bf16. On a GPU convolutions in
# float32 may round as bf16 does, or nearly (TF32).
_ROUNDING, _COARSE_ROUNDING = 1e-5, 1e-2


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


@dataclass(frozen=True)
class Invariance:
    """How far the output for an image depends on what else is predicted.

    Differences are shares of the largest value of all test images, so that 0.01 is 1 %.
    """

    images: int  # that were looked at
    score_difference: float
    map_difference: float
    tolerance: float  # what rounding may do

    @property
    def holds(self) -> bool:
        """Whether scores and maps are those of the images alone; not if one is NaN."""
        found = self.score_difference, self.map_difference
        return all(difference <= self.tolerance for difference in found)


def predict_batch(
    detector: Detector, images: np.ndarray, fabric: Fabric, seed: int = 0
) -> Prediction:
    """Predict uint8 images [B,3,H,W]; the same seed gives the same scores."""
    detector.eval()

    def predict(rows: slice) -> Prediction:
        pixels = as_pixels(images[rows], fabric)
        generator = torch.Generator().manual_seed(seed)  # the same numbers on every device
        with torch.inference_mode(), fabric.autocast():
            return detector.predict(pixels, generator)

    return halving(predict, slice(0, len(images)))


def halving(predict: Callable[[slice], Told], rows: slice) -> Told:
    """`predict(rows)`; where the device's memory runs out, half of the rows at a time."""
    count = rows.stop - rows.start
    try:
        return predict(rows)
    except RuntimeError as error:
        if count == 1 or not is_out_of_memory(error):
            raise
    # Not in the handler: there what the call has computed so far would still take memory.
    _tell_halves(count)
    middle = rows.start + count // 2
    halves = slice(rows.start, middle), slice(middle, rows.stop)
    first, second = (halving(predict, half) for half in halves)
    assert first is not None and second is not None
    return cast(Told, joined(first, second))


def is_out_of_memory(error: Exception) -> bool:
    """Of the device, also where a library below PyTorch ran out of it."""
    phrases = "out of memory", "not enough memory", "alloc_failed", "unable to find an engine"
    is_told = any(phrase in str(error).lower() for phrase in phrases)
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and is_told
    )


@cache
def _tell_halves(count: int) -> None:
    """Once for a number of images."""
    print(
        f"the device's memory ran out with {count} images at once: half of them at a time; "
        "a lower eval_batch_size is faster"
    )


def as_pixels(images: np.ndarray, fabric: Fabric) -> Tensor:
    """uint8 [B,3,H,W] as float32 in [0,1] on the device; DiffadError for another type."""
    if images.dtype != np.uint8:
        raise DiffadError(f"images are {images.dtype}; give uint8, 0 to 255")
    return torch.from_numpy(np.array(images)).to(fabric.device).float() / 255


def predict_all(
    detector: Detector, images: np.ndarray, fabric: Fabric, batch_size: int = 16, seed: int = 0
) -> SetPrediction:
    """Predict uint8 images [N,3,H,W]; scores repeat and do not depend on the batch size.

    A long prediction prints from time to time how far it is.
    """
    scores, maps = room(images)
    started = time.perf_counter()
    for rows in in_batches(len(images), batch_size):
        prediction = predict_batch(detector, images[rows], fabric, seed)
        keep(prediction, rows, scores, maps)
    return SetPrediction(scores, maps, time.perf_counter() - started)


def room(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N] and maps [N,H,W] of images [N,3,H,W], to be filled: the memory of one result."""
    return np.empty(len(images), np.float32), np.empty((len(images), *images.shape[2:]), np.float32)


def keep(prediction: Prediction, rows: slice, scores: np.ndarray, maps: np.ndarray) -> None:
    """Put what was predicted for some rows where it belongs."""
    scores[rows] = prediction.image_score.float().cpu().numpy()
    maps[rows] = prediction.anomaly_map[:, 0].float().cpu().numpy()


def in_batches(count: int, batch_size: int) -> Iterator[slice]:
    """The rows of each batch; a line from time to time on how many images are done."""
    started, told_at = time.monotonic(), next_line(0)
    for start in range(0, count, batch_size):
        seconds = time.monotonic() - started
        if start and seconds >= told_at:
            told_at = next_line(seconds)
            left = seconds * (count - start) / start
            print(f"image {start}/{count}  {start / seconds:.1f} images/s  {left:.0f} s left")
        yield slice(start, start + batch_size)


def measure_invariance(
    detector: Detector, images: np.ndarray, fabric: Fabric, whole: SetPrediction, seed: int = 0
) -> Invariance:
    """Predict a few of the images alone, in pairs and all at once, in reverse order.

    images: uint8 [N,3,H,W]; whole: what `predict_all` gave for them with the same seed.
    """
    rows = np.unique(np.linspace(0, len(images) - 1, _LOOKED_AT).astype(int))[::-1]
    tries = [predict_all(detector, images[rows], fabric, size, seed) for size in (1, 2, len(rows))]
    full = fabric.device.type == "cpu" and fabric.strategy.precision.precision.startswith("32")
    return Invariance(
        len(rows),
        _share([one.image_scores for one in tries], whole.image_scores, rows),
        _share([one.anomaly_maps for one in tries], whole.anomaly_maps, rows),
        _ROUNDING if full else _COARSE_ROUNDING,
    )


def _share(tries: list[np.ndarray], whole: np.ndarray, rows: np.ndarray) -> float:
    """The largest difference of outputs for the rows, as a share of the largest of all."""
    difference = np.abs(np.stack(tries) - whole[rows]).max()
    return float(difference) / (float(np.abs(whole).max()) or 1.0)
