"""Exercises of notebook 04, one step or many."""

from collections.abc import Callable
from math import log, sqrt

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Function, Mistake
from diffad_lib.course.exercises.slips import draw_alphas_cumprod, given, of_the_schedule, one_early

# 04.1: the largest t at which an error of the noise is still bearable


def largest_start(eps_mse: float, limit: float, alphas_cumprod: Tensor) -> int:
    """The last t with √(1/ᾱ_t - 1) · √eps_mse <= limit, or -1."""
    return _last(((1 / alphas_cumprod - 1) * eps_mse).sqrt() <= limit)


def _last(good: Tensor) -> int:
    """The last index of a mask that starts true and ends false; -1 if there is none."""
    return int(good.sum()) - 1


def _start_with(error: Callable[[Tensor, float], Tensor]) -> Function:
    """`largest_start` by another formula of the error, from (ᾱ [T], eps_mse)."""
    return lambda eps_mse, limit, alphas_cumprod: _last(error(alphas_cumprod, eps_mse) <= limit)


def _starts(generator: torch.Generator) -> list[Arguments]:
    """Limits where formulas part; below all, above all, above the first, and met exactly."""
    first = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
    cases: list[Arguments] = [(0.01, 0.15, first)]
    for steps, at, eps_mse in ((30, 0.25, 0.02), (60, 0.4, 0.3), (120, 0.15, 0.004)):
        alphas_cumprod = draw_alphas_cumprod(steps, generator)
        below, above = (1 / alphas_cumprod[int(at * steps) :][:2] - 1).sqrt().tolist()
        # Between the errors at two t, nearer to the one that is too large.
        limit = sqrt(eps_mse) * (0.3 * below + 0.7 * above)
        cases.append((eps_mse, limit, alphas_cumprod))
    alphas_cumprod = draw_alphas_cumprod(10, generator)
    cases += [(1.0, 0.001, alphas_cumprod), (1e-4, 50.0, alphas_cumprod)]
    # 1/0.5 - 1 = 1 and √0.25 = 0.5: no rounding, in whatever order and form they are compared.
    equal = (0.25, 0.5, torch.tensor([0.75, 0.5, 0.1], dtype=torch.float64))
    growing = (1 - torch.linspace(0.02, 0.22, 30, dtype=torch.float64)).cumprod(0)
    return [*cases, (0.01, 0.05, first.clone()), equal, (0.5, 0.235, growing)]


_START = Exercise(
    "04.1",
    largest_start,
    _starts,
    (
        Mistake(
            "that is how many t will do; t is 0-based, so which is the last of them?",
            lambda *g: largest_start(*g) + 1,
        ),
        Mistake(
            "a root is missing: eps_mse is a squared error, limit is not.",
            _start_with(lambda a, mse: (1 / a - 1).sqrt() * mse),
        ),
        Mistake(
            "a root is missing: you compare a squared error with limit.",
            _start_with(lambda a, mse: (1 / a - 1) * mse),
        ),
        Mistake(
            "the amplification lacks its root: errors, not squared errors, are compared.",
            _start_with(lambda a, mse: (1 / a - 1) * mse**0.5),
        ),
        Mistake(
            "the ratio is upside down: the error grows as ᾱ falls.",
            _start_with(lambda a, mse: (mse * a / (1 - a)).sqrt()),
        ),
        Mistake(
            "√(1-ᾱ_t) is only half of it: x̂_0 is divided by √ᾱ_t as well.",
            _start_with(lambda a, mse: (mse * (1 - a)).sqrt()),
        ),
        Mistake(
            "1/√ᾱ_t is the factor of x_t; which one stands before the noise?",
            _start_with(lambda a, mse: (mse / a).sqrt()),
        ),
        Mistake("where no t will do, the answer is -1.", lambda *g: max(largest_start(*g), 0)),
        Mistake(
            "an error equal to limit will do: at most means <=.",
            lambda mse, limit, a: _last(((1 / a - 1) * mse).sqrt() < limit),
        ),
        Mistake(
            "the nearest error to limit may lie above it; at most limit is asked for.",
            lambda mse, limit, a: int((((1 / a - 1) * mse).sqrt() - limit).abs().argmin()),
        ),
        *of_the_schedule(largest_start),
    ),
)

# 04.2: one DDIM step


def ddim_step(x_t: Tensor, pred_x0: Tensor, t: int, earlier: int, alphas_cumprod: Tensor) -> Tensor:
    """√ᾱ_s x̂_0 + √(1-ᾱ_s) ε with the ε that x_t and x̂_0 imply; ᾱ_{-1} = 1."""
    now, then = _alpha_bar(alphas_cumprod, t), _alpha_bar(alphas_cumprod, earlier)
    return _renoised(x_t, pred_x0, now, then)


def _alpha_bar(alphas_cumprod: Tensor, t: int) -> float:
    return alphas_cumprod[t].item() if t >= 0 else 1.0


def _implied_eps(x_t: Tensor, pred_x0: Tensor, now: float) -> Tensor:
    return (x_t - sqrt(now) * pred_x0) / sqrt(1 - now)


def _renoised(x_t: Tensor, pred_x0: Tensor, now: float, then: float) -> Tensor:
    eps = _implied_eps(x_t, pred_x0, now)
    return sqrt(then) * pred_x0 + sqrt(1 - then) * eps


Step = Callable[[Tensor, Tensor, float, float], Tensor]


def _step_with(formula: Step) -> Function:
    """`ddim_step` by another formula of (x_t, x̂_0, ᾱ_t, ᾱ_earlier)."""
    return lambda x_t, pred_x0, t, earlier, alphas_cumprod: formula(
        x_t, pred_x0, _alpha_bar(alphas_cumprod, t), _alpha_bar(alphas_cumprod, earlier)
    )


def _noise_with(noise: Step) -> Function:
    """`ddim_step` with another noise beside the right image."""
    return _step_with(lambda x_t, x_0, now, then: sqrt(then) * x_0 + noise(x_t, x_0, now, then))


def _posterior_mean(x_t: Tensor, pred_x0: Tensor, now: float, then: float) -> Tensor:
    """The mean of q(x_earlier | x_t, x̂_0), an ancestral step without its noise."""
    kept = now / then
    of_image = sqrt(then) * (1 - kept) / (1 - now)
    return of_image * pred_x0 + sqrt(kept) * (1 - then) / (1 - now) * x_t


def _steps(generator: torch.Generator) -> list[Arguments]:
    alphas_cumprod = torch.tensor([0.9, 0.64, 0.36], dtype=torch.float64)
    x_t, pred_x0 = torch.tensor([[1.0, -0.5], [0.5, 0.0]]).reshape(2, 1, 1, 1, 2)
    cases: list[Arguments] = [(x_t, pred_x0, 2, 1, alphas_cumprod)]
    for steps, t, earlier in ((12, 11, 4), (20, 9, 0), (20, 7, -1), (15, 0, -1), (30, 15, 14)):
        x_t, pred_x0 = torch.randn(2, 2, 3, 2, 2, generator=generator)
        cases.append((x_t, pred_x0.clamp(-1, 1), t, earlier, draw_alphas_cumprod(steps, generator)))
    return cases


_STEP = Exercise(
    "04.2",
    ddim_step,
    _steps,
    (
        Mistake(
            "alphas_cumprod[-1] is the noisiest step, not the end: what is ᾱ where no noise is?",
            lambda x, x_0, t, earlier, a: _renoised(x, x_0, a[t].item(), a[earlier].item()),
        ),
        Mistake(
            "that is x_t again: does ᾱ of t stand where that of the earlier step belongs?",
            lambda x_t, *rest: x_t.clone(),
        ),
        Mistake(
            "the noise of x_t was left out: only the scaled x̂_0 is there.",
            _noise_with(lambda x, x_0, now, then: torch.zeros_like(x)),
        ),
        Mistake(
            "x̂_0 is not scaled: at the earlier step the image has the factor √ᾱ.",
            _step_with(lambda x, x_0, now, then: x_0 + sqrt(1 - then) * _implied_eps(x, x_0, now)),
        ),
        Mistake(
            "x_t stands where the noise belongs: take the image out of it first.",
            _noise_with(lambda x, x_0, now, then: sqrt(1 - then) * x),
        ),
        Mistake(
            "what x_t holds beside the image is √(1-ᾱ_t) ε; it still has to become ε.",
            _noise_with(lambda x, x_0, now, then: sqrt(1 - then) * (x - sqrt(now) * x_0)),
        ),
        Mistake(
            "the noise is taken from x_t minus x̂_0, but x_t holds √ᾱ_t x̂_0.",
            _noise_with(lambda x, x_0, now, then: sqrt((1 - then) / (1 - now)) * (x - x_0)),
        ),
        Mistake(
            "the noise keeps its amount of t: at the earlier step there is less.",
            _noise_with(lambda x, x_0, now, then: sqrt(1 - now) * _implied_eps(x, x_0, now)),
        ),
        Mistake(
            "that is the mean of an ancestral step; DDIM puts back all of the noise it found.",
            _step_with(_posterior_mean),
        ),
        *of_the_schedule(ddim_step),
        one_early(ddim_step),
    ),
)

# 04.3: the posterior mean of two modes


def best_guess(x_t: Tensor, t: int, mode: float, share: float, alphas_cumprod: Tensor) -> Tensor:
    """mode · (2 P(+mode | x_t) - 1), by Bayes."""
    return mode * (2 * _probability(x_t, alphas_cumprod[t], mode, share) - 1)


def _probability(x_t: Tensor, alpha_bar: Tensor, mode: float, share: float) -> Tensor:
    """P(x_0 = +mode | x_t), the logistic function of the log odds."""
    odds = 2 * alpha_bar.sqrt() * mode * x_t / (1 - alpha_bar)
    return torch.sigmoid(odds + log(share / (1 - share)))


def _guess_by_densities(
    scale: Callable[[Tensor], Tensor], variance: Callable[[Tensor], Tensor]
) -> Function:
    """`best_guess` with other means and another variance of x_t, functions of ᾱ_t."""

    def wrong(x_t: Tensor, t: int, mode: float, share: float, alphas_cumprod: Tensor) -> Tensor:
        mean, twice = scale(alphas_cumprod[t]) * mode, 2 * variance(alphas_cumprod[t])
        odds = ((x_t + mean).square() - (x_t - mean).square()) / twice
        return mode * (2 * torch.sigmoid(odds + log(share / (1 - share))) - 1)

    return wrong


def _guesses(generator: torch.Generator) -> list[Arguments]:
    """Weights that are neither 0 nor 1, and rare modes on either side."""
    alphas_cumprod = torch.tensor([0.9, 0.5, 0.25], dtype=torch.float64)
    cases: list[Arguments] = [
        (torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64), 2, 1.0, 0.25, alphas_cumprod)
    ]
    for steps, t, mode, share in ((12, 5, 0.6, 0.1), (20, 19, 1.5, 0.8), (15, 8, 0.9, 0.02)):
        x_t = torch.randn(6, generator=generator, dtype=torch.float64)
        cases.append((x_t, t, mode, share, draw_alphas_cumprod(steps, generator)))
    return cases


_GUESS = Exercise(
    "04.3",
    best_guess,
    _guesses,
    (
        Mistake(
            "the share is not used: a rare mode needs more evidence.",
            given(best_guess, share=lambda p: 0.5),
        ),
        Mistake("share and 1 - share are swapped.", given(best_guess, share=lambda p: 1 - p)),
        Mistake(
            "that is the likelier mode, where a trajectory would tend; the best guess is a mean.",
            lambda x, t, mode, *rest: mode * best_guess(x, t, mode, *rest).sign(),
        ),
        Mistake(
            "that is the mean before x_t was seen; x_t says more.",
            lambda x, t, mode, share, a: torch.full_like(x, mode * (2 * share - 1)),
        ),
        Mistake(
            "that is a probability; weigh the two modes with it.",
            lambda x, t, mode, share, a: _probability(x, a[t], mode, share),
        ),
        Mistake(
            "the means of x_t are ±√ᾱ_t mode: the root is missing.",
            _guess_by_densities(lambda a: a, lambda a: 1 - a),
        ),
        Mistake(
            "the means of x_t are ±√ᾱ_t mode, not ±mode.",
            _guess_by_densities(torch.ones_like, lambda a: 1 - a),
        ),
        Mistake(
            "a Gaussian's exponent is divided by twice the variance: the 2 is missing.",
            _guess_by_densities(torch.sqrt, lambda a: (1 - a) / 2),
        ),
        Mistake(
            "the standard deviation stands where the variance 1 - ᾱ_t belongs.",
            _guess_by_densities(torch.sqrt, lambda a: (1 - a).sqrt()),
        ),
        Mistake(
            "that is the mean of √ᾱ_t x_0; x_0 is wanted.",
            lambda x, t, mode, share, a: a[t].sqrt() * best_guess(x, t, mode, share, a),
        ),
        Mistake(
            "ᾱ_t and 1 - ᾱ_t are swapped: ᾱ_t is the share of the image, 1 - ᾱ_t of the noise.",
            given(best_guess, alphas_cumprod=lambda a: 1 - a),
        ),
        Mistake(
            "√(1-ᾱ_t) is the factor of the noise; the modes come with √ᾱ_t.",
            _guess_by_densities(lambda a: (1 - a).sqrt(), lambda a: 1 - a),
        ),
        Mistake(
            "ᾱ_t stands where the variance of the noise belongs, 1 - ᾱ_t.",
            _guess_by_densities(torch.sqrt, lambda a: a),
        ),
        Mistake(
            "the log odds of the share count twice: tanh takes half of them.",
            given(best_guess, share=lambda p: p**2 / (p**2 + (1 - p) ** 2)),
        ),
        *of_the_schedule(best_guess),
        one_early(best_guess),
    ),
)

EXERCISES = (_START, _STEP, _GUESS)
