"""The swap test: does a score need the reconstruction that it is said to come from?

The trained detector judges the test images again, each with a reconstruction that is wrong. A
figure that stays with the image itself needs no discrepancy; one that stays in every swap comes
from the image alone, whatever the reconstruction shows.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from diffad_lib.detector import Detector
from diffad_lib.evaluation import as_pixels, halving, in_batches, keep, predict_batch, room
from diffad_lib.metrics import image_auroc, pixel_ap
from diffad_lib.types import Prediction

SHIFT = 7  # "another image" is the one so many places before, the last ones of the first ones
OWN, ITSELF, ANOTHER, NOISE = "its own", "the image itself", "another image's", "noise"

Judged = tuple[slice, str, Prediction | None]  # rows, name of the reconstruction, what is said


def swap_test(
    detector: Detector,
    images: np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray,
    fabric: Fabric,
    batch_size: int = 16,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Image AUROC and pixel AP (NaN where undefined) with its own and with wrong reconstructions.

    images uint8 [N,3,H,W], labels [N], masks [N,H,W] in {0,1}. The image itself takes the
    discrepancy away: the decisive swap. Another image's says the same where the parts differ in
    pose; noise is the control. {} for a method that has no reconstruction, and for one image. It
    costs a prediction, and a call of the head for each swap.
    """
    if len(images) < 2:  # there is no other image
        return {}
    generator = torch.Generator().manual_seed(seed)

    def noise(pixels: Tensor) -> Tensor:
        return torch.rand(pixels.shape, generator=generator).to(pixels.device)

    figures: dict[str, dict[str, float]] = {}
    for judged in (
        _with_reconstructions(detector, images, fabric, batch_size, seed),
        _with(ITSELF, lambda pixels: pixels, detector, images, fabric, batch_size),
        _with(NOISE, noise, detector, images, fabric, batch_size),
    ):
        found = _figures(judged, images, labels, masks)  # which keeps no maps
        if not found:
            return {}
        figures |= found
    return {name: figures[name] for name in (OWN, ITSELF, ANOTHER, NOISE)}


def _figures(
    judged: Iterator[Judged], images: np.ndarray, labels: np.ndarray, masks: np.ndarray
) -> dict[str, dict[str, float]]:
    """Image AUROC and pixel AP by the name of the reconstruction; {} if the detector has none."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for rows, name, told in judged:
        if told is None:
            return {}
        if name not in found:
            found[name] = room(images)
        keep(told, rows, *found[name])
    return {
        name: {
            "image_auroc": _or_nan(image_auroc, scores, labels),
            "pixel_ap": _or_nan(pixel_ap, maps, masks),
        }
        for name, (scores, maps) in found.items()
    }


def _or_nan(
    metric: Callable[[np.ndarray, np.ndarray], float], found: np.ndarray, truth: np.ndarray
) -> float:
    is_defined = truth.any() and not truth.all()
    return metric(found, truth) if is_defined else np.nan


def _with_reconstructions(
    detector: Detector, images: np.ndarray, fabric: Fabric, batch_size: int, seed: int
) -> Iterator[Judged]:
    """What the detector says with its own reconstruction, and with that of another image."""
    shift = min(SHIFT, len(images) - 1)
    before = predict_batch(detector, images[-shift:], fabric, seed).reconstruction
    for rows in in_batches(len(images), batch_size):
        batch = images[rows]
        own = predict_batch(detector, batch, fabric, seed)
        if before is None or own.reconstruction is None:
            return
        yield rows, OWN, own
        pool = torch.cat([before, own.reconstruction])  # so that no more than a batch is kept
        another, before = pool[: len(batch)], pool[len(batch) :]
        yield rows, ANOTHER, _judge(detector, as_pixels(batch, fabric), another, fabric)


def _with(
    name: str,
    reconstruct: Callable[[Tensor], Tensor],
    detector: Detector,
    images: np.ndarray,
    fabric: Fabric,
    batch_size: int,
) -> Iterator[Judged]:
    """What the detector says with what `reconstruct` makes of images [B,3,H,W] in [0,1]."""
    for rows in in_batches(len(images), batch_size):
        pixels = as_pixels(images[rows], fabric)
        yield rows, name, _judge(detector, pixels, reconstruct(pixels), fabric)


def _judge(detector: Detector, images: Tensor, given: Tensor, fabric: Fabric) -> Prediction | None:
    def judge(rows: slice) -> Prediction | None:
        with torch.inference_mode(), fabric.autocast():
            return detector.judge(images[rows], given[rows])

    return halving(judge, slice(0, len(images)))
