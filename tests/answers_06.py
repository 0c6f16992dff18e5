"""Answers of learners to the exercises of notebook 06: right ones, known mistakes, other ones."""

import torch


def slope_by_autograd(u):
    u = u.clone().requires_grad_()
    (6 * u**5 - 15 * u**4 + 10 * u**3).sum().backward()
    return u.grad


def source_with(part, mask_it=True):
    """Learners' answers: a formula of (I_a, I, β) with β in place."""

    def answer(anomalous, normal, mask, beta):
        found = part(anomalous, normal, beta.view(-1, 1, 1, 1))
        return torch.where(mask > 0, found, torch.zeros_like(found)) if mask_it else found

    return answer


def source_by_loop(anomalous, normal, mask, beta):
    found = torch.zeros_like(anomalous)
    for n, share in enumerate(beta.tolist()):
        inside = (mask[n] > 0).expand_as(normal[n])
        found[n][inside] = ((anomalous[n] - share * normal[n]) / (1 - share))[inside]
    return found


def counted(masks, foreground):
    """Right: pixel by pixel."""
    pixels = list(zip(masks.flatten().tolist(), foreground.flatten().tolist(), strict=True))
    anomalous = [on for is_anomalous, on in pixels if is_anomalous]
    return sum(anomalous) / len(anomalous) if anomalous else 0.0


def mean_of_image_shares(masks, foreground):
    shares = [counted(m, f) for m, f in zip(masks, foreground, strict=True) if m.any()]
    return sum(shares) / len(shares) if shares else 0.0


def guarded(part, whole):
    return (part.sum() / whole.sum()).item() if whole.any() else 0.0


RIGHT = [
    ("06.1", slope_by_autograd),
    ("06.1", lambda u: 30 * u**4 - 60 * u**3 + 30 * u**2),
    ("06.2", source_with(lambda a, n, b: (a - b * n) / (1 - b))),
    ("06.2", source_by_loop),
    ("06.3", counted),
    ("06.3", lambda m, f: f[m > 0].mean().item() if m.any() else 0.0),
    ("06.3", lambda m, f: f[m > 0].numpy().mean() if m.any() else 0),
]

HINTED = [
    ("06.1", lambda u: 6 * u**5 - 15 * u**4 + 10 * u**3, "the fade itself"),
    ("06.1", lambda u: 6 * u - 6 * u**2, "cubic"),
    ("06.1", lambda u: u * u * (6 * u * u - 15 * u + 10), "as factors too"),
    ("06.1", lambda u: 60 * u * (1 - u) * (1 - 2 * u), "second derivative"),
    ("06.1", lambda u: 30 * u**2 * (1 + u) ** 2, "minus"),
    ("06.1", lambda u: -30 * (u * (1 - u)) ** 2, "cannot be negative"),
    ("06.1", lambda u: (u * (1 - u)) ** 2, "a factor is missing"),
    ("06.2", source_with(lambda a, n, b: (a - b * n) / (1 - b), False), "nothing is known"),
    ("06.2", source_with(lambda a, n, b: a), "still holds the image"),
    ("06.2", source_with(lambda a, n, b: a - b * n), "too small"),
    ("06.2", source_with(lambda a, n, b: (a - n + b * n) / b), "swapped"),
    ("06.2", source_with(lambda a, n, b: (a - n) / (1 - b)), "only its share"),
    ("06.2", source_with(lambda a, n, b: a / b - n), "divided by β"),
    ("06.2", source_with(lambda a, n, b: (1 - b) * (a - b * n)), "undoes"),
    ("06.2", source_with(lambda a, n, b: (a + b * n) / (1 - b)), "added"),
    ("06.2", lambda a, n, m, b: (a - b * n) / (1 - b) * m, "along the width"),
    ("06.2", lambda a, n, m, b: source_by_loop(a, n, m, b[0].repeat(len(b))), "its own beta"),
    ("06.3", mean_of_image_shares, "a mean over images"),
    ("06.3", lambda m, f: guarded(m * (f == 0), m), "beside the object"),
    ("06.3", lambda m, f: guarded(m * f, f), "area of the object"),
    ("06.3", lambda m, f: ((m > 0) & (f > 0)).float().mean().item(), "divided by all pixels"),
    ("06.3", lambda m, f: f.mean().item(), "the mask is not used"),
    ("06.3", lambda m, f: f[m > 0].mean().item(), "0 / 0"),
    ("06.3", lambda m, f: guarded(m * f, (m + f).clamp(max=1)), "union"),
]

OTHER = [
    ("06.2", lambda a, n, m, b: source_by_loop(a, n, m, b.flip(0))),
    ("06.1", torch.ones_like),
    ("06.1", lambda u: torch.gradient(slope_by_autograd(u))[0] if len(u) > 1 else u),
    ("06.1", lambda u: slope_by_autograd(u).float()),
    ("06.1", lambda u: 30 * u**2 * (1 - u)),
    ("06.1", lambda u: slope_by_autograd(u) / 30 + 1),
    ("06.1", lambda u: torch.tensor([0.0, 1.875, 0.0], dtype=torch.float64)),
    ("06.1", lambda u: slope_by_autograd(u).clamp(max=1)),
    ("06.1", lambda u: 30 * u * (1 - u)),
    ("06.2", lambda a, n, m, b: torch.zeros_like(a)),
    ("06.2", lambda a, n, m, b: source_by_loop(a, n, (a != n).any(1, keepdim=True).float(), b)),
    ("06.2", lambda a, n, m, b: a),
    ("06.2", lambda a, n, m, b: n * m),
    ("06.2", lambda a, n, m, b: source_by_loop(a, n, m, b).clamp(0.2, 0.8)),
    ("06.2", lambda a, n, m, b: source_by_loop(a, n, m, b).double()),
    ("06.2", lambda a, n, m, b: source_by_loop(a, n, m, b.mean().expand(len(b)))),
    ("06.2", lambda a, n, m, b: source_by_loop(a, n, 1 - m, b)),
    ("06.2", lambda a, n, m, b: source_by_loop(n, a, m, b)),
    ("06.2", lambda a, n, m, b: a.sub_(b.view(-1, 1, 1, 1) * n)),
    ("06.3", lambda m, f: 0.5),
    ("06.3", lambda m, f: torch.tensor(counted(m, f))),
    ("06.3", lambda m, f: round(counted(m, f), 1)),
    ("06.3", lambda m, f: int((m * f).sum())),
    ("06.3", lambda m, f: float((m * f).sum())),
    ("06.3", lambda m, f: counted(m, f) if m.any() else 1.0),
    ("06.3", lambda m, f: counted(m[:1], f[:1])),
    ("06.3", lambda m, f: 1 - m.mean().item()),
]
