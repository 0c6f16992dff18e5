"""Answers of learners to the exercises of notebook 11."""

import math

import torch
import torch.nn.functional as F

# 11.1


def by_loop(t, width):
    """A right answer, number by number."""
    half = width // 2
    rows = []
    for step in t.tolist():
        angles = [step / 10_000 ** (i / half) for i in range(half)]
        rows.append([*map(math.sin, angles), *map(math.cos, angles)])
    return torch.tensor(rows)


def by_exp(t, width):
    """A right answer, with an exponential, as the library has it."""
    exponents = -math.log(10_000) * torch.arange(0, width, 2) / width
    angles = torch.outer(t.float(), exponents.exp())
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1)


def of_frequencies(frequencies, parts=(torch.sin, torch.cos)):
    """Learners' answers: other frequencies [width / 2], a function of the width."""
    return lambda t, width: torch.cat(
        [part(t[:, None] * frequencies(width)) for part in parts], dim=1
    )


def falling(width):
    return 10_000 ** (-2 * torch.arange(width // 2) / width)


def taking_turns(t, width):
    angles = t[:, None] * falling(width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).reshape(len(t), width)


# 11.2


def betas(alphas_cumprod):
    return 1 - alphas_cumprod / F.pad(alphas_cumprod[:-1], (1, 0), value=1.0)


def weights_by_loop(alphas_cumprod):
    """A right answer, step by step: β² / (2 σ² α (1 - ᾱ))."""
    found, before = [], 1.0
    for now in alphas_cumprod.tolist():
        alpha = now / before
        variance = beta = 1 - alpha
        found.append(beta**2 / (2 * variance * alpha * (1 - now)))
        before = now
    return torch.tensor(found, dtype=torch.float64)


def weights_of_x0(alphas_cumprod):
    """A right answer, over the weight of the error of x_0."""
    beta = betas(alphas_cumprod)
    before = alphas_cumprod / (1 - beta)
    of_mean = (before.sqrt() * beta / (1 - alphas_cumprod)).square()  # of x_0 in the mean
    return of_mean / (2 * beta) * (1 - alphas_cumprod) / alphas_cumprod


def rolled(alphas_cumprod):
    alpha = alphas_cumprod / torch.roll(alphas_cumprod, 1)
    return (1 - alpha) / (2 * alpha * (1 - alphas_cumprod))


def small_variance(alphas_cumprod):
    beta = betas(alphas_cumprod)
    before = alphas_cumprod / (1 - beta)
    return beta / (2 * (1 - beta) * (1 - before))


# 11.3


def in_pieces(eps_s, noise_s, eps_b, noise_b, logits, mask, over=None, head=None):
    """A right answer, written out; `over` and `head` are learners' other ways of a part."""
    normal = mask.amax(dim=(1, 2, 3)) == 0
    errors = ((eps_s - noise_s) ** 2).mean((1, 2, 3)), ((eps_b - noise_b) ** 2).mean((1, 2, 3))
    over = over or (lambda s, b, n: sum((s + b)[n]) / n.sum() if n.any() else torch.tensor(0.0))
    return over(*errors, normal) + (head or of_head())(logits, mask)


def of_head(factor=5.0, alpha=0.5, gamma=4, rest=None):
    """The loss of the head; `rest` is another last term."""

    def loss(logits, mask):
        p = torch.where(mask > 0, logits.sigmoid(), (-logits).sigmoid())  # of the right class
        focal = (-alpha * (1 - p) ** gamma * p.log()).mean()
        return factor * focal + (rest or half_square)(1 - p, logits, mask)

    return loss


def half_square(error, logits, mask):
    return error.square().mean() / 2


def with_noise(over):
    return lambda *given: in_pieces(*given, over=over)


def with_head(**changes):
    return lambda *given: in_pieces(*given, head=of_head(**changes))


def both_times_five(logits, mask):
    return 5 * of_head(factor=1.0)(logits, mask)


RIGHT = [
    ("11.1", by_loop),
    ("11.1", by_exp),
    ("11.1", of_frequencies(falling)),
    ("11.2", weights_by_loop),
    ("11.2", weights_of_x0),
    ("11.2", lambda a: betas(a) / (2 * (1 - betas(a)) * (1 - a))),
    ("11.3", in_pieces),
    ("11.3", with_noise(lambda s, b, n: ((s + b) * n).sum() / max(1, int(n.sum())))),
]

HINTED = [
    ("11.1", of_frequencies(falling, (torch.cos, torch.sin)), "the sines come first"),
    ("11.1", taking_turns, "take turns"),
    ("11.1", of_frequencies(falling, (torch.sin, torch.sin)), "repeats the sines"),
    (
        "11.1",
        of_frequencies(lambda width: 10_000 ** (2 * torch.arange(width // 2) / width)),
        "exponent is negative",
    ),
    (
        "11.1",
        of_frequencies(lambda width: torch.logspace(0, -4, width // 2)),
        "stays below 1",
    ),
    ("11.1", of_frequencies(lambda width: falling(width).sqrt()), "divided by their number"),
    ("11.1", of_frequencies(lambda width: falling(width) / 1000), "divided by T"),
    ("11.1", of_frequencies(lambda width: 2 * math.pi * falling(width)), "2π too many"),
    ("11.2", lambda a: 2 * weights_by_loop(a), "a factor 2 is missing"),
    ("11.2", lambda a: betas(a) / (2 * (1 - a)), "α_t is missing"),
    ("11.2", lambda a: betas(a) / (2 * a * (1 - a)), "ᾱ_t stands where α_t"),
    ("11.2", small_variance, "σ² = β̃_t"),
    ("11.2", lambda a: betas(a) ** 2 / (2 * (1 - betas(a)) * (1 - a)), "σ² is missing"),
    ("11.2", lambda a: betas(a) ** 1.5 / (2 * (1 - betas(a)) * (1 - a)), "σ stands where"),
    ("11.2", lambda a: 0.5 / ((1 - betas(a)) * (1 - a)), "cancels one of them only"),
    ("11.2", lambda a: weights_by_loop(a) * a / (1 - a), "weighs the error of x_0"),
    ("11.2", rolled, "roll"),
    ("11.3", with_noise(lambda s, b, n: s.mean() + b.mean()), "over all images"),
    (
        "11.3",
        with_noise(lambda s, b, n: (s + b)[~n].mean() if (~n).any() else 0.0),
        "over the anomalous images",
    ),
    ("11.3", with_noise(lambda s, b, n: ((s + b) * n).mean()), "the number of all images"),
    (
        "11.3",
        with_noise(lambda s, b, n: ((s + b) / 2 * n).sum() / n.sum().clamp(min=1)),
        "yours are averaged",
    ),
    ("11.3", with_noise(lambda s, b, n: (s * n).sum() / n.sum().clamp(min=1)), "t_b is missing"),
    ("11.3", with_noise(lambda s, b, n: s[n].mean() + b[n].mean()), "is NaN"),
    ("11.3", with_head(factor=1.0), "counts five times"),
    ("11.3", lambda *given: in_pieces(*given, head=both_times_five), "smooth L1 has none"),
    ("11.3", with_head(alpha=1.0), "α = 0.5 is missing"),
    ("11.3", with_head(gamma=2), "γ is 4 here"),
    (
        "11.3",
        with_head(rest=lambda e, logits, mask: F.smooth_l1_loss(logits, mask)),
        "yours compares logits",
    ),
    ("11.3", with_head(rest=lambda e, logits, mask: e.mean()), "absolute error"),
    ("11.3", with_head(rest=lambda e, logits, mask: e.square().mean()), "half of the square"),
    ("11.3", with_head(rest=lambda *_: 0.0), "smooth L1 is missing"),
]

OTHER = [
    ("11.1", lambda t, width: t[:, None].expand(-1, width).float()),
    ("11.1", lambda t, width: by_loop(t, width).double()),
    ("11.1", lambda t, width: by_loop(t, width)[:, :-1]),
    ("11.1", lambda t, width: by_loop(t, width).T),
    ("11.1", lambda t, width: by_loop(t + 1, width)),
    ("11.1", of_frequencies(lambda width: 1000 ** (-2 * torch.arange(width // 2) / width))),
    ("11.1", lambda t: by_loop(t, 4)),
    ("11.2", torch.ones_like),
    ("11.2", lambda a: weights_by_loop(a).float()),
    ("11.2", lambda a: weights_by_loop(a)[1:]),
    ("11.2", lambda a: -weights_by_loop(a)),
    ("11.2", lambda a: weights_by_loop(a).flip(0)),
    ("11.2", lambda a: weights_by_loop(a).tolist()),
    ("11.3", lambda *given: torch.tensor(0.0)),
    ("11.3", lambda *given: in_pieces(*given).item()),
    ("11.3", lambda *given: in_pieces(*given)[None]),
    ("11.3", with_head(factor=4.0)),
    ("11.3", lambda *given: in_pieces(*given) * given[-1][0].numel() / 16),
    ("11.3", lambda *given: in_pieces(*given[:5], given[-1] * (given[-1][:, :, :1, :1] > 0))),
    ("11.3", with_noise(lambda s, b, n: (s + b).sum())),
    ("11.3", lambda a, b, c, d, logits, mask: in_pieces(a, b, c, d, logits, 1 - mask)),
    ("11.3", lambda eps_s, *rest: in_pieces(eps_s.mul_(1.0).add_(1.0), *rest)),
]
