"""Answers of learners to the exercises of notebook 09: right ones, known mistakes, other ones."""

import math
import statistics

import torch


def ends(width):
    """Learners' answers: mean ∓ width(values, t)."""

    def answer(values, t):
        mean = values.mean()
        return torch.tensor([mean - width(values, t), mean + width(values, t)], dtype=values.dtype)

    return answer


def interval_by_loop(values, t):
    figures = values.tolist()
    mean = sum(figures) / len(figures)
    s = (sum((x - mean) ** 2 for x in figures) / (len(figures) - 1)) ** 0.5
    width = t * s / math.sqrt(len(figures))
    return torch.tensor([mean - width, mean + width], dtype=torch.float64)


def auroc_by_loop(scores, labels, tie=0.5):
    pairs = list(zip(scores.tolist(), labels.tolist(), strict=True))
    wins = [
        1.0 if d > n else tie if d == n else 0.0
        for d, is_defect in pairs
        if is_defect
        for n, other in pairs
        if not other
    ]
    return sum(wins) / len(wins)


def differences(value_of):
    """Learners' answers: value_of(a, b, labels, row) of every row of the draws."""

    def answer(a, b, labels, draws):
        return torch.tensor([value_of(a, b, labels, row) for row in draws], dtype=torch.float64)

    return answer


def right_difference(a, b, labels, row):
    return auroc_by_loop(a[row], labels[row]) - auroc_by_loop(b[row], labels[row])


def by_ranks(a, b, labels, draws):
    """Right: the Mann–Whitney form, with mean ranks of ties."""
    found = []
    for row in draws:
        areas = []
        for scores in (a[row], b[row]):
            below = (scores[None] < scores[:, None]).sum(1).double()
            ranks = below + ((scores[None] == scores[:, None]).sum(1) + 1) / 2
            defects = labels[row] == 1
            count = int(defects.sum())
            area = (ranks[defects].sum() - count * (count + 1) / 2) / (count * (len(row) - count))
            areas.append(area)
        found.append(areas[0] - areas[1])
    return torch.stack(found)


def weighted(a, b, labels, draws):
    """Right: how often each image was drawn, as weights of the pairs."""
    defects, normal = labels == 1, labels == 0

    def wins(s):
        gap = s[defects][:, None] - s[normal][None]
        return (gap > 0).double() + (gap == 0).double() / 2

    gap = wins(a) - wins(b)
    rows = []
    for row in draws:
        weight = torch.bincount(row, minlength=len(labels)).double()
        pairs = weight[defects][:, None] * weight[normal][None]
        rows.append((pairs * gap).sum() / pairs.sum())
    return torch.stack(rows)


def defects_first(a, b, labels, draws):
    """Wrong where a draw mixes the kinds, or holds them in other numbers."""
    places = (torch.arange(len(labels)) < labels.sum()).long()
    values = [auroc_by_loop(a[row], places) - auroc_by_loop(b[row], places) for row in draws]
    return torch.tensor(values, dtype=torch.float64)


def count_up(difference, spread_a, spread_b):
    n = 2
    while abs(difference) < 2.8 * ((spread_a**2 + spread_b**2) / n) ** 0.5:
        n += 1
    return n


def needed(n_of):
    """Learners' answers: the next whole number, at least 2."""
    return lambda d, a, b: max(2, math.ceil(n_of(d, a, b)))


RIGHT = [
    ("09.1", interval_by_loop),
    ("09.1", ends(lambda v, t: t * statistics.stdev(v.tolist()) / len(v) ** 0.5)),
    ("09.2", differences(right_difference)),
    ("09.2", by_ranks),
    ("09.2", weighted),
    ("09.3", count_up),
    ("09.3", needed(lambda d, a, b: 7.84 * (a * a + b * b) / (d * d))),
]

HINTED = [
    ("09.1", ends(lambda v, t: t * v.std(correction=0) / len(v) ** 0.5), "S - 1"),
    ("09.1", ends(lambda v, t: t * v.std()), "√S is missing"),
    ("09.1", ends(lambda v, t: t * v.std() / len(v)), "shrinks with √S"),
    ("09.1", ends(lambda v, t: 1.96 * v.std() / len(v) ** 0.5), "1.96 is for"),
    ("09.1", ends(lambda v, t: t * v.var() / len(v) ** 0.5), "the variance"),
    ("09.1", lambda v, t: torch.stack(torch.aminmax(v)), "lowest and the highest"),
    ("09.1", lambda v, t: interval_by_loop(v, -t), "low, then high"),
    (
        "09.2",
        differences(lambda a, b, n, r: auroc_by_loop(a[r], n[r]) - auroc_by_loop(b, n)),
        "only a is drawn",
    ),
    (
        "09.2",
        lambda a, b, n, d: (
            differences(lambda a, b, n, r: auroc_by_loop(a[r], n[r]))(a, b, n, d)
            - differences(lambda a, b, n, r: auroc_by_loop(b[r], n[r]))(a, b, n, d.roll(1, 0))
        ),
        "different draws",
    ),
    (
        "09.2",
        differences(lambda a, b, n, r: auroc_by_loop(a[r], n) - auroc_by_loop(b[r], n)),
        "the labels stay",
    ),
    (
        "09.2",
        differences(lambda a, b, n, r: right_difference(a, b, n, sorted({*r.tolist()}))),
        "twice counts twice",
    ),
    (
        "09.2",
        differences(
            lambda a, b, n, r: auroc_by_loop(a[r], n[r], 0.0) - auroc_by_loop(b[r], n[r], 0.0)
        ),
        "yours counts 0",
    ),
    (
        "09.2",
        differences(
            lambda a, b, n, r: auroc_by_loop(a[r], n[r], 1.0) - auroc_by_loop(b[r], n[r], 1.0)
        ),
        "yours counts 1",
    ),
    ("09.2", lambda a, b, n, d: by_ranks(b, a, n, d), "b minus a"),
    ("09.2", differences(lambda a, b, n, r: auroc_by_loop(a[r], n[r])), "a alone"),
    ("09.3", lambda d, a, b: max(2, int(7.84 * (a * a + b * b) / d**2)), "rounded down"),
    ("09.3", needed(lambda d, a, b: (2.8 * a / d) ** 2), "one side's"),
    ("09.3", needed(lambda d, a, b: (2.8 * (a + b) / d) ** 2), "add as squares"),
    ("09.3", needed(lambda d, a, b: 7.84 * (a * a + b * b) / 2 / d**2), "mean of the variances"),
    ("09.3", needed(lambda d, a, b: 2.8 * math.hypot(a, b) / abs(d)), "square is missing"),
    ("09.3", needed(lambda d, a, b: (1.96 * math.hypot(a, b) / d) ** 2), "every second time"),
    ("09.3", lambda d, a, b: math.ceil(7.84 * (a * a + b * b) / d**2), "at least 2"),
]

OTHER = [
    ("09.1", lambda v, t: torch.stack([v.mean(), v.std()])),
    ("09.1", lambda v, t: interval_by_loop(v, 2 * t)),
    ("09.1", lambda v, t: interval_by_loop(v, t).float()),
    ("09.1", lambda v, t: tuple(interval_by_loop(v, t).tolist())),
    ("09.1", ends(lambda v, t: (v - v.mean()).abs().mean() * t)),
    ("09.1", lambda v, t: interval_by_loop(v, t).clamp(0, 1)),
    ("09.2", lambda a, b, n, d: weighted(a, b, n, d).mean()),
    ("09.2", defects_first),
    ("09.2", lambda a, b, n, d: weighted(a, b, n, d).abs()),
    ("09.2", lambda a, b, n, d: weighted(a, b, n, d) / 2),
    ("09.2", differences(lambda a, b, n, r: float(a[r].mean() - b[r].mean()))),
    ("09.2", lambda a, b, n, d: weighted(a, b, n, d).tolist()),
    ("09.2", lambda a, b, n, d: torch.zeros(len(d), dtype=torch.float64)),
    ("09.3", lambda d, a, b: 3),
    ("09.3", lambda d, a, b: 7.84 * (a * a + b * b) / d**2),
    ("09.3", needed(lambda d, a, b: 7.84 * (a * a + b * b) / abs(d))),
    ("09.3", needed(lambda d, a, b: 7.84 * (a * a - b * b) / d**2)),
    ("09.3", needed(lambda d, a, b: (2.8 * b / d) ** 2)),
    ("09.3", needed(lambda d, a, b: 2 * 7.84 * (a * a + b * b) / d**2)),
]
