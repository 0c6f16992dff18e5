"""Exercises of notebook 00: image scores, thresholds, AUROC."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Function, Mistake
from diffad_lib.scores import threshold_for

# 00.1: the highest average in a window


def windowed_maximum(anomaly_map: Tensor, window: int) -> Tensor:
    """max over the map of the mean over window × window pixels, with zeros around the map."""
    return _averaged(anomaly_map, window).flatten(1).amax(dim=1)


def _averaged(anomaly_map: Tensor, window: int, **options: bool) -> Tensor:
    return F.avg_pool2d(anomaly_map, window, stride=1, padding=window // 2, **options)


def _tiles(anomaly_map: Tensor, window: int) -> Tensor:
    padded = F.avg_pool2d(anomaly_map, window, padding=window // 2)
    return padded.flatten(1).amax(dim=1)


def _bordered(mode: str) -> Function:
    """`windowed_maximum` with another border."""

    def wrong(anomaly_map: Tensor, window: int) -> Tensor:
        padded = F.pad(anomaly_map, (window // 2,) * 4, mode)
        return F.avg_pool2d(padded, window, stride=1).flatten(1).amax(dim=1)

    return wrong


def _highest_pixels(anomaly_map: Tensor, window: int) -> Tensor:
    return anomaly_map.flatten(1).topk(window**2, dim=1).values.mean(dim=1)


def _maps(generator: torch.Generator) -> list[Arguments]:
    """Bright spots in a corner, at a border and inside.

    One map is lower than the window: there, windows that stay inside do not exist.
    """
    small = torch.tensor([[0.9, 0.9, 0.0], [0.9, 0.9, 0.0], [0.0, 0.0, 0.0]]).reshape(1, 1, 3, 3)
    cases: list[Arguments] = [(small, 3)]
    for size, window in ((12, 3), (16, 5), (20, 7)):
        anomaly_map = 0.3 * torch.rand(4, 1, size, size, generator=generator)
        for image, (row, column) in enumerate(((0, 0), (0, size // 2), (size // 2, size // 3))):
            anomaly_map[image, 0, row : row + 3, column : column + 4] += 0.6
        cases.append((anomaly_map, window))
    return [*cases, (torch.rand(3, 1, 2, 5, generator=generator), 3)]


_SCORE = Exercise(
    "00.1",
    windowed_maximum,
    _maps,
    (
        Mistake(
            "that is the highest single pixel: the average over a window comes first.",
            lambda m, window: m.flatten(1).amax(dim=1),
        ),
        Mistake(
            "that is the mean of the whole map; small defects vanish in it.",
            lambda m, window: m.flatten(1).mean(dim=1),
        ),
        Mistake(
            "that is the mean over all windows; the highest is wanted.",
            lambda m, window: _averaged(m, window).flatten(1).mean(dim=1),
        ),
        Mistake(
            "the highest pixels may lie anywhere in yours; those of a window lie together.",
            _highest_pixels,
        ),
        Mistake(
            "your windows do not overlap: there is one centred at every pixel (stride 1).",
            _tiles,
        ),
        Mistake(
            "at the border you divide by the pixels inside; those outside count as 0.",
            lambda m, window: _averaged(m, window, count_include_pad=False).flatten(1).amax(dim=1),
        ),
        Mistake(
            "the border is repeated outward in yours; pixels outside the map count as 0.",
            _bordered("replicate"),
        ),
        Mistake(
            "the border is mirrored in yours; pixels outside the map count as 0.",
            _bordered("reflect"),
        ),
        Mistake(
            "that is the sum over a window; divide by its number of pixels.",
            lambda m, window: windowed_maximum(m, window) * window**2,
        ),
        Mistake(
            "sum over a row of the window only? divide by window², not by window.",
            lambda m, window: windowed_maximum(m, window) * window,
        ),
        Mistake(
            "all images get the score of the worst one: take the maximum per image.",
            lambda m, window: windowed_maximum(m, window).amax().expand(len(m)),
        ),
        Mistake(
            "that is the lowest average; anomalies are bright.",
            lambda m, window: _averaged(m, window).flatten(1).amin(dim=1),
        ),
    ),
)

# 00.2: a threshold for a rate of false alarms


def _from_the_top(scores: Tensor, place: int) -> float:
    """The score at a place of the descending order, from 0; the last one if there are fewer."""
    return scores.sort(descending=True).values[min(place, len(scores) - 1)].item()


def _from_the_bottom(good_scores: Tensor, rate: float) -> float:
    return good_scores.sort().values[math.floor(rate * len(good_scores))].item()


def _unsorted(good_scores: Tensor, rate: float) -> float:
    return good_scores[math.floor(rate * len(good_scores))].item()


def _good_scores(generator: torch.Generator) -> list[Arguments]:
    """Shares that leave a whole number of images and shares that do not; none at all; ties."""
    cases: list[Arguments] = [(torch.tensor([0.2, 0.5, 0.1, 0.4]), 0.25)]
    for count, rate in ((40, 0.125), (37, 0.1), (25, 0.0), (30, 0.31), (18, 0.2), (20, 0.37)):
        cases.append((torch.rand(count, generator=generator), rate))
    return [*cases, ((torch.rand(30, generator=generator) * 10).round() / 10, 0.25)]


_THRESHOLD = Exercise(
    "00.2",
    threshold_for,
    _good_scores,
    (
        Mistake(
            "yours rejects the share 1 - rate: count from the highest score down.",
            _from_the_bottom,
        ),
        Mistake(
            "one image too few is rejected: the threshold itself is not above the threshold.",
            lambda s, rate: _from_the_top(s, max(math.floor(rate * len(s)) - 1, 0)),
        ),
        Mistake(
            "one image too many is rejected: at most the share `rate` may lie above.",
            lambda s, rate: _from_the_top(s, math.floor(rate * len(s)) + 1),
        ),
        Mistake(
            "rate · N is rounded up in effect; at most so many may lie above, so round it down.",
            lambda s, rate: _from_the_top(s, math.ceil(rate * len(s))),
        ),
        Mistake(
            "rounded to the nearest: that is more than the share `rate` at times, so round down.",
            lambda s, rate: _from_the_top(s, round(rate * len(s))),
        ),
        Mistake(
            "a quantile lies between two scores; one of the given scores is wanted.",
            lambda s, rate: s.quantile(1 - rate).item(),
        ),
        Mistake("sort first: the scores come without order.", _unsorted),
        Mistake(
            "equal scores count once in yours; each is an image of its own.",
            lambda s, rate: _from_the_top(s.unique(), math.floor(rate * len(s))),
        ),
        Mistake(
            "that is a share of the highest score; count images, the scale has no meaning.",
            lambda s, rate: (1 - rate) * s.max().item(),
        ),
        Mistake(
            "the highest good score rejects none; the rate allows some.",
            lambda s, rate: s.max().item(),
        ),
    ),
)

# 00.3: AUROC


def auroc_by_counting(scores: Tensor, labels: Tensor) -> float:
    """The share of (defective, good) pairs in the right order; a tie counts as half."""
    return _share_of_pairs(scores, labels, lambda bad, good: (bad > good) + 0.5 * (bad == good))


def _share_of_pairs(
    scores: Tensor, labels: Tensor, worth: Callable[[Tensor, Tensor], Tensor]
) -> float:
    bad, good = scores[labels == 1], scores[labels == 0]
    return worth(bad[:, None], good[None]).double().mean().item()  # [bad,good] -> []


def _worth(worth: Callable[[Tensor, Tensor], Tensor]) -> Function:
    """`auroc_by_counting` with another worth of a pair."""
    return lambda scores, labels: _share_of_pairs(scores, labels, worth)


def _over_all_pairs(scores: Tensor, labels: Tensor) -> float:
    bad = int(labels.sum())
    return auroc_by_counting(scores, labels) * bad * (len(labels) - bad) / len(labels) ** 2


def _in_the_order_of_the_images(scores: Tensor, labels: Tensor) -> float:
    bad, good = scores[labels == 1], scores[labels == 0]
    count = min(len(bad), len(good))
    bad, good = bad[:count], good[:count]
    return ((bad > good) + 0.5 * (bad == good)).double().mean().item()


def _right_at_a_half(scores: Tensor, labels: Tensor) -> float:
    return ((scores > 0.5) == (labels == 1)).double().mean().item()


def _difference_of_means(scores: Tensor, labels: Tensor) -> float:
    return (scores[labels == 1].mean() - scores[labels == 0].mean()).item()


def _scored(generator: torch.Generator) -> list[Arguments]:
    """Rounded scores, so that there are ties; a detector in the last case that is misled."""
    cases: list[Arguments] = [
        (torch.tensor([0.1, 0.4, 0.4, 0.9, 0.3]), torch.tensor([0, 0, 1, 1, 1]))
    ]
    for count, share, effect in ((30, 0.3, 0.3), (41, 0.7, 0.3), (24, 0.5, -0.3)):
        labels = (torch.rand(count, generator=generator) < share).long()
        scores = torch.rand(count, generator=generator) + effect * labels
        cases.append(((scores * 10).round() / 10, labels))
    return cases


_AUROC = Exercise(
    "00.3",
    auroc_by_counting,
    _scored,
    (
        Mistake("ties count as nothing in yours; they count as half.", _worth(torch.gt)),
        Mistake("ties count in full in yours; they count as half.", _worth(torch.ge)),
        Mistake(
            "the other way round: the defective image should have the higher score.",
            lambda *given: 1 - auroc_by_counting(*given),
        ),
        Mistake(
            "that is the number of pairs; divide by how many pairs there are.",
            lambda scores, labels: (
                auroc_by_counting(scores, labels) * int(labels.sum()) * int((1 - labels).sum())
            ),
        ),
        Mistake(
            "you divide by all pairs of images; only defective-good pairs count.",
            _over_all_pairs,
        ),
        Mistake(
            "each image is compared with one other; compare it with all of the other kind.",
            _in_the_order_of_the_images,
        ),
        Mistake(
            "that is the share of right decisions at a threshold of 0.5; AUROC has no threshold.",
            _right_at_a_half,
        ),
        Mistake(
            "a difference of means depends on the scale of the scores; compare pair by pair.",
            _difference_of_means,
        ),
    ),
)

EXERCISES = (_SCORE, _THRESHOLD, _AUROC)
