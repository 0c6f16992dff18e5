"""Answers of learners to the exercises of notebook 02: right ones, known mistakes, other ones."""

import math
from statistics import NormalDist

import torch


def betas_by_loop(alphas_cumprod):
    betas = torch.empty_like(alphas_cumprod)
    before = 1.0
    for t, alpha_bar in enumerate(alphas_cumprod):
        betas[t] = 1 - alpha_bar / before
        before = alpha_bar
    return betas


def betas_by_logs(alphas_cumprod):
    return -torch.expm1(torch.diff(alphas_cumprod.log(), prepend=torch.zeros(1).double()))


def betas_without_the_first(alphas_cumprod):
    betas = torch.zeros_like(alphas_cumprod)
    betas[1:] = 1 - alphas_cumprod[1:] / alphas_cumprod[:-1]
    return betas


def betas_rolled(alphas_cumprod):
    return 1 - alphas_cumprod / torch.roll(alphas_cumprod, 1, dims=0)


def jump_with(kept, signal, noise):
    """Learners' jumps: a share of (ᾱ_s, ᾱ_t), and the factors of image and noise by this share."""

    def answer(x_s, s, t, eps, alphas_cumprod):
        share = kept(alphas_cumprod[s], alphas_cumprod[t]).float().view(-1, 1, 1, 1)
        return signal(share) * x_s + noise(share) * eps

    return answer


def ratio(a_s, a_t):
    return a_t / a_s


jump = jump_with(ratio, torch.sqrt, lambda kept: (1 - kept).sqrt())


def jump_step_by_step(x_s, s, t, noise, alphas_cumprod):
    """Right: the factor and the variance are followed from s + 1 to t."""
    betas = betas_by_loop(alphas_cumprod)
    x_t = torch.empty_like(x_s)
    for image, (first, last) in enumerate(zip(s, t, strict=True)):
        factor, variance = 1.0, 0.0
        for beta in betas[first + 1 : last + 1].tolist():
            factor, variance = math.sqrt(1 - beta) * factor, (1 - beta) * variance + beta
        x_t[image] = factor * x_s[image] + math.sqrt(variance) * noise[image]
    return x_t


def jump_without_reshape(x_s, s, t, noise, alphas_cumprod):
    kept = (alphas_cumprod[t] / alphas_cumprod[s]).float()
    return torch.sqrt(kept) * x_s + torch.sqrt(1 - kept) * noise


def jump_with_betas(x_s, s, t, noise, alphas_cumprod):
    beta = betas_by_loop(alphas_cumprod)[t].float().view(-1, 1, 1, 1)
    return (1 - beta).sqrt() * x_s + beta.sqrt() * noise


def jump_with_the_first_image_only(x_s, s, t, noise, alphas_cumprod):
    kept = (alphas_cumprod[t[0]] / alphas_cumprod[s[0]]).float()
    return kept.sqrt() * x_s + (1 - kept).sqrt() * noise


def jump_with_the_first_t(x_s, s, t, noise, alphas_cumprod):
    kept = (alphas_cumprod[int(t[0])] / alphas_cumprod[s]).float().view(-1, 1, 1, 1)
    return kept.sqrt() * x_s + (1 - kept).sqrt() * noise


def jump_by_two_jumps(x_s, s, t, noise, alphas_cumprod):
    """Right: the factors of x_0 and of the noise, solved for x_s."""
    a_s, a_t = (alphas_cumprod[i].reshape(-1, 1, 1, 1) for i in (s, t))
    left = (1 - a_t) - (1 - a_s) * a_t / a_s
    return (torch.sqrt(a_t / a_s) * x_s + left.sqrt() * noise).float()


def alphas(a):
    """α_t by a loop."""
    return torch.stack([now / (a[t - 1] if t else 1) for t, now in enumerate(a)])


def contrast_by_step(share):
    """Learners' contrasts with a signal share of step t alone, by β_t."""

    def contrast(pixels, t, alphas_cumprod, auroc):
        signal = share(betas_by_loop(alphas_cumprod)[t].item())
        return wanted(auroc) / (norm(pixels) * root_snr(signal))

    return contrast


def jump_with_own_noise(x_s, s, t, noise, alphas_cumprod):
    kept = (alphas_cumprod[t] / alphas_cumprod[s]).float().view(-1, 1, 1, 1)
    return kept.sqrt() * x_s + (1 - kept).sqrt() * torch.randn_like(x_s)


def jump_in_float64(x_s, s, t, noise, alphas_cumprod):
    kept = (alphas_cumprod[t] / alphas_cumprod[s]).view(-1, 1, 1, 1)
    return kept.sqrt() * x_s + (1 - kept).sqrt() * noise


def contrast_with(d_prime, values, root_snr):
    """Learners' contrasts: d' by auroc, number of values by pixels, root of the SNR by ᾱ_t."""

    def contrast(pixels, t, alphas_cumprod, auroc):
        return d_prime(auroc) / (root_snr(float(alphas_cumprod[t])) * values(pixels))

    return contrast


def wanted(auroc):
    return math.sqrt(2) * NormalDist().inv_cdf(auroc)


def norm(pixels):
    return math.sqrt(3 * pixels)


def root_snr(alpha_bar):
    return math.sqrt(alpha_bar / (1 - alpha_bar))


def contrast_by_bisection(pixels, t, alphas_cumprod, auroc):
    """Right: tries contrasts until Φ(d'/√2) is the AUROC."""
    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        d_prime = middle * math.sqrt(3 * pixels * alphas_cumprod[t] / (1 - alphas_cumprod[t]))
        low, high = (low, middle) if NormalDist(0, 2**0.5).cdf(d_prime) > auroc else (middle, high)
    return middle


def tensor_contrast(pixels, t, alphas_cumprod, auroc):
    return torch.tensor(contrast_by_bisection(pixels, t, alphas_cumprod, auroc))


RIGHT = [
    ("02.1", betas_by_loop),
    ("02.1", betas_by_logs),
    ("02.2", jump),
    ("02.2", jump_step_by_step),
    ("02.2", jump_by_two_jumps),
    ("02.3", contrast_with(wanted, norm, root_snr)),
    ("02.3", contrast_by_bisection),
    (
        "02.3",
        lambda n, t, a, p: float(
            2**0.5
            * torch.special.ndtri(torch.tensor(p, dtype=a.dtype))
            * (1 / a[t] - 1).sqrt()
            / (3 * n) ** 0.5
        ),
    ),
]

HINTED = [
    ("02.1", lambda a: torch.cat([a[:1], a[1:] / a[:-1]]), "these are α_t"),
    ("02.1", lambda a: 1.0 - torch.cat([torch.ones(1).double(), a])[:-1] / a, "upside down"),
    ("02.1", lambda a: (1 - a).clone(), "variance after all steps"),
    ("02.1", lambda a: 1 - a[1:] / a[:-1], "β_0 is missing"),
    ("02.1", betas_without_the_first, "β_0 is 0"),
    ("02.1", betas_rolled, "roll"),
    ("02.1", lambda a: -torch.diff(a, prepend=torch.ones(1).double()), "a product, not a sum"),
    ("02.1", lambda a: 1 - (1 - betas_by_loop(a)) ** 0.5, "β_t is a variance"),
    (
        "02.2",
        jump_with(lambda a_s, a_t: a_t, torch.sqrt, lambda kept: (1 - kept).sqrt()),
        "the way from x_0",
    ),
    (
        "02.2",
        lambda x, s, t, noise, a: (
            (a[t] / a[s]).sqrt().float().view(-1, 1, 1, 1) * x
            + (1 - a[t]).sqrt().float().view(-1, 1, 1, 1) * noise
        ),
        "holds some noise already",
    ),
    ("02.2", jump_with_betas, "β_t stands where"),
    ("02.2", jump_with(ratio, lambda kept: kept, lambda kept: 1 - kept), "both roots"),
    ("02.2", jump_with(ratio, torch.sqrt, lambda kept: 1 - kept), "scaled by its variance"),
    ("02.2", jump_with(ratio, lambda kept: kept, lambda kept: (1 - kept) ** 0.5), "lacks a root"),
    (
        "02.2",
        lambda x, s, t, noise, a: (
            (a[t] / a[s]).sqrt().float().view(-1, 1, 1, 1) * x
            + ((1 - a[t]) - (1 - a[s])).sqrt().float().view(-1, 1, 1, 1) * noise
        ),
        "do not simply subtract",
    ),
    (
        "02.2",
        jump_with(lambda a_s, a_t: a_s / a_t, torch.sqrt, lambda kept: (1 - kept).sqrt()),
        "the smaller ᾱ",
    ),
    (
        "02.2",
        jump_with(lambda a_s, a_t: a_t - a_s, torch.sqrt, lambda kept: (1 - kept).sqrt()),
        "a negative number under a root?",
    ),
    ("02.2", jump_without_reshape, "along the width"),
    ("02.2", lambda x, s, t, n, a: jump(x, s - 1, t - 1, n, a), "0-based"),
    ("02.2", jump_with_the_first_image_only, "its own s and t"),
    ("02.2", jump_with_the_first_t, "its own t;"),
    ("02.2", lambda x, s, t, n, a: jump(x, s, t, n, alphas(a)), "of step t alone"),
    ("02.2", lambda x, s, t, n, a: jump(x, s, t, n, betas_by_loop(a)), "β_t stands where ᾱ_t"),
    ("02.3", contrast_by_step(lambda beta: 1 - beta), "of step t alone"),
    ("02.3", contrast_by_step(lambda beta: beta), "β_t stands where ᾱ_t"),
    ("02.3", contrast_with(NormalDist().inv_cdf, norm, root_snr), "a √2 is missing"),
    ("02.3", contrast_with(lambda p: 2 * NormalDist().inv_cdf(p), norm, root_snr), "2 stands"),
    ("02.3", contrast_with(lambda p: 2**0.5 * NormalDist().cdf(p), norm, root_snr), "its inverse"),
    ("02.3", contrast_with(wanted, math.sqrt, root_snr), "three values"),
    ("02.3", contrast_with(wanted, lambda pixels: 1, root_snr), "size of the defect"),
    ("02.3", contrast_with(wanted, lambda pixels: 3 * pixels, root_snr), "not with the number"),
    ("02.3", contrast_with(wanted, norm, lambda a: a / (1 - a)), "one of amplitudes"),
    ("02.3", contrast_with(wanted, norm, lambda a: 1 / root_snr(a)), "on the wrong side"),
    ("02.3", contrast_with(wanted, norm, math.sqrt), "deviation is missing"),
    ("02.3", contrast_with(wanted, norm, lambda a: math.sqrt(a) / (1 - a)), "noise's variance"),
    ("02.3", lambda *given: contrast_by_bisection(*given) ** 2, "that is c²"),
    ("02.3", lambda n, t, a, p: contrast_by_bisection(n, t - 1, a, p), "0-based"),
]

OTHER = [
    ("02.1", torch.zeros_like),
    ("02.1", lambda a: torch.linspace(1e-4, 0.02, len(a)).double()),
    ("02.1", lambda a: 1 - a ** (1 / len(a))),
    ("02.1", lambda a: betas_by_loop(a).float()),
    ("02.1", lambda a: betas_by_loop(a)[None]),
    ("02.1", lambda a: betas_by_loop(a).clamp(max=0.25)),
    ("02.1", lambda a: betas_by_loop(a).flip(0)),
    ("02.1", lambda a: torch.tensor([0.1, 0.2, 0.5], dtype=torch.float64)),
    ("02.1", lambda a: betas_by_loop(a).numpy()),
    ("02.1", lambda a: a.div_(torch.cat([torch.ones(1), a[:-1]])).neg_().add_(1)),
    ("02.2", lambda x, s, t, noise, a: x),
    ("02.2", lambda x, s, t, noise, a: noise),
    ("02.2", lambda x, s, t, noise, a: x + noise),
    ("02.2", jump_in_float64),
    ("02.2", jump_with_own_noise),
    ("02.2", lambda x, s, t, noise, a: jump_step_by_step(x, s, t, -noise, a)),
    ("02.2", lambda x, s, t, noise, a: jump_step_by_step(noise, s, t, x, a)),
    ("02.2", lambda x, s, t, noise, a: jump_step_by_step(x, s, t, noise, a).clamp(-1, 1)),
    ("02.2", lambda x, s, t, noise, a: jump_step_by_step(x, s + 1, t, noise, a)),
    ("02.3", lambda pixels, t, a, auroc: 0.0),
    ("02.3", lambda pixels, t, a, auroc: 0.3967),
    ("02.3", tensor_contrast),
    ("02.3", lambda *given: round(contrast_by_bisection(*given), 2)),
    ("02.3", lambda *given: -contrast_by_bisection(*given)),
    ("02.3", lambda *given: min(contrast_by_bisection(*given), 0.4)),
    ("02.3", contrast_with(NormalDist().inv_cdf, math.sqrt, root_snr)),
    ("02.3", contrast_with(wanted, lambda pixels: 3 * math.sqrt(pixels), root_snr)),
    ("02.3", lambda pixels, t, a: 0.0),
]
