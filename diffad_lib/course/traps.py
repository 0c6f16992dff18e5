"""The field's errors, each a function that makes it on purpose, and how an effect is measured.

Chapter 10 and tools/traps.py show what they cost. Nothing else in the library calls them: what is
right is a function of the library, beside which a trap stands in the chapter. "DRAEM" and
"DiffusionAD" are VitjanZ/DRAEM at 2dbf673 and HuiZhang0812/DiffusionAD at 8a64c03.
"""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffad_lib.datasets.regions import whole_regions
from diffad_lib.detector import Detector
from diffad_lib.diffusion.process import NoisePredictor
from diffad_lib.diffusion.schedule import Schedule
from diffad_lib.methods.diffusionad.detector import DiffusionAD
from diffad_lib.metrics import aupro
from diffad_lib.metrics.curves import Floats, region_shares
from diffad_lib.metrics.intervals import draw_images
from diffad_lib.synthesis.synthesizer import NormalSettings, Synthesizer
from diffad_lib.types import TrainingBatch

Figure = Callable[[NDArray], float]
"""A figure of the test images whose numbers [M] are given, some of them more than once."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Effect(NamedTuple):
    """A figure as it should be and as a trap gives it, on one test set."""

    right: float
    wrong: float
    low: float  # of wrong - right, the 95 % interval over test images
    high: float

    @property
    def change(self) -> float:
        return self.wrong - self.right


def effect(
    right: Figure, wrong: Figure, labels: NDArray, samples: int = 200, seed: int = 0
) -> Effect:
    """The effect of one trap, as `effects`."""
    return effects(right, [wrong], labels, samples, seed)[0]


def effects(
    right: Figure, wrongs: Sequence[Figure], labels: NDArray, samples: int = 200, seed: int = 0
) -> list[Effect]:
    """The effects of traps with paired intervals: all figures on the same resampled images.

    labels [N] in {0,1}: normal and defective images are drawn separately, so that each resample
    has as many of each as the test set.
    """
    drawn = draw_images(labels > 0, samples, np.random.default_rng(seed)).astype(int)
    found = []
    for counts in (np.ones_like(labels), *drawn):  # first the test set itself
        rows = np.repeat(np.arange(len(labels)), counts)
        found.append([right(rows), *(wrong(rows) for wrong in wrongs)])
    of_all, *resampled = np.array(found)
    changes = np.array(resampled)[:, 1:] - np.array(resampled)[:, :1]
    ends = np.percentile(changes, [2.5, 97.5], axis=0).T.tolist()
    return [
        Effect(float(of_all[0]), float(value), *end)
        for value, end in zip(of_all[1:], ends, strict=True)
    ]


# Images and batches of the training


def imagenet_normalised(images: Tensor) -> Tensor:
    """RGB images [B,3,H,W] in [0,1], less ImageNet's mean, over its standard deviation."""
    mean, std = (torch.tensor(one).reshape(3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std


def normalise_then_paste(
    synthesizer: Synthesizer, images: Tensor, foreground: Tensor | None, generator: torch.Generator
) -> TrainingBatch:
    """Anomalies in [0,1] on images that are ImageNet-normalised already.

    anomalib's DRAEM did so (open-edge-platform/anomalib, pull request 1431). The last three
    arguments are those of a `Synthesizer`; this one must not turn normal images.
    """
    how = synthesizer.settings
    if how is None or how.rotation_probability > 0:
        raise ValueError("give a synthesizer of anomalies that turns no image")
    if how.lighting > 0:  # it clamps to [0,1], so it comes before
        relit = Synthesizer(synthesizer.textures, NormalSettings(lighting=how.lighting))
        images = relit(images, None, generator).normal
    paste = Synthesizer(synthesizer.textures, how.but(lighting=0.0), synthesizer.kind)
    return paste(imagenet_normalised(images), foreground, generator)


def paste_then_normalise(
    synthesizer: Synthesizer, images: Tensor, foreground: Tensor | None, generator: torch.Generator
) -> TrainingBatch:
    """No trap, but its control: the image and its anomaly are normalised together."""
    batch = synthesizer(images, foreground, generator)
    normal, image = imagenet_normalised(batch.normal), imagenet_normalised(batch.image)
    return TrainingBatch(normal, image, batch.mask, generator)


def empty_mean(errors: Tensor, is_normal: Tensor) -> Tensor:
    """Mean of errors [B] where is_normal [B]: NaN where no image is (DiffusionAD #29)."""
    return errors[is_normal].mean()


def zero_over_zero(errors: Tensor, is_normal: Tensor) -> Tensor:
    """The same mean, as a weighted sum over the sum of the weights."""
    return (errors * is_normal).sum() / is_normal.sum()


# Masks


def cut_mask(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A mask [H,W] in {0,1} at size × size: resized as an image, then cut at one half.

    Its regions have to be found anew: a thin one may be torn into several, or vanish.
    """
    grey = cv2.resize(mask.astype(np.float32), (size, size))
    return (grey > 0.5).astype(np.uint8)


# The test set


def with_known(
    scores: NDArray, labels: NDArray, known: NDArray, count: int, rng: np.random.Generator
) -> NDArray:
    """Scores [N] of a test set in which `count` of the normal images are training images.

    known [M]: scores of the training images.
    """
    dirty, normal = scores.copy(), np.flatnonzero(labels == 0)
    dirty[rng.choice(normal, count, replace=False)] = rng.choice(known, count, replace=False)
    return dirty


def mislabelled(labels: NDArray, count: int, rng: np.random.Generator) -> NDArray:
    """Labels [N] in {0,1} in which `count` of the defective images are called normal."""
    dirty = labels.copy()
    dirty[rng.choice(np.flatnonzero(labels == 1), count, replace=False)] = 0
    return dirty


# Scores


def minmax(scores: NDArray, batch_size: int) -> NDArray:
    """Scores [N] brought to [0,1] in each batch by its own lowest and highest.

    A coarser form of arimousa/DDAD #20. In the order given; a batch of equal scores becomes 0.
    batch_size N: over the whole test set.
    """
    parts = np.split(scores, range(batch_size, len(scores), batch_size))
    spans = [np.ptp(part) or 1.0 for part in parts]
    return np.concatenate([(p - p.min()) / s for p, s in zip(parts, spans, strict=True)])


def tied_auroc(scores: NDArray, labels: NDArray, tie: float) -> float:
    """AUROC of scores [N] and labels [N] in {0,1} in which a tie of the two kinds counts `tie`.

    0.5 is AUROC. 1 is what a stable sort upwards gives if normal images come first in the files, 0
    if defective ones do, or if it sorts downwards.
    """
    normal, defective = scores[labels == 0], scores[labels == 1, None]
    return float(((defective > normal) + tie * (defective == normal)).mean())


# Curves


def pro_of_thresholds(maps: NDArray, masks: NDArray, count: int, rescaled: bool = True) -> float:
    """Area under the PRO curve up to 0.3 as DiffusionAD's eval.py has it, with 1000 thresholds.

    maps [N,H,W], masks [N,H,W] as `aupro`. The curve is known at `count` thresholds, evenly from
    the highest score down, and ends at the last one whose false-positive rate is below the limit.
    rescaled: that rate counts as the limit, however far below it is; else the limit does, and
    the gap adds nothing. (The holes of a region, which that code fills, are left as they are.)
    """
    high, low = float(maps.max()), float(maps.min())
    thresholds = high - (high - low) / count * np.arange(count)
    rates, overlaps = _pro_at(maps, masks, thresholds)
    limit = 0.3
    inside = rates <= limit
    rates, overlaps = rates[inside], overlaps[inside]
    span = np.ptp(rates) if rescaled else limit
    return float(np.trapezoid(overlaps, rates) / span) if span > 0 else 0.0


def _pro_at(maps: NDArray, masks: NDArray, thresholds: NDArray) -> tuple[Floats, Floats]:
    """False-positive rates and mean region overlaps of what is above each threshold."""
    marked = masks > 0
    normal, defective, shares = np.sort(maps[~marked]), maps[marked], region_shares(masks)
    order = np.argsort(defective)
    covered = np.r_[0.0, np.cumsum(shares[order])]
    below = np.searchsorted(defective[order], thresholds, side="right")
    above = normal.size - np.searchsorted(normal, thresholds, side="right")
    return above / normal.size, (covered[-1] - covered[below]) / covered[-1]


def protocols(maps: NDArray, regions: NDArray, native: Sequence[NDArray]) -> dict[str, Figure]:
    """AUPRO of one set of maps by every protocol that is in use; the first one is the library's.

    maps [N,S,S], regions [N,S,S] as `ImageStack.regions`, native: N masks [H,W] as they lie there.
    """
    size = maps.shape[-1]
    anew = (regions > 0).astype(np.uint8)
    cut = np.stack([cut_mask(mask, size) for mask in native])
    whole = np.stack([whole_regions(mask, size) for mask in native])

    def of(masks: NDArray, limit: float) -> Figure:
        return lambda rows: aupro(maps[rows], masks[rows], limit)

    def at(count: int, rescaled: bool) -> Figure:
        return lambda rows: pro_of_thresholds(maps[rows], anew[rows], count, rescaled=rescaled)

    return {
        "exact, regions of the native masks, up to 0.3": of(regions, 0.3),
        "up to 0.05": of(regions, 0.05),
        "up to 1.0": of(regions, 1.0),
        "regions found anew": of(anew, 0.3),
        "resized then cut": of(cut, 0.3),
        "cast to integers": of(whole, 0.3),
        "1000 thresholds": at(1000, True),
        "200 thresholds": at(200, True),
        "50 thresholds": at(50, True),
        "50 thresholds, not rescaled": at(50, False),
    }


# Diffusion


def late_detector(detector: DiffusionAD, late: int) -> DiffusionAD:
    """The same detector and weights, told t + late at the test."""
    other = copy.copy(detector)
    other.predict_noise = told_late(detector.predict_noise, late)  # type: ignore[assignment]
    return other


def told_late(predict_noise: NoisePredictor, late: int) -> NoisePredictor:
    """A noise predictor that is told t + late for an image at t, as where one counts from 1."""
    return lambda x_t, t: predict_noise(x_t, t + late)


def alphas_cumprod_from_1(schedule: Schedule, t: Tensor) -> Tensor:
    """alphas_cumprod at t [B] counted from 1, of t counted from 0: t = 0 is index -1, the last."""
    return schedule.alphas_cumprod[t - 1]


def predict_unseeded(
    detector: Detector, images: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Image scores [B] and maps [B,1,H,W] with noise of its own for each image, as DiffusionAD.

    Its code draws the noise of the test from a generator that nobody has seeded (DDPM.py:331). Here
    the generator is given, so that this chapter repeats; draw from it again for another run.
    """
    found = [detector.predict(image[None], generator) for image in images]
    return (
        torch.cat([one.image_score for one in found]),
        torch.cat([one.anomaly_map for one in found]),
    )
