"""Exercises of notebook 07, the segmentation head."""

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Mistake

# 07.1: 1 - SSIM of two flat patches

_C1, _C2 = 0.01**2, 0.03**2


def flat_residual(a: Tensor, b: Tensor) -> Tensor:
    """1 - (2ab + c1) / (a² + b² + c1): without variance the second factor is c2 / c2."""
    return 1 - _luminance(a, b)


def _luminance(a: Tensor, b: Tensor, c: float = _C1) -> Tensor:
    return (2 * a * b + c) / (a**2 + b**2 + c)


def _grey_values(generator: torch.Generator) -> list[Arguments]:
    pairs = [torch.tensor([[0.0, 0.5, 0.5], [0.1, 0.5, 1.0]], dtype=torch.float64)]
    pairs += [torch.rand(2, n, generator=generator).double() for n in (1, 20)]
    return [(a, b) for a, b in pairs]


_FLAT = Exercise(
    "07.1",
    flat_residual,
    _grey_values,
    (
        Mistake("that is SSIM; the residual is one minus it.", _luminance),
        Mistake(
            "c₁ is missing: without it two black patches give 0/0, and dark ones too much.",
            lambda a, b: 1 - _luminance(a, b, 0.0),
        ),
        Mistake(
            "c₂ stands where c₁ belongs: c₂ is the constant of the contrast.",
            lambda a, b: 1 - _luminance(a, b, _C2),
        ),
        Mistake(
            "c₁ is 0.01 squared, not 0.01.",
            lambda a, b: 1 - _luminance(a, b, 0.01),
        ),
        Mistake(
            "a factor 2 is missing above the line: equal patches must give 0.",
            lambda a, b: 1 - (a * b + _C1) / (a**2 + b**2 + _C1),
        ),
        Mistake(
            "that is 1 everywhere: the second factor is not 0, but c₂/c₂ where variances are 0.",
            lambda a, b: torch.ones_like(a),
        ),
        Mistake("that is the plain residual |a - b|.", lambda a, b: (a - b).abs()),
        Mistake(
            "the sum of a and b is squared; each is squared by itself.",
            lambda a, b: 1 - (2 * a * b + _C1) / ((a + b) ** 2 + _C1),
        ),
        Mistake(
            "halved: that is structural dissimilarity, (1 - SSIM)/2.",
            lambda a, b: flat_residual(a, b) / 2,
        ),
    ),
)

# 07.2: the share of the focal loss that the anomalous pixels make


def anomalous_loss_share(anomalous: Tensor, mask: Tensor, gamma: float) -> float:
    """Sum over anomalous pixels of -(1-p)^γ log p over its sum over all pixels."""
    loss = _focal(_right(anomalous, mask), gamma)
    return ((loss * mask).sum() / loss.sum()).item()


def _focal(p: Tensor, gamma: float) -> Tensor:
    return -((1 - p) ** gamma) * p.log()


def _right(anomalous: Tensor, mask: Tensor) -> Tensor:
    return mask * anomalous + (1 - mask) * (1 - anomalous)


def _weighted_share(weight: Tensor, mask: Tensor) -> float:
    return ((weight * mask).sum() / weight.sum()).item()


def _mean_over_mean(anomalous: Tensor, mask: Tensor, gamma: float) -> float:
    loss = _focal(_right(anomalous, mask), gamma)
    inside, outside = (loss * mask).sum() / mask.sum(), (loss * (1 - mask)).sum() / (1 - mask).sum()
    return (inside / (inside + outside)).item()


def _anomalous_over_normal(anomalous: Tensor, mask: Tensor, gamma: float) -> float:
    loss = _focal(_right(anomalous, mask), gamma)
    return ((loss * mask).sum() / (loss * (1 - mask)).sum()).item()


def _mean_of_image_shares(anomalous: Tensor, mask: Tensor, gamma: float) -> float:
    loss = _focal(_right(anomalous, mask), gamma)
    return ((loss * mask).flatten(1).sum(dim=1) / loss.flatten(1).sum(dim=1)).mean().item()


def _probabilities(generator: torch.Generator) -> list[Arguments]:
    """Most pixels normal; the masks of a batch differ in size."""
    small = torch.tensor([[0.5, 0.1], [0.1, 0.2]]).reshape(1, 1, 2, 2)
    cases: list[Arguments] = [(small, (small == 0.5).float(), 2.0)]
    for batch, gamma in ((2, 0.0), (3, 2.0), (4, 4.0)):
        shares = torch.linspace(0.1, 0.5, batch).reshape(-1, 1, 1, 1)
        mask = (torch.rand(batch, 1, 8, 8, generator=generator) < shares).float()
        noise = torch.randn(batch, 1, 8, 8, generator=generator)
        cases.append((torch.sigmoid(2 * mask - 1.5 + noise), mask, gamma))
    return cases


_SHARE = Exercise(
    "07.2",
    anomalous_loss_share,
    _probabilities,
    (
        Mistake(
            "p is the probability of the right class: of a normal pixel it is 1 - anomalous.",
            lambda a, m, g: _weighted_share(_focal(a, g), m),
        ),
        Mistake(
            "that is the cross-entropy: the factor (1 - p)^γ is missing.",
            lambda a, m, g: anomalous_loss_share(a, m, 0.0),
        ),
        Mistake(
            "p^γ stands where (1 - p)^γ belongs: easy pixels are turned up, not down.",
            lambda a, m, g: _weighted_share(-(_right(a, m) ** g) * _right(a, m).log(), m),
        ),
        Mistake(
            "the exponent is fixed at 2; use gamma.",
            lambda a, m, g: anomalous_loss_share(a, m, 2.0),
        ),
        Mistake(
            "means of the two classes are compared; the loss adds up pixels, so take sums.",
            _mean_over_mean,
        ),
        Mistake(
            "divided by the loss of the normal pixels; the whole loss belongs below the line.",
            _anomalous_over_normal,
        ),
        Mistake(
            "a mean over images: take one sum over the batch above and one below the line.",
            _mean_of_image_shares,
        ),
        Mistake(
            "that is the share of the normal pixels.",
            lambda a, m, g: 1 - anomalous_loss_share(a, m, g),
        ),
        Mistake(
            "the logarithm is missing: only the factor (1 - p)^γ was added up.",
            lambda a, m, g: _weighted_share((1 - _right(a, m)) ** g, m),
        ),
        Mistake(
            "that is the share of the pixels; their losses are not used.",
            lambda a, m, g: m.mean().item(),
        ),
    ),
)

# 07.3: per-region overlap at one threshold


def region_overlap(scores: Tensor, regions: Tensor, threshold: float) -> float:
    """Mean over the regions of the share of their pixels at or above the threshold."""
    marked = (scores >= threshold).double()
    return _mean([marked[regions == n].mean() for n in _numbers(regions)])


def _numbers(regions: Tensor) -> list[int]:
    return [n for n in regions.unique().tolist() if n > 0]


def _mean(values: list[Tensor]) -> float:
    return torch.stack(values).mean().item()


def _with_background(scores: Tensor, regions: Tensor, threshold: float) -> float:
    marked = (scores >= threshold).double()
    return _mean([marked[regions == n].mean() for n in regions.unique().tolist()])


def _any_hit(scores: Tensor, regions: Tensor, threshold: float) -> float:
    return _mean([(scores[regions == n] >= threshold).any().double() for n in _numbers(regions)])


def _mean_iou(scores: Tensor, regions: Tensor, threshold: float) -> float:
    marked = scores >= threshold
    pairs = [(marked & (regions == n), marked | (regions == n)) for n in _numbers(regions)]
    return _mean([both.sum().double() / either.sum() for both, either in pairs])


def _precision(scores: Tensor, regions: Tensor, threshold: float) -> float:
    marked = scores >= threshold
    return (regions[marked] > 0).double().mean().nan_to_num(0).item()


def _label_maps(generator: torch.Generator) -> list[Arguments]:
    """Regions of unlike size, and scores that equal the threshold."""
    regions = torch.tensor([[1, 1, 1], [0, 0, 0], [0, 0, 2]])
    scores = torch.tensor([[0.9, 0.5, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.3]], dtype=torch.float64)
    cases: list[Arguments] = [(scores, regions, 0.5)]
    for sides in ((9, 4, 2), (8, 5, 3, 2)):
        regions = torch.zeros(16, 16, dtype=torch.int64)
        for number, side in enumerate(sides, start=1):
            row, column = torch.randint(0, 16 - side, (2,), generator=generator).tolist()
            regions[row : row + side, column : column + side] = number
        noise = torch.randn(16, 16, generator=generator).double()
        cases.append(((noise + 0.4 * regions).round(decimals=1), regions, 0.6))
    return cases


_OVERLAP = Exercise(
    "07.3",
    region_overlap,
    _label_maps,
    (
        Mistake(
            "that is the recall of all pixels: a large region drowns a small one. One vote each.",
            lambda s, r, t: (s[r > 0] >= t).double().mean().item(),
        ),
        Mistake("0 is the background and no region: leave it out.", _with_background),
        Mistake(
            "the last region is missing: a range ends before its end.",
            lambda s, r, t: region_overlap(s, torch.where(r == r.max(), 0, r), t),
        ),
        Mistake("a region counts by its marked share, not as found or missed.", _any_hit),
        Mistake(
            "intersection over union; the overlap is divided by the region's area alone.",
            _mean_iou,
        ),
        Mistake("that is precision: the marked pixels that lie in a region.", _precision),
        Mistake(
            "a score equal to the threshold marks its pixel: >= and not >.",
            lambda s, r, t: region_overlap(s, r, t + 1e-9),
        ),
        Mistake(
            "that is the share of each region that stays unmarked.",
            lambda s, r, t: 1 - region_overlap(s, r, t),
        ),
        Mistake(
            "all marked pixels of the image are counted; the regions are not used.",
            lambda s, r, t: (s >= t).double().mean().item(),
        ),
    ),
)

EXERCISES = (_FLAT, _SHARE, _OVERLAP)
