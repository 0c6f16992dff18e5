"""Answers of learners to the exercises of notebook 10: right ones, known mistakes, other ones."""

from itertools import pairwise

import cv2
import numpy as np
import torch
from sklearn.metrics import auc, roc_auc_score


def half_by_loop(mask, factor):
    height, width = (side // factor for side in mask.shape)
    small = torch.zeros(height, width, dtype=torch.int64)
    for y in range(height):
        for x in range(width):
            block = mask[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
            small[y, x] = 2 * int(block.sum()) >= factor**2
    return small


def blocks(mask, factor):
    """[H/f,W/f,f²]."""
    height, width = (side // factor for side in mask.shape)
    split = mask.reshape(height, factor, width, factor).transpose(1, 2)
    return split.reshape(height, width, factor**2)


def half_by_blocks(mask, factor):
    return (2 * blocks(mask, factor).sum(dim=-1) >= factor**2).long()


def half_by_area(mask, factor):
    small = cv2.resize(
        mask.numpy().astype(np.float64),
        (mask.shape[1] // factor, mask.shape[0] // factor),
        interpolation=cv2.INTER_AREA,
    )
    return torch.from_numpy((small > 0.5 - 1e-9).astype(np.int64))


def bilinear_of_opencv(mask, factor):
    sides = mask.shape[1] // factor, mask.shape[0] // factor
    return torch.from_numpy((cv2.resize(mask.numpy() * 1.0, sides) >= 0.5).astype(np.int64))


def shares(mask, factor):
    return blocks(mask, factor).double().mean(dim=-1)


def auroc_of_scikit(scores, labels):
    return float(roc_auc_score(labels.numpy(), scores.numpy()))


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
        [auroc_of_scikit(look[mask], labels[mask]) for look in scores], dtype=torch.float64
    )
    return auroc_of_scikit(scores[int(values.argmax())][~mask], labels[~mask])


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
    ("10.1", half_by_loop),
    ("10.1", half_by_blocks),
    ("10.1", half_by_area),
    ("10.2", report(given, rest)),
    ("10.2", best_by_argmax),
    ("10.3", area_by_loop),
    ("10.3", area_by_interp),
]

HINTED = [
    ("10.1", lambda m, f: blocks(m, f).amin(dim=-1), "that is the cast"),
    ("10.1", lambda m, f: blocks(m, f).amax(dim=-1), "touches it"),
    ("10.1", lambda m, f: blocks(m, f).median(dim=-1).values, "exactly half"),
    ("10.1", lambda m, f: blocks(m, f)[..., 0], "one pixel of each block"),
    ("10.1", bilinear_of_opencv, "at most four"),
    ("10.1", shares, "not yet a mask"),
    ("10.1", lambda m, f: (shares(m, f) < 0.5).long(), "turned around"),
    ("10.2", report(given, given), "that is the leak"),
    ("10.2", report(rest, rest), "on the other half"),
    ("10.2", report(all_of_them, rest), "chosen on all images"),
    ("10.2", report(all_of_them, all_of_them), "leak of the whole test set"),
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
    ("10.1", lambda m, f: m),
    ("10.1", lambda m, f: shares(m, f) >= 0.5),
    ("10.1", lambda m, f: (shares(m, f) >= 0.25).long()),
    ("10.1", lambda m, f: half_by_blocks(m, f).T),
    ("10.1", lambda m, f: torch.zeros_like(half_by_blocks(m, f))),
    ("10.2", lambda s, y, c: max(auroc_of_scikit(look[~c], y[~c]) for look in s) + 0.01),
    ("10.2", lambda s, y, c: auroc_of_scikit(s.mean(dim=0)[~c], y[~c])),
    ("10.2", lambda s, y, c: float(np.mean([auroc_of_scikit(one[~c], y[~c]) for one in s]))),
    ("10.2", lambda s, y, c: auroc_of_scikit(s[0][~c], y[~c])),
    ("10.2", lambda s, y, c: best_by_argmax(s, y, torch.arange(len(y)) < len(y) // 2)),
    ("10.2", lambda s, y, c: torch.tensor(best_by_argmax(s, y, c))),
    ("10.3", lambda x, y, t: float(y[x <= t].mean())),
    ("10.3", lambda x, y, t: float(np.interp(t, x.numpy(), y.numpy()))),
    ("10.3", lambda x, y, t: area_by_loop(x, y, 0.3)),
    ("10.3", lambda x, y, t: 1 - area_by_loop(x, y, t)),
    ("10.3", lambda x, y, t: float(((x[1:] - x[:-1]) * y[1:])[x[1:] <= t].sum() / t)),
]
