"""Answers of learners to the exercises of notebook 03: right ones, known mistakes, other ones."""

import torch


def by_bayes(x_t, alpha_bar, mean, spread):
    """Right: precisions of the prior and of the observation, added."""
    prior, seen = 1 / spread**2, alpha_bar / (1 - alpha_bar)
    return (prior * mean + seen * x_t / alpha_bar**0.5) / (prior + seen)


def by_weights(x_t, alpha_bar, mean, spread):
    total = alpha_bar * spread**2 + 1 - alpha_bar
    return (alpha_bar**0.5 * spread**2 * x_t + (1 - alpha_bar) * mean) / total


def mixed(weight):
    """Learners' answers: μ + weight(ᾱ, s) (x_t - √ᾱ μ)."""
    return lambda x, a, mean, s: mean + weight(a, s) * (x - a**0.5 * mean)


def ratio_by_loop(alphas_cumprod):
    ratios, before = [], 1.0
    for alpha_bar in alphas_cumprod.tolist():
        ratios.append((1 - before) / (1 - alpha_bar))
        before = alpha_bar
    return torch.tensor(ratios, dtype=torch.float64)


def betas(a):
    return 1 - a / torch.nn.functional.pad(a[:-1], (1, 0), value=1.0)


def ratio_of_variances(a):
    before = torch.nn.functional.pad(a[:-1], (1, 0), value=1.0)
    beta = 1 - a / before
    return (1 - before) / (1 - a) * beta / beta


def ratio_by_padding(a, first):
    ratio = torch.full_like(a, first)
    ratio[1:] = (1 - a[:-1]) / (1 - a[1:])
    return ratio


def left_by_lstsq(result, defective, clean):
    """Right: one least-squares problem an image."""
    shares = [
        torch.linalg.lstsq((d - c).reshape(-1, 1), (r - c).reshape(-1, 1)).solution
        for r, d, c in zip(result, defective, clean, strict=True)
    ]
    return torch.cat(shares).flatten()


def flat(result, defective, clean):
    return (result - clean).flatten(1), (defective - clean).flatten(1)


def left_with(formula):
    """Learners' answers: a formula of (change of the result, defect), both [B,N]."""
    return lambda *given: formula(*flat(*given))


RIGHT = [
    ("03.1", by_bayes),
    ("03.1", by_weights),
    ("03.2", ratio_by_loop),
    ("03.2", ratio_of_variances),
    ("03.3", left_by_lstsq),
    ("03.3", left_with(lambda r, d: (r * d).sum(1) / d.pow(2).sum(1))),
    ("03.3", left_with(lambda r, d: torch.einsum("bn,bn->b", r, d) / d.norm(dim=1) ** 2)),
    ("03.3", left_with(lambda r, d: torch.cosine_similarity(r, d) * r.norm(dim=1) / d.norm(dim=1))),
]

HINTED = [
    ("03.1", lambda x, a, mean, s: x * a**-0.5, "without noise"),
    ("03.1", lambda x, a, mean, s: mean.repeat(len(x), 1), "x_t is not used"),
    (
        "03.1",
        lambda x, a, mean, s: mean + a**0.5 * s**2 / (a * s**2 + 1 - a) * (x - mean),
        "compared with μ",
    ),
    ("03.1", mixed(lambda a, s: s**2 / (1 - a + a * s * s)), "a √ᾱ is missing"),
    ("03.1", mixed(lambda a, s: a**0.5 * s * s / (1 - a)), "ᾱ s² is missing"),
    ("03.1", mixed(lambda a, s: a**0.5 * s * s / (1 - a + s * s)), "shrunk by √ᾱ"),
    ("03.1", mixed(lambda a, s: a**0.5 * s / (1 - a + a * s)), "standard deviation"),
    ("03.1", mixed(lambda a, s: a * s * s / (1 - a + a * s * s)), "once more"),
    ("03.1", lambda x, a, mean, s: by_weights(x, a, mean, s) - mean, "not from 0"),
    (
        "03.2",
        lambda a: ratio_by_loop(a) * (1 - a / torch.cat([a[:1] * 0 + 1, a[:-1]])),
        "β̃_t itself",
    ),
    ("03.2", lambda a: ratio_by_loop(a) ** 0.5, "standard deviations"),
    ("03.2", lambda a: a / torch.nn.functional.pad(a[:-1], (1, 0), value=1.0), "1 - β_t"),
    ("03.2", lambda a: ratio_by_padding(a, 1.0), "before step 0 nothing is noise"),
    ("03.2", lambda a: (1 - torch.cat([a[1:], a[-1:]])) / (1 - a), "ᾱ_{t+1}"),
    ("03.2", lambda a: (1 - a[:-1]) / (1 - a[1:]), "T values"),
    ("03.2", lambda a: (1 - torch.roll(a, 1)) / (1 - a), "roll"),
    ("03.2", lambda a: 1 - ratio_by_loop(a), "missing to the ratio"),
    ("03.3", left_with(lambda r, d: 1 - (r * d).sum(1) / (d * d).sum(1)), "what is gone"),
    ("03.3", left_with(lambda r, d: r.norm(dim=1) / d.norm(dim=1)), "a ratio of sizes"),
    ("03.3", left_with(lambda r, d: r.square().sum(1) / d.square().sum(1)), "energies"),
    ("03.3", left_with(lambda r, d: (r * d).sum(1) / (r * r).sum(1)), "the other regression"),
    ("03.3", left_with(lambda r, d: torch.cosine_similarity(r, d)), "cosine"),
    ("03.3", left_with(lambda r, d: (r * d).sum(1) / d.norm(dim=1)), "has no unit"),
    (
        "03.3",
        lambda r, d, c: ((d - c) * r).sum((1, 2, 3)) / ((d - c) ** 2).sum((1, 2, 3)),
        "still in it",
    ),
    (
        "03.3",
        left_with(lambda r, d: ((r * d).sum() / (d * d).sum()).repeat(len(r))),
        "one number for the batch",
    ),
    (
        "03.3",
        lambda r, d, c: (((r - c) * (d - c)).sum((2, 3)) / ((d - c) ** 2).sum((2, 3))).mean(1),
        "three ratios",
    ),
    ("03.3", lambda *given: left_by_lstsq(*given).clip(0, 1), "between 0 and 1"),
]

OTHER = [
    ("03.1", lambda x, a, mean, s: x),
    ("03.1", lambda x, a, mean, s: by_bayes(x, a, mean, s).float()),
    ("03.1", lambda x, a, mean, s: by_bayes(x, a, mean, s).clamp(-1, 1)),
    ("03.1", lambda x, a, mean, s: by_bayes(x, a, mean, s).mean(dim=0)),
    ("03.1", lambda x, a, mean, s: by_bayes(x, 1 - a, mean, s)),
    ("03.1", lambda x, a, mean, s: by_bayes(x, a, -mean, s)),
    ("03.1", lambda x, a, mean, s: (x - (1 - a) ** 0.5 * mean) / a**0.5),
    ("03.1", lambda x, a, mean: x),
    ("03.2", torch.ones_like),
    ("03.2", torch.zeros_like),
    ("03.2", lambda a: ratio_by_loop(a).float()),
    ("03.2", lambda a: ratio_by_padding(a, 0.5)),
    ("03.2", lambda a: 1 / ratio_by_padding(a, 1.0)),
    ("03.2", lambda a: torch.linspace(0, 1, len(a)).double()),
    ("03.2", lambda a: ratio_by_loop(a).flip(0)),
    ("03.2", lambda a: ratio_by_loop(a).numpy()),
    ("03.3", lambda r, d, c: torch.ones(len(r))),
    ("03.3", lambda *given: left_by_lstsq(*given).double()),
    ("03.3", lambda *given: left_by_lstsq(*given)[:, None]),
    ("03.3", left_with(lambda r, d: (r / (d + 1e-6)).mean(1))),
    ("03.3", left_with(lambda r, d: r.mean(1) / d.mean(1))),
    ("03.3", lambda *given: left_by_lstsq(*given).abs()),
    ("03.3", lambda *given: left_by_lstsq(*given) + 0.01),
    ("03.3", lambda r, d, c: r.sub_(c).mean((1, 2, 3))),
]
