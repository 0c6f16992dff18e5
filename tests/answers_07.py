"""Answers of learners to the exercises of notebook 07: right ones, known mistakes, other ones."""

import torch

C1, C2 = 1e-4, 9e-4


def flat_with(formula):
    """Learners' answers: one minus a formula of (a, b)."""
    return lambda a, b: 1 - formula(a, b)


def flat_by_loop(a, b):
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    return torch.tensor([(x - y) ** 2 / (x * x + y * y + C1) for x, y in pairs], dtype=a.dtype)


def pixels_of(anomalous, mask):
    """(probability of the right class, is it anomalous) of every pixel, as Python numbers."""
    pairs = zip(anomalous.flatten().double().tolist(), mask.flatten().tolist(), strict=True)
    return [(p if inside else 1 - p, bool(inside)) for p, inside in pairs]


def share_with(weight):
    """Learners' answers: the anomalous share of weights, a formula of (p of the right class, γ)."""

    def answer(anomalous, mask, gamma):
        p = torch.where(mask > 0, anomalous, 1 - anomalous)
        weights = weight(p, gamma)
        return float(weights[mask > 0].sum() / weights.sum())

    return answer


def share_by_loop(anomalous, mask, gamma):
    pixels = [
        (-((1 - p) ** gamma) * float(torch.tensor(p).log()), inside)
        for p, inside in pixels_of(anomalous, mask)
    ]
    return sum(loss for loss, inside in pixels if inside) / sum(loss for loss, _ in pixels)


def loss_of(anomalous, mask, gamma):
    p = torch.where(mask > 0, anomalous, 1 - anomalous)
    return -((1 - p) ** gamma) * torch.log(p)


def class_means(anomalous, mask, gamma):
    loss = loss_of(anomalous, mask, gamma)
    inside, outside = loss[mask > 0].mean(), loss[mask == 0].mean()
    return float(inside / (inside + outside))


def odds(anomalous, mask, gamma):
    loss = loss_of(anomalous, mask, gamma)
    return float(loss[mask > 0].sum() / loss[mask == 0].sum())


def image_by_image(anomalous, mask, gamma):
    losses = zip(loss_of(anomalous, mask, gamma), mask, strict=True)
    return float(torch.stack([(loss * m).sum() / loss.sum() for loss, m in losses]).mean())


def numbers(regions):
    return sorted(set(regions.flatten().tolist()) - {0})


def overlap_by_bincount(scores, regions, threshold):
    count = int(regions.max()) + 1
    area = torch.bincount(regions.flatten(), minlength=count)[1:]
    found = torch.bincount(regions[scores >= threshold], minlength=count)[1:]
    return (found[area > 0] / area[area > 0]).double().mean().item()


def overlap_by_loop(scores, regions, threshold):
    shares = []
    for n in numbers(regions):
        inside = scores[regions == n].tolist()
        shares.append(sum(score >= threshold for score in inside) / len(inside))
    return sum(shares) / len(shares)


def mean_with(part, every=numbers):
    """Learners' answers: the mean of part(marked, region) over regions."""

    def answer(scores, regions, threshold):
        marked = scores >= threshold
        shares = [float(part(marked, regions == n)) for n in every(regions)]
        return sum(shares) / len(shares)

    return answer


def share(marked, region):
    return (marked & region).sum() / region.sum()


def precision(scores, regions, threshold):
    marked = scores >= threshold
    return float((marked & (regions > 0)).sum() / marked.sum())


RIGHT = [
    ("07.1", flat_by_loop),
    ("07.1", flat_with(lambda a, b: (2 * a * b + C1) / (a * a + b * b + C1) * C2 / C2)),
    ("07.2", share_by_loop),
    ("07.2", share_with(lambda p, g: -((1 - p) ** g) * p.log())),
    ("07.3", overlap_by_bincount),
    ("07.3", overlap_by_loop),
    ("07.3", mean_with(share, lambda regions: range(1, int(regions.max()) + 1))),
]

HINTED = [
    ("07.1", lambda a, b: (2 * a * b + C1) / (a**2 + b**2 + C1), "that is SSIM"),
    ("07.1", flat_with(lambda a, b: 2 * a * b / (a**2 + b**2)), "c₁ is missing"),
    ("07.1", flat_with(lambda a, b: (2 * a * b + C2) / (a**2 + b**2 + C2)), "c₂ stands"),
    ("07.1", flat_with(lambda a, b: (2 * a * b + 0.01) / (a**2 + b**2 + 0.01)), "squared, not"),
    ("07.1", flat_with(lambda a, b: (a * b + C1) / (a**2 + b**2 + C1)), "factor 2"),
    ("07.1", flat_with(lambda a, b: 0 * a), "1 everywhere"),
    ("07.1", lambda a, b: torch.maximum(a, b) - torch.minimum(a, b), "plain residual"),
    ("07.1", flat_with(lambda a, b: (2 * a * b + C1) / ((a + b).square() + C1)), "the sum of"),
    ("07.1", lambda a, b: (a - b) ** 2 / (2 * a**2 + 2 * b**2 + 2 * C1), "halved"),
    ("07.2", lambda a, m, g: share_with(lambda p, g: (1 - a) ** g * -a.log())(a, m, g), "right"),
    ("07.2", share_with(lambda p, g: -p.log()), "cross-entropy"),
    ("07.2", share_with(lambda p, g: -(p**g) * p.log()), "turned up"),
    ("07.2", share_with(lambda p, g: -((1 - p) ** 2) * p.log()), "fixed at 2"),
    ("07.2", class_means, "take sums"),
    ("07.2", odds, "below the line"),
    ("07.2", image_by_image, "a mean over images"),
    ("07.2", lambda a, m, g: 1 - share_by_loop(a, m, g), "normal pixels"),
    ("07.2", share_with(lambda p, g: (1 - p) ** g), "logarithm is missing"),
    ("07.2", lambda a, m, g: float((m > 0).float().mean()), "not used"),
    ("07.3", lambda s, r, t: float((s[r > 0] >= t).float().mean()), "recall of all pixels"),
    ("07.3", mean_with(share, lambda r: sorted(set(r.flatten().tolist()))), "no region"),
    ("07.3", mean_with(lambda marked, region: (marked & region).any()), "found or missed"),
    ("07.3", mean_with(share, lambda regions: range(1, int(regions.max()))), "the last region"),
    ("07.3", mean_with(share, lambda regions: numbers(regions)[:-1]), "the last region"),
    (
        "07.3",
        mean_with(lambda marked, region: (marked & region).sum() / (marked | region).sum()),
        "intersection",
    ),
    ("07.3", precision, "precision"),
    ("07.3", lambda s, r, t: overlap_by_loop((s > t).double(), r, 1), ">= and not >"),
    ("07.3", lambda s, r, t: overlap_by_loop((s < t).double(), r, 1), "unmarked"),
    ("07.3", lambda s, r, t: float((s >= t).float().mean()), "regions are not used"),
]

OTHER = [
    ("07.1", torch.zeros_like),
    ("07.1", lambda a, b: flat_by_loop(a, b).float()),
    ("07.1", lambda a, b: flat_by_loop(a, b).mean()),
    ("07.1", lambda a, b: (a - b) ** 2),
    ("07.1", lambda a, b: (a - b).abs() / (a + b + C1)),
    ("07.1", lambda a, b: -flat_by_loop(a, b)),
    ("07.1", lambda a, b: flat_by_loop(a, b).clamp(max=0.5)),
    ("07.1", lambda a, b: 1 - 2 * a * b / (a**2 + b**2 + C1)),
    ("07.1", lambda a, b: a.sub_(b).square_()),
    ("07.2", lambda a, m, g: 0.5),
    ("07.2", lambda a, m, g: share_by_loop(a, m, 4.0)),
    ("07.2", lambda a, m, g: torch.tensor(share_by_loop(a, m, g))),
    ("07.2", lambda a, m, g: share_by_loop(a[:1], m[:1], g)),
    ("07.2", lambda a, m, g: -share_by_loop(a, m, g)),
    ("07.2", lambda a, m, g: round(share_by_loop(a, m, g), 1)),
    ("07.2", lambda a, m, g: share_by_loop(1 - a, m, g)),
    ("07.2", lambda a, m, g: float((loss_of(a, m, g) * m).mean())),
    ("07.2", lambda a, m, g: share_with(lambda p, g: -(1 - p ** (g + 1)) * p.log())(a, m, g)),
    ("07.3", lambda s, r, t: 1.0),
    ("07.3", lambda s, r, t: torch.tensor(overlap_by_loop(s, r, t))),
    ("07.3", lambda s, r, t: overlap_by_loop(s, r, 0.0)),
    ("07.3", lambda s, r, t: overlap_by_loop(s, (r > 0).long() * r.max(), t) / 2),
    ("07.3", lambda s, r, t: overlap_by_loop(s, r, t) * len(numbers(r))),
    ("07.3", lambda s, r, t: max(float(share(s >= t, r == n)) for n in numbers(r))),
    ("07.3", lambda s, r, t: float(share(s >= t, r == numbers(r)[0]))),
    ("07.3", lambda s, r, t: overlap_by_loop(s.round(), r, t)),
    ("07.3", lambda s, r, t: sum(float((s[r == n] >= t).sum()) for n in numbers(r))),
]
