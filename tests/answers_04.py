"""Answers of learners to the exercises of notebook 04: right ones, known mistakes, other ones."""

import math

import torch


def start_by_loop(eps_mse, limit, alphas_cumprod):
    best = -1
    for t, alpha_bar in enumerate(alphas_cumprod.tolist()):
        if math.sqrt(eps_mse * (1 - alpha_bar) / alpha_bar) <= limit:
            best = t
    return best


def start_by_alpha(eps_mse, limit, alphas_cumprod):
    """Right: solved for ᾱ_t."""
    return int((alphas_cumprod >= 1 / (1 + limit**2 / eps_mse)).sum()) - 1


def start_if(bearable):
    """Learners' starts: the last t at which `bearable(ᾱ_t, eps_mse, limit)`."""

    def start(eps_mse, limit, alphas_cumprod):
        good = [t for t, a in enumerate(alphas_cumprod.tolist()) if bearable(a, eps_mse, limit)]
        return max(good, default=-1)

    return start


def bar(alphas_cumprod, t):
    return 1.0 if t == -1 else alphas_cumprod[t].item()


def step(x, x_0, t, earlier, a):
    """Right: as two coefficients, of x_t and of x̂_0."""
    now, then = bar(a, t), bar(a, earlier)
    kept = math.sqrt((1 - then) / (1 - now))
    return kept * x + (math.sqrt(then) - kept * math.sqrt(now)) * x_0


def step_by_cases(x, x_0, t, earlier, a):
    if earlier < 0:
        return x_0
    eps = (x - a[t].sqrt().float() * x_0) / (1 - a[t]).sqrt().float()
    return a[earlier].sqrt().float() * x_0 + (1 - a[earlier]).sqrt().float() * eps


def step_with(image, noise):
    """Learners' steps: the factor of x̂_0 by (now, then), the rest by (x, x̂_0, now, then)."""

    def answer(x, x_0, t, earlier, a):
        now, then = bar(a, t), bar(a, earlier)
        return image(now, then) * x_0 + noise(x, x_0, now, then)

    return answer


def right_image(now, then):
    return then**0.5


def right_noise(x, x_0, now, then):
    return (1 - then) ** 0.5 * eps_of(x, x_0, now)


def eps_of(x, x_0, now):
    return (x - now**0.5 * x_0) / (1 - now) ** 0.5


def step_without_the_end(x, x_0, t, earlier, a):
    eps = (x - a[t].sqrt().float() * x_0) / (1 - a[t]).sqrt().float()
    return a[earlier].sqrt().float() * x_0 + (1 - a[earlier]).sqrt().float() * eps


def ancestral_mean(x, x_0, t, earlier, a):
    now, then = bar(a, t), bar(a, earlier)
    beta = 1 - now / then
    return (then**0.5 * beta * x_0 + (1 - beta) ** 0.5 * (1 - then) * x) / (1 - now)


def guess_with(scale, variance, prior=lambda share: share):
    """Learners' guesses: by Bayes, with means ±scale(ᾱ) mode and a variance of their own."""

    def guess(x, t, mode, share, a):
        plus = prior(share) * torch.exp(-((x - scale(a[t]) * mode) ** 2) / (2 * variance(a[t])))
        minus = torch.exp(-((x + scale(a[t]) * mode) ** 2) / (2 * variance(a[t])))
        minus = (1 - prior(share)) * minus
        return (plus * mode - minus * mode) / (plus + minus)

    return guess


def rest(a):
    return 1 - a


def alphas(a):
    return torch.cat([a[:1], a[1:] / a[:-1]])


def by_step(answer, share):
    """The right answer with a share of step t alone, by β_t, in place of ᾱ_t."""
    return lambda *given: answer(*given[:-1], share(1 - alphas(given[-1])))


guess = guess_with(torch.sqrt, rest)


def guess_by_tanh(x, t, mode, share, a):
    half = math.log(share / (1 - share)) / 2
    return mode * torch.tanh(a[t].sqrt() * mode * x / (1 - a[t]) + half)


def guess_by_tanh_without_half(x, t, mode, share, a):
    odds = math.log(share / (1 - share))
    return mode * torch.tanh(a[t].sqrt() * mode * x / (1 - a[t]) + odds)


RIGHT = [
    ("04.1", start_by_loop),
    ("04.1", start_by_alpha),
    (
        "04.1",
        lambda mse, lim, a: int(torch.searchsorted(-a, -1 / (1 + lim**2 / mse), right=True)) - 1,
    ),
    ("04.2", step),
    ("04.2", step_by_cases),
    ("04.3", guess),
    ("04.3", guess_by_tanh),
    ("04.3", lambda x, t, m, p, a: torch.stack([guess(each, t, m, p, a) for each in x])),
]

HINTED = [
    ("04.1", lambda *given: start_by_loop(*given) + 1, "0-based"),
    ("04.1", start_if(lambda a, mse, lim: mse * ((1 - a) / a) ** 0.5 <= lim), "eps_mse is a"),
    ("04.1", start_if(lambda a, mse, lim: mse * (1 - a) / a <= lim), "a squared error with limit"),
    ("04.1", start_if(lambda a, mse, lim: mse**0.5 * (1 - a) / a <= lim), "amplification lacks"),
    (
        "04.1",
        lambda mse, lim, a: int(((a / (1 - a) * mse) ** 0.5 <= lim).sum()) - 1,
        "upside down",
    ),
    ("04.1", start_if(lambda a, mse, lim: (mse * (1 - a)) ** 0.5 <= lim), "only half of it"),
    ("04.1", start_if(lambda a, mse, lim: (mse / a) ** 0.5 <= lim), "the factor of x_t"),
    ("04.1", lambda *given: max(0, start_by_alpha(*given)), "the answer is -1"),
    ("04.1", start_if(lambda a, mse, lim: (mse * (1 - a) / a) ** 0.5 < lim), "at most means <="),
    (
        "04.1",
        lambda mse, limit, a: int((((1 / a - 1) * mse).sqrt() - limit).abs().argmin()),
        "the nearest error",
    ),
    ("04.1", by_step(start_by_loop, lambda beta: 1 - beta), "of step t alone"),
    ("04.1", by_step(start_by_alpha, lambda beta: beta), "β_t stands where ᾱ_t"),
    ("04.2", by_step(step, lambda beta: 1 - beta), "of step t alone"),
    ("04.2", by_step(step, lambda beta: beta), "β_t stands where ᾱ_t"),
    ("04.2", lambda x, o, t, s, a: step(x, o, t, s, torch.cat([a[-1:], a[:-1]])), "without - 1"),
    ("04.2", step_without_the_end, "noisiest step"),
    ("04.2", lambda x, x_0, t, s, a: step(x, x_0, t, t, a), "that is x_t again"),
    ("04.2", lambda x, *rest: x, "that is x_t again"),
    ("04.2", step_with(right_image, lambda *_: 0), "was left out"),
    ("04.2", step_with(lambda *_: 1, right_noise), "not scaled"),
    ("04.2", step_with(right_image, lambda x, _, now, s: (1 - s) ** 0.5 * x), "x_t stands where"),
    (
        "04.2",
        step_with(right_image, lambda x, o, now, s: (1 - s) ** 0.5 * (x - now**0.5 * o)),
        "has to become ε",
    ),
    (
        "04.2",
        step_with(right_image, lambda x, o, now, s: (1 - s) ** 0.5 * (x - o) / (1 - now) ** 0.5),
        "x_t minus x̂_0",
    ),
    (
        "04.2",
        step_with(right_image, lambda x, o, now, s: (1 - now) ** 0.5 * eps_of(x, o, now)),
        "keeps its amount",
    ),
    ("04.2", ancestral_mean, "ancestral step"),
    ("04.3", guess_with(torch.sqrt, rest, lambda share: 0.5), "the share is not used"),
    ("04.3", guess_with(torch.sqrt, rest, lambda share: 1 - share), "swapped"),
    ("04.3", lambda x, t, m, p, a: m * torch.sign(guess(x, t, m, p, a)), "the likelier mode"),
    ("04.3", lambda x, t, m, p, a: torch.full_like(x, m * p - m * (1 - p)), "before x_t was seen"),
    ("04.3", lambda x, t, m, p, a: (guess(x, t, m, p, a) / m + 1) / 2, "that is a probability"),
    ("04.3", guess_with(lambda a: a, rest), "the root is missing"),
    ("04.3", guess_with(lambda a: 1, rest), "not ±mode"),
    ("04.3", guess_with(lambda a: (1 - a).sqrt(), lambda a: a), "are swapped: ᾱ_t is"),
    ("04.3", guess_with(lambda a: (1 - a).sqrt(), rest), "the factor of the noise"),
    ("04.3", guess_with(torch.sqrt, lambda a: a), "ᾱ_t stands where the variance"),
    ("04.3", guess_by_tanh_without_half, "count twice"),
    ("04.3", by_step(guess, lambda beta: 1 - beta), "of step t alone"),
    ("04.3", by_step(guess, lambda beta: beta), "β_t stands where ᾱ_t"),
    ("04.3", guess_with(torch.sqrt, lambda a: (1 - a) / 2), "the 2 is missing"),
    ("04.3", guess_with(torch.sqrt, lambda a: (1 - a).sqrt()), "standard deviation stands"),
    ("04.3", lambda x, t, m, p, a: guess(x, t, m, p, a) * a[t] ** 0.5, "x_0 is wanted"),
    ("04.3", lambda x, t, m, p, a: guess_by_tanh(x, t - 1, m, p, a), "0-based"),
]

OTHER = [
    ("04.1", lambda eps_mse, limit, a: 0),
    ("04.1", lambda eps_mse, limit, a: len(a) - 1),
    ("04.1", lambda eps_mse, limit, a: 1),
    ("04.1", lambda *given: start_by_loop(*given) - 1),
    ("04.1", lambda *given: float(start_by_loop(*given))),
    ("04.1", lambda *given: torch.tensor(start_by_loop(*given))),
    ("04.1", lambda mse, limit, a: start_by_loop(limit, mse, a)),
    ("04.1", lambda *given: start_by_loop(*given) or -1),
    ("04.1", start_if(lambda a, mse, lim: (1 - a) ** 0.5 * mse <= lim)),
    ("04.1", lambda mse, limit, a: int((a > limit).sum()) - 1),
    ("04.1", lambda mse, limit, a: min(start_by_loop(mse, limit, a), 8)),
    ("04.2", lambda x, x_0, t, s, a: torch.zeros_like(x)),
    ("04.2", step_with(lambda now, s: s, lambda x, o, now, s: (1 - s) * (x - now * o) / (1 - now))),
    ("04.2", lambda x, x_0, t, s, a: x_0),
    ("04.2", lambda x, x_0, t, s, a: step(x, x_0, t, max(s, 0), a)),
    ("04.2", lambda x, x_0, t, s, a: step(x_0, x, t, s, a)),
    ("04.2", lambda x, x_0, t, s, a: step(x, x_0, t, s, a).double()),
    ("04.2", lambda x, x_0, t, s, a: step(x, x_0, t, s, a).clamp(-1, 1)),
    ("04.2", lambda x, x_0, t, s, a: step(x, x_0, t, s, a) + 0.1 * torch.randn_like(x)),
    ("04.2", step_with(right_image, lambda *given: -right_noise(*given))),
    ("04.2", lambda x, x_0, t, s, a: step(x, x_0, t, s, a)[:1]),
    ("04.3", lambda x, t, m, p, a: torch.zeros_like(x)),
    ("04.3", lambda x, t, m, p, a: x / a[t].sqrt()),
    ("04.3", lambda x, t, m, p, a: guess(x, t, m, p, a).float()),
    ("04.3", lambda x, t, m, p, a: guess(x, t, m, p, a)[:, None]),
    ("04.3", lambda x, t, m, p, a: -guess(x, t, m, p, a)),
    ("04.3", lambda x, t, m, p, a: guess(x, t, m, p, a) / m),
    ("04.3", lambda x, t, m, p, a: m * torch.tanh(x)),
    ("04.3", lambda x, t, m, p, a: guess(x, t, 1.0, p, a)),
    ("04.3", lambda x, t, m, p, a: guess(x, t, m, p, a).mean().item()),
    ("04.3", guess_with(torch.sqrt, lambda a: 1)),
]
