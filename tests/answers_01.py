"""Answers of learners to the exercises of notebook 01: right ones, known mistakes, other ones."""

import torch


def carried_by_projection(basis, defects):
    """Right: ⟨P d, d⟩ with P = B Bᵀ."""
    projected = defects @ basis @ basis.T
    return (projected * defects).sum(dim=1) / (defects * defects).sum(dim=1)


def carried_by_loop(basis, defects):
    shares = []
    for d in defects:
        shares.append(sum((column @ d) ** 2 for column in basis.T) / (d @ d))
    return torch.stack(shares)


def rich(error, complexity, threshold):
    return error[complexity > threshold].mean(), error[complexity <= threshold].mean()


def ratio_by_sorting(error, complexity):
    """Right: the lower half, with its middle value, against the upper one."""
    order = complexity.flatten().argsort()
    sorted_errors, middle = error.flatten()[order], (error.numel() + 1) // 2
    return (sorted_errors[middle:].mean() / sorted_errors[:middle].mean()).item()


def ratio_by_where(error, complexity):
    high = (complexity > complexity.median()).double()
    plain = (error * (1 - high)).sum() / (1 - high).sum()
    return float((error * high).sum() / high.sum() / plain)


def ratio_of_image_medians(error, complexity):
    middle = torch.stack([c.median() for c in complexity])[:, None, None]
    high, low = rich(error, complexity - middle, 0)
    return (high / low).item()


def counted(wanted):
    """Learners' loops: wanted(score, label, threshold) gives the count to raise, or None."""

    def answer(scores, labels, threshold):
        counts = [0, 0]
        for score, label in zip(scores.tolist(), labels.tolist(), strict=True):
            for place in wanted(score > threshold, label == 1):
                counts[place] += 1
        return torch.tensor(counts)

    return answer


missed_by_loop = counted(lambda alarm, bad: [0] * (bad and not alarm) + [1] * (alarm and not bad))

RIGHT = [
    ("01.1", carried_by_projection),
    ("01.1", carried_by_loop),
    ("01.1", lambda b, d: ((d @ b).norm(dim=1) / d.norm(dim=1)) ** 2),
    ("01.1", lambda b, d: 1 - ((d - d @ b @ b.T) ** 2).sum(1) / (d**2).sum(1)),
    ("01.1", lambda b, d: torch.einsum("nk,bn,mk,bm->b", b, d, b, d) / (d * d).sum(1)),
    ("01.2", ratio_by_sorting),
    ("01.2", ratio_by_where),
    ("01.3", missed_by_loop),
    (
        "01.3",
        lambda s, y, t: torch.tensor([int((s[y == 1] <= t).sum()), int((s[y == 0] > t).sum())]),
    ),
]

HINTED = [
    ("01.1", lambda b, d: carried_by_loop(b, d) ** 0.5, "a ratio of norms"),
    ("01.1", lambda b, d: ((d - d @ b @ b.T) ** 2).sum(1) / (d**2).sum(1), "the residual keeps"),
    ("01.1", lambda b, d: ((d @ b @ b.T) * d).sum(1), "not yet divided"),
    ("01.1", lambda b, d: ((d @ b) ** 2).sum(1) / (d**2).sum(1).sqrt(), "divided by the norm"),
    ("01.1", lambda b, d: (d @ b).sum(1) ** 2 / (d * d).sum(1), "square first"),
    ("01.1", lambda b, d: (d @ b).pow(2).mean(1) / d.pow(2).mean(1), "Take sums"),
    ("01.1", lambda b, d: ((d @ b) ** 2).sum() / (d**2).sum() * torch.ones(len(d)), "one number"),
    ("01.2", lambda e, c: 1 / ratio_by_sorting(e, c), "upside down"),
    ("01.2", lambda e, c: torch.div(*rich(e, c, c.mean())).item(), "split at the mean"),
    ("01.2", lambda e, c: ratio_by_sorting(e, e), "median of the error"),
    ("01.2", ratio_of_image_medians, "for each image"),
    ("01.2", lambda e, c: (rich(e, c, c.median())[0] / e.mean()).item(), "of all pixels"),
    (
        "01.2",
        lambda e, c: (e[c > c.median()].sum() / (e.sum() - e[c > c.median()].sum())).item(),
        "unlike size",
    ),
    (
        "01.2",
        lambda e, c: (e[c >= c.median()].mean() / e[c < c.median()].mean()).item(),
        "above means >",
    ),
    ("01.2", lambda e, c: torch.sub(*rich(e, c, c.median())).item(), "a difference"),
    ("01.3", lambda *given: missed_by_loop(*given).flip(0), "the order"),
    (
        "01.3",
        counted(lambda alarm, bad: [0] * (bad and alarm) + [1] * (not bad and not alarm)),
        "right decisions",
    ),
    ("01.3", counted(lambda alarm, bad: [0] * (bad and not alarm) + [1] * alarm), "all alarms"),
    (
        "01.3",
        counted(lambda alarm, bad: [0] * (not alarm) + [1] * (alarm and not bad)),
        "all quiet",
    ),
    (
        "01.3",
        lambda s, y, t: torch.stack([((s < t) & (y == 1)).sum(), ((s >= t) & (y == 0)).sum()]),
        "raises no alarm",
    ),
    ("01.3", lambda s, y, t: missed_by_loop(s, (y == 0).long(), t), "takes 0 for it"),
    (
        "01.3",
        counted(lambda alarm, bad: [1] * (bad and alarm) + [0] * (not bad and not alarm)),
        "quiet normal pictures, then",
    ),
    ("01.3", counted(lambda alarm, bad: [0 if bad else 1] * alarm), "found defects"),
]

OTHER = [
    ("01.1", lambda b, d: ((d @ b.T) ** 2).sum(1) / (d**2).sum(1)),  # rows for columns
    ("01.1", lambda b, d: ((d @ b.reshape(b.shape[::-1]).T) ** 2).sum(1) / (d**2).sum(1)),
    ("01.1", lambda b, d: torch.ones(len(d), dtype=torch.float64)),
    ("01.1", lambda b, d: carried_by_loop(b, d).float()),
    ("01.1", lambda b, d: carried_by_loop(b, d)[:, None]),
    ("01.1", lambda b, d: carried_by_loop(b[:, :1], d)),
    ("01.1", lambda b, d: torch.full((len(d),), b.shape[1] / b.shape[0]).double()),
    ("01.1", lambda b, d: (d @ b).abs().sum(1) / d.abs().sum(1)),
    ("01.1", lambda b, d: carried_by_loop(b, d).clamp(max=0.3)),
    ("01.2", lambda e, c: 1.0),
    ("01.2", lambda e, c: torch.tensor(ratio_by_sorting(e, c))),
    ("01.2", lambda e, c: round(ratio_by_sorting(e, c), 1)),
    ("01.2", lambda e, c: ratio_by_sorting(e, c) ** 2),
    ("01.2", lambda e, c: ratio_by_sorting(e[:1], c[:1])),
    ("01.2", lambda e, c: float(torch.corrcoef(torch.stack([e.flatten(), c.flatten()]))[0, 1])),
    ("01.2", lambda e, c: ratio_by_sorting(c, e)),
    ("01.2", lambda e, c: torch.div(*rich(e, c, e.median())).item()),
    ("01.3", lambda s, y, t: torch.zeros(2, dtype=torch.int64)),
    ("01.3", lambda *given: missed_by_loop(*given).float()),
    ("01.3", lambda *given: missed_by_loop(*given).tolist()),
    ("01.3", lambda *given: missed_by_loop(*given).sum()),
    ("01.3", lambda s, y, t: missed_by_loop(s, y, 0.0)),
    ("01.3", lambda s, y, t: missed_by_loop(s, y, 0.5)),
    ("01.3", lambda s, y, t: missed_by_loop(s, y, s.median().item() + 0.3)),
    ("01.3", lambda s, y, t: missed_by_loop(-s, y, -t)),
]
