"""Answers of learners to the exercises of notebook 10: right ones, known mistakes, other ones."""

from itertools import pairwise

import numpy as np
import torch
from sklearn.metrics import auc, roc_auc_score


def auroc_by_loop(scores, labels):
    pairs = list(zip(scores.tolist(), labels.tolist(), strict=True))
    wins = [
        1.0 if bad > good else 0.5 if bad == good else 0.0
        for bad, is_bad in pairs
        if is_bad
        for good, is_other in pairs
        if not is_other
    ]
    return sum(wins) / len(wins)


def auroc_by_ranks(scores, labels):
    """Mean ranks of equal scores, as Mann and Whitney have it."""
    less = (scores[:, None] > scores).sum(dim=1)
    equal = (scores[:, None] == scores).sum(dim=1)
    ranks = less + (equal + 1) / 2
    bad = int(labels.sum())
    return float((ranks[labels == 1].sum() - bad * (bad + 1) / 2) / (bad * (len(labels) - bad)))


def auroc_of_scikit(scores, labels):
    return float(roc_auc_score(labels.numpy(), scores.numpy()))


def auroc_with(win):
    """Learners' answers: the mean over pairs of win(defective, normal)."""

    def answer(scores, labels):
        bad, good = scores[labels > 0], scores[labels < 1]
        return float(np.mean([[float(win(b, g)) for g in good] for b in bad]))

    return answer


def auroc_without_ties(scores, labels):
    bad, good = scores[labels > 0], scores[labels < 1]
    won = [float(b > g) for b in bad for g in good if b != g]
    return sum(won) / len(won)


def auroc_by_sorting(scores, labels):
    order = sorted(range(len(scores)), key=lambda i: float(scores[i]))
    ranks = {index: rank for rank, index in enumerate(order, start=1)}
    bad = [i for i in range(len(scores)) if labels[i] == 1]
    total = sum(ranks[i] for i in bad) - len(bad) * (len(bad) + 1) / 2
    return total / (len(bad) * (len(scores) - len(bad)))


def report(chosen, told, latest=False):
    """Learners' answers: choose on images chosen(labels, mask), report on told(labels, mask)."""

    def answer(scores, labels, mask):
        first, second = chosen(labels, mask), told(labels, mask)
        values = [auroc_of_scikit(look[first], labels[first]) for look in scores]
        best = values.index(max(values))
        if latest:
            best = len(values) - 1 - values[::-1].index(max(values))
        return auroc_of_scikit(scores[best][second], labels[second])

    return answer


def given(labels, mask):
    return mask


def rest(labels, mask):
    return ~mask


def all_of_them(labels, mask):
    return labels >= 0


def best_by_argmax(scores, labels, mask):
    values = torch.tensor(
        [auroc_by_loop(look[mask], labels[mask]) for look in scores], dtype=torch.float64
    )
    return auroc_by_ranks(scores[int(values.argmax())][~mask], labels[~mask])


def area_by_loop(x, y, limit):
    total, points = 0.0, list(zip(x.tolist(), y.tolist(), strict=True))
    for (x0, y0), (x1, y1) in pairwise(points):
        end = min(x1, limit)
        if end > x0:
            at_end = y0 + (end - x0) / (x1 - x0) * (y1 - y0)
            total += (end - x0) * (y0 + at_end) / 2
    return total / limit


def area_by_interp(x, y, limit):
    x, y = x.numpy(), y.numpy()
    inside = x < limit
    points = np.r_[x[inside], limit]
    return float(auc(points, np.r_[y[inside], np.interp(limit, x, y)]) / limit)


def area_inside(x, y, limit, divide=1.0):
    return float(torch.trapezoid(y[x <= limit], x[x <= limit]) / divide)


def area_held(x, y, limit):
    last = y[x <= limit][-1]
    piece = (limit - x[x <= limit][-1]) * last
    return float((torch.trapezoid(y[x <= limit], x[x <= limit]) + piece) / limit)


def area_with_next(x, y, limit):
    end = int(torch.searchsorted(x, limit)) + 1
    return float(torch.trapezoid(y[:end], x[:end]) / limit)


RIGHT = [
    ("10.1", auroc_by_loop),
    ("10.1", auroc_by_ranks),
    ("10.1", auroc_of_scikit),
    ("10.2", report(given, rest)),
    ("10.2", best_by_argmax),
    ("10.3", area_by_loop),
    ("10.3", area_by_interp),
]

HINTED = [
    ("10.1", auroc_with(lambda b, g: b >= g), "a tie counts as a win"),
    ("10.1", auroc_with(lambda b, g: b > g), "a tie counts as a loss"),
    ("10.1", auroc_without_ties, "left out"),
    ("10.1", auroc_by_sorting, "order of the files"),
    ("10.1", lambda s, y: auroc_of_scikit(-s, y), "turned around"),
    ("10.2", report(given, given), "that is the leak"),
    ("10.2", report(rest, rest), "on the other half"),
    ("10.2", report(all_of_them, rest), "chosen on all images"),
    ("10.2", report(given, all_of_them), "reported on all images"),
    ("10.2", report(rest, given), "halves are exchanged"),
    ("10.2", lambda s, y, c: auroc_of_scikit(s[-1][~c], y[~c]), "nothing is chosen"),
    ("10.2", report(given, rest, latest=True), "take the first"),
    ("10.3", lambda x, y, t: t * area_by_interp(x, y, t), "not divided by the limit"),
    ("10.3", lambda x, y, t: area_inside(x, y, t, t), "is missing"),
    ("10.3", lambda x, y, t: area_inside(x, y, t, x[x <= t][-1]), "stretched"),
    ("10.3", area_inside, "neither cut"),
    ("10.3", area_held, "held flat"),
    ("10.3", area_with_next, "whole segment"),
    ("10.3", lambda x, y, t: float(torch.trapezoid(y, x)), "up to 1"),
    ("10.3", lambda x, y, t: area_by_interp(y, x, t), "exchanged"),
]

OTHER = [
    ("10.1", lambda s, y: 0.5),
    ("10.1", lambda s, y: torch.tensor(auroc_by_loop(s, y))),
    ("10.1", lambda s, y: float(s[y == 1].mean() - s[y == 0].mean())),
    ("10.1", lambda s, y: float(s[y == 1].min() >= s[y == 0].max())),
    ("10.1", lambda s, y: round(auroc_by_loop(s, y), 2)),
    ("10.1", lambda s, y: 2 * auroc_by_loop(s, y) - 1),
    ("10.2", lambda s, y, c: max(auroc_of_scikit(look[~c], y[~c]) for look in s) + 0.01),
    ("10.2", lambda s, y, c: auroc_of_scikit(s.mean(dim=0)[~c], y[~c])),
    ("10.2", lambda s, y, c: float(np.mean([auroc_of_scikit(one[~c], y[~c]) for one in s]))),
    ("10.2", lambda s, y, c: auroc_of_scikit(s[0][~c], y[~c])),
    ("10.2", lambda s, y, c: torch.tensor(best_by_argmax(s, y, c))),
    ("10.3", lambda x, y, t: float(y[x <= t].mean())),
    ("10.3", lambda x, y, t: float(np.interp(t, x.numpy(), y.numpy()))),
    ("10.3", lambda x, y, t: area_by_loop(x, y, 0.3)),
    ("10.3", lambda x, y, t: 1 - area_by_loop(x, y, t)),
    ("10.3", lambda x, y, t: float(((x[1:] - x[:-1]) * y[1:])[x[1:] <= t].sum() / t)),
]
