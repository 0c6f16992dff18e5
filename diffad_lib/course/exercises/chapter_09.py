"""Exercises of notebook 09, comparing results."""

import math

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Mistake
from diffad_lib.course.exercises.slips import given

# 09.1: how far the mean over seeds may be off


def seed_interval(values: Tensor, t: float) -> Tensor:
    """Low and high end, [2], of mean ∓ t · s / √S for figures of S seeds."""
    return _ends(values, t * values.std() / len(values) ** 0.5)


def _ends(values: Tensor, width: Tensor) -> Tensor:
    return torch.stack([values.mean() - width, values.mean() + width])


def _figures(generator: torch.Generator) -> list[Arguments]:
    """Figures of a few seeds, with the 97.5 % quantile of Student's t for so many."""
    cases: list[Arguments] = [(torch.tensor([0.7, 0.8, 0.9], dtype=torch.float64), 4.303)]
    for count, t in ((2, 12.706), (5, 2.776), (10, 2.262)):
        cases.append((0.5 + 0.3 * torch.rand(count, generator=generator).double(), t))
    return cases


_INTERVAL = Exercise(
    "09.1",
    seed_interval,
    _figures,
    (
        Mistake(
            "s divides by S; a spread around a mean of the same values divides by S - 1.",
            lambda v, t: _ends(v, t * v.std(correction=0) / len(v) ** 0.5),
        ),
        Mistake(
            "√S is missing: that is how far one more seed may be, not the mean of S.",
            lambda v, t: _ends(v, t * v.std()),
        ),
        Mistake(
            "divided by S; the spread of a mean shrinks with √S.",
            lambda v, t: _ends(v, t * v.std() / len(v)),
        ),
        Mistake(
            "1.96 is for many seeds; for a few use t, which is larger.",
            given(seed_interval, t=lambda t: 1.96),
        ),
        Mistake(
            "the variance stands where its root belongs.",
            lambda v, t: _ends(v, t * v.var() / len(v) ** 0.5),
        ),
        Mistake(
            "those are the lowest and the highest figure; the next seed may lie outside.",
            lambda v, t: torch.stack([v.min(), v.max()]),
        ),
        Mistake("high stands first; low, then high.", lambda v, t: seed_interval(v, t).flip(0)),
    ),
)

# 09.2: the same images for both


def paired_differences(scores_a: Tensor, scores_b: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
    """AUROC of a minus that of b on each row of drawn images, float64 [R]; ties count half."""
    rows = [
        _auroc(scores_a[row], labels[row]) - _auroc(scores_b[row], labels[row]) for row in draws
    ]
    return torch.stack(rows)


def _auroc(scores: Tensor, labels: Tensor, tie: float = 0.5) -> Tensor:
    gap = scores[labels == 1][:, None] - scores[labels == 0][None]
    return ((gap > 0).double() + tie * (gap == 0).double()).mean()


def _with_ties(
    scores_a: Tensor, scores_b: Tensor, labels: Tensor, draws: Tensor, tie: float
) -> Tensor:
    rows = [
        _auroc(scores_a[row], labels[row], tie) - _auroc(scores_b[row], labels[row], tie)
        for row in draws
    ]
    return torch.stack(rows)


def _one_side(scores_a: Tensor, scores_b: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
    fixed = _auroc(scores_b, labels)
    return torch.stack([_auroc(scores_a[row], labels[row]) - fixed for row in draws])


def _labels_in_place(scores_a: Tensor, scores_b: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
    return torch.stack([_auroc(scores_a[r], labels) - _auroc(scores_b[r], labels) for r in draws])


def _once_each(scores_a: Tensor, scores_b: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
    return torch.cat(
        [paired_differences(scores_a, scores_b, labels, r.unique()[None]) for r in draws]
    )


def _shifted(scores_a: Tensor, scores_b: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
    others = draws.roll(1, 0)
    a = torch.stack([_auroc(scores_a[row], labels[row]) for row in draws])
    return a - torch.stack([_auroc(scores_b[row], labels[row]) for row in others])


def _two_score_lists(generator: torch.Generator) -> list[Arguments]:
    """Scores with ties, and draws that hold both classes, some images twice."""
    labels = torch.tensor([1, 1, 0, 0])
    a = torch.tensor([0.9, 0.4, 0.4, 0.1], dtype=torch.float64)
    b = torch.tensor([0.6, 0.2, 0.5, 0.2], dtype=torch.float64)
    draws = torch.tensor([[0, 1, 2, 3], [1, 1, 2, 3], [0, 1, 2, 2]])
    cases: list[Arguments] = [(a, b, labels, draws)]
    for count in (10, 16):
        labels = (torch.arange(count) % 3 == 0).long()
        noise = torch.randn(2, count, generator=generator).double()
        a, b = (noise + labels * torch.tensor([[1.5], [0.5]])).round(decimals=0)
        halves = [torch.where(labels == kind)[0] for kind in (1, 0)]
        picks = [
            half[torch.randint(len(half), (6, len(half)), generator=generator)] for half in halves
        ]
        cases.append((a, b, labels, torch.cat(picks, dim=1)))
    # Plain draws: how many there are of each kind differs from row to row, in any order.
    rows = torch.randint(len(labels), (40, len(labels)), generator=generator)
    positives = labels[rows].sum(dim=1)
    cases.append((a, b, labels, rows[(positives > 0) & (positives < len(labels))][:6]))
    return cases


_PAIRED = Exercise(
    "09.2",
    paired_differences,
    _two_score_lists,
    (
        Mistake(
            "only a is drawn again: b has to be judged on the same images.",
            _one_side,
        ),
        Mistake("a and b are judged on different draws; pair them.", _shifted),
        Mistake("the labels stay where they were: they belong to the images.", _labels_in_place),
        Mistake(
            "an image that is drawn twice counts twice; yours counts once.",
            _once_each,
        ),
        Mistake("a tie counts half; yours counts 0.", lambda a, b, n, d: _with_ties(a, b, n, d, 0)),
        Mistake("a tie counts half; yours counts 1.", lambda a, b, n, d: _with_ties(a, b, n, d, 1)),
        Mistake("that is b minus a.", lambda a, b, n, d: -paired_differences(a, b, n, d)),
        Mistake(
            "that is the AUROC of a alone.",
            lambda a, b, n, d: torch.stack([_auroc(a[row], n[row]) for row in d]),
        ),
    ),
)

# 09.3: how many seeds it takes

_FOUND_4_OF_5 = 1.96 + 0.84


def seeds_needed(difference: float, spread_a: float, spread_b: float) -> int:
    """Smallest n, at least 2, with |difference| ≥ 2.8 · √((a² + b²) / n)."""
    return _at_least_2(_seeds(difference, spread_a**2 + spread_b**2))


def _seeds(difference: float, variance: float, factor: float = _FOUND_4_OF_5) -> float:
    return factor**2 * variance / difference**2


def _at_least_2(count: float) -> int:
    return max(2, math.ceil(count))


def _plans(generator: torch.Generator) -> list[Arguments]:
    """No count is near a whole number, where rounding would decide."""
    cases: list[Arguments] = [(0.1, 0.1, 0.05), (-0.05, 0.06, 0.03), (0.5, 0.1, 0.1)]
    while len(cases) < 8:
        difference, a, b = (0.02 + 0.1 * torch.rand(3, generator=generator)).tolist()
        if 0.1 < _seeds(difference, a**2 + b**2) % 1 < 0.9:
            cases.append((difference, a, b))
    return cases


_NEEDED = Exercise(
    "09.3",
    seeds_needed,
    _plans,
    (
        Mistake(
            "rounded down: with one seed less the difference is not reached.",
            lambda d, a, b: max(2, math.floor(_seeds(d, a**2 + b**2))),
        ),
        Mistake(
            "only one side's spread counts; both sides are trained n times.",
            lambda d, a, b: _at_least_2(_seeds(d, a**2)),
        ),
        Mistake(
            "spreads of independent sides add as squares: a² + b², not (a + b)².",
            lambda d, a, b: _at_least_2(_seeds(d, (a + b) ** 2)),
        ),
        Mistake(
            "the mean of the variances stands where their sum belongs.",
            lambda d, a, b: _at_least_2(_seeds(d, (a**2 + b**2) / 2)),
        ),
        Mistake(
            "the square is missing: noise shrinks with √n, so n grows with its square.",
            lambda d, a, b: _at_least_2(_seeds(d, a**2 + b**2) ** 0.5),
        ),
        Mistake(
            "with 1.96 alone a real difference is found every second time only.",
            lambda d, a, b: _at_least_2(_seeds(d, a**2 + b**2, 1.96)),
        ),
        Mistake(
            "one seed has no spread: n is at least 2.",
            lambda d, a, b: math.ceil(_seeds(d, a**2 + b**2)),
        ),
    ),
)

EXERCISES = (_INTERVAL, _PAIRED, _NEEDED)
