"""Exercises of notebook 11, DiffusionAD from scratch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Function, Mistake
from diffad_lib.course.exercises.slips import before, draw_alphas_cumprod

# 11.1: how t is told


def waves(t: Tensor, width: int) -> Tensor:
    """sin(t f), then cos(t f), with f = 10000^(-i / half) for i below half = width / 2."""
    return torch.cat([_angles(t, width).sin(), _angles(t, width).cos()], dim=1)


def _angles(t: Tensor, width: int) -> Tensor:
    half = width // 2
    return _powers(t, -torch.arange(half) / half)


def _with(angles: Callable[[Tensor, int], Tensor]) -> Function:
    """`waves` of other angles, a function of (t, width)."""
    return lambda t, width: torch.cat([angles(t, width).sin(), angles(t, width).cos()], dim=1)


def _powers(t: Tensor, exponents: Tensor) -> Tensor:
    return t.float()[:, None] * 10_000.0**exponents


def _steps(generator: torch.Generator) -> list[Arguments]:
    """Small t: at large ones the rounding of t f differs with the order of operations."""
    cases: list[Arguments] = [(torch.tensor([0, 2]), 4)]
    for batch, width in ((3, 8), (5, 32)):
        cases.append((torch.randint(5, (batch,), generator=generator), width))
    return cases


_WAVES = Exercise(
    "11.1",
    waves,
    _steps,
    (
        Mistake(
            "sines and cosines have changed places: the sines come first.",
            lambda t, width: waves(t, width).roll(width // 2, 1),
        ),
        Mistake(
            "sine and cosine take turns in yours; all sines come first, then all cosines.",
            lambda t, width: waves(t, width).unflatten(1, (2, -1)).transpose(1, 2).flatten(1),
        ),
        Mistake(
            "the second half repeats the sines; a sine alone does not tell where on the wave t is.",
            lambda t, width: _angles(t, width).sin().repeat(1, 2),
        ),
        Mistake(
            "your waves get faster and faster: the exponent is negative.",
            _with(lambda t, width: _powers(t, torch.arange(width // 2) / (width // 2))),
        ),
        Mistake(
            "your slowest frequency is 1/10000 itself: i / half stays below 1.",
            _with(lambda t, width: _powers(t, -torch.linspace(0, 1, width // 2))),
        ),
        Mistake(
            "i runs over width / 2 frequencies, and it is divided by their number, not by width.",
            _with(lambda t, width: _powers(t, -torch.arange(width // 2) / width)),
        ),
        Mistake(
            "t counts steps; it is not divided by T here.",
            _with(lambda t, width: _angles(t, width) / 1000),
        ),
        Mistake(
            "a 2π too many: the frequencies are angles a step, not turns a step.",
            _with(lambda t, width: 2 * torch.pi * _angles(t, width)),
        ),
    ),
)

# 11.2: what the bound weighs


def bound_weights(alphas_cumprod: Tensor) -> Tensor:
    """β_t² / (2 σ_t² α_t (1 - ᾱ_t)) with σ_t² = β_t: β_t / (2 α_t (1 - ᾱ_t))."""
    alphas = alphas_cumprod / before(alphas_cumprod)
    return (1 - alphas) / (2 * alphas * (1 - alphas_cumprod))


def _betas(alphas_cumprod: Tensor) -> Tensor:
    return 1 - alphas_cumprod / before(alphas_cumprod)


def _after_roll(alphas_cumprod: Tensor) -> Tensor:
    alphas = alphas_cumprod / alphas_cumprod.roll(1)
    return (1 - alphas) / (2 * alphas * (1 - alphas_cumprod))


def _schedules(generator: torch.Generator) -> list[Arguments]:
    first = torch.tensor([0.8, 0.4, 0.1], dtype=torch.float64)
    return [(first,), *((draw_alphas_cumprod(steps, generator),) for steps in (6, 30))]


_WEIGHTS = Exercise(
    "11.2",
    bound_weights,
    _schedules,
    (
        Mistake(
            "a factor 2 is missing: the KL divergence has the square over 2σ².",
            lambda a: 2 * bound_weights(a),
        ),
        Mistake(
            "α_t is missing below the line: the mean divides by √α_t.",
            lambda a: bound_weights(a) * (1 - _betas(a)),
        ),
        Mistake(
            "ᾱ_t stands where α_t belongs: the step of t alone divides the mean.",
            lambda a: _betas(a) / (2 * a * (1 - a)),
        ),
        Mistake(
            "that is the weight for σ² = β̃_t; here σ² is β_t (fixed large).",
            lambda a: bound_weights(a) * (1 - a) / (1 - before(a)),
        ),
        Mistake(
            "the variance σ² is missing below the line.",
            lambda a: bound_weights(a) * _betas(a),
        ),
        Mistake(
            "σ stands where σ² belongs.",
            lambda a: bound_weights(a) * _betas(a).sqrt(),
        ),
        Mistake(
            "β_t stands above the line squared, and σ² = β_t cancels one of them only.",
            lambda a: bound_weights(a) / _betas(a),
        ),
        Mistake(
            "that weighs the error of x_0; the error of the noise is larger by the SNR.",
            lambda a: bound_weights(a) * a / (1 - a),
        ),
        Mistake(
            "roll puts the last ᾱ before the first; before step 0 nothing was multiplied yet.",
            _after_roll,
        ),
    ),
)

# 11.3: the loss of DiffusionAD


def training_loss(
    eps_s: Tensor, noise_s: Tensor, eps_b: Tensor, noise_b: Tensor, logits: Tensor, mask: Tensor
) -> Tensor:
    """Noise errors of normal images, 5 times the focal loss, and smooth L1."""
    is_normal, errors = _is_normal(mask), _errors(eps_s, noise_s) + _errors(eps_b, noise_b)
    noise = torch.where(is_normal, errors, 0).sum() / is_normal.sum().clamp(min=1)
    return noise + _head_loss(logits, mask)


def _is_normal(mask: Tensor) -> Tensor:
    return ~mask.flatten(1).any(dim=1)


def _errors(eps: Tensor, noise: Tensor) -> Tensor:
    return (eps - noise).square().flatten(1).mean(dim=1)


def _focal(logits: Tensor, mask: Tensor, alpha: float = 0.5, gamma: float = 4.0) -> Tensor:
    cross_entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    return (alpha * (1 - torch.exp(-cross_entropy)) ** gamma * cross_entropy).mean()


def _smooth_l1(logits: Tensor, mask: Tensor) -> Tensor:
    return F.smooth_l1_loss(logits.sigmoid(), mask)


def _head_loss(logits: Tensor, mask: Tensor) -> Tensor:
    return 5 * _focal(logits, mask) + _smooth_l1(logits, mask)


def _noise(errors_of: Function) -> Function:
    """`training_loss` with another noise loss, a function of (errors at s, errors at b, mask)."""
    return lambda eps_s, noise_s, eps_b, noise_b, logits, mask: (
        errors_of(_errors(eps_s, noise_s), _errors(eps_b, noise_b), mask) + _head_loss(logits, mask)
    )


def _head(loss: Function) -> Function:
    """`training_loss` with another loss of the head, a function of (logits, mask)."""
    return lambda eps_s, noise_s, eps_b, noise_b, logits, mask: (
        training_loss(eps_s, noise_s, eps_b, noise_b, logits, mask)
        - _head_loss(logits, mask)
        + loss(logits, mask)
    )


def _batches(generator: torch.Generator) -> list[Arguments]:
    """Batches with normal and anomalous images, one without a normal one and one with no other."""
    cases: list[Arguments] = []
    sizes = ((4, 4), (6, 3), (5, 8), (3, 5))
    kinds = ([0, 1], [1, 0, 0, 1, 0], [1, 1, 1], [0, 0, 0])
    for anomalous, (height, width) in zip(kinds, sizes, strict=True):
        shape = (len(anomalous), 3, height, width)
        noise_s, noise_b, off_s, off_b = torch.randn(4, *shape, generator=generator)
        mask = (torch.rand(len(anomalous), 1, height, width, generator=generator) < 0.3).float()
        mask[:, :, -1, int(torch.randint(width, (), generator=generator))] = 1
        mask = mask * torch.tensor(anomalous).reshape(-1, 1, 1, 1)
        logits = 2 * torch.randn(mask.shape, generator=generator)
        cases.append((noise_s + 0.3 * off_s, noise_s, noise_b + 0.2 * off_b, noise_b, logits, mask))
    return cases


_LOSS = Exercise(
    "11.3",
    training_loss,
    _batches,
    (
        Mistake(
            "your noise loss is over all images; the network is to learn normal ones only.",
            _noise(lambda s, b, mask: (s + b).mean()),
        ),
        Mistake(
            "your noise loss is over the anomalous images.",
            _noise(lambda s, b, mask: _mean_of(s + b, ~_is_normal(mask))),
        ),
        Mistake(
            "the noise errors of normal images are divided by the number of all images.",
            _noise(lambda s, b, mask: torch.where(_is_normal(mask), s + b, 0).mean()),
        ),
        Mistake(
            "the errors at the two times are added; yours are averaged.",
            _noise(lambda s, b, mask: _mean_of(s + b, _is_normal(mask)) / 2),
        ),
        Mistake(
            "the error at t_b is missing.",
            _noise(lambda s, b, mask: _mean_of(s, _is_normal(mask))),
        ),
        Mistake(
            "the mean of no normal image is NaN; such a batch has a noise loss of 0.",
            _noise(lambda s, b, mask: (s + b)[_is_normal(mask)].mean()),
        ),
        Mistake(
            "the focal loss counts five times.",
            _head(lambda logits, mask: _focal(logits, mask) + _smooth_l1(logits, mask)),
        ),
        Mistake(
            "the factor 5 is of the focal loss alone; smooth L1 has none.",
            _head(lambda logits, mask: 5 * (_focal(logits, mask) + _smooth_l1(logits, mask))),
        ),
        Mistake(
            "α = 0.5 is missing in the focal loss.",
            _head(lambda logits, mask: 5 * _focal(logits, mask, 1.0) + _smooth_l1(logits, mask)),
        ),
        Mistake(
            "γ is 4 here; 2 is DRAEM's.",
            _head(
                lambda logits, mask: 5 * _focal(logits, mask, gamma=2) + _smooth_l1(logits, mask)
            ),
        ),
        Mistake(
            "smooth L1 compares probabilities with the mask; yours compares logits.",
            _head(lambda logits, mask: 5 * _focal(logits, mask) + F.smooth_l1_loss(logits, mask)),
        ),
        Mistake(
            "that is the absolute error; smooth L1 is half the square where it is below 1.",
            _head(lambda logits, mask: 5 * _focal(logits, mask) + _gap(logits, mask).mean()),
        ),
        Mistake(
            "below an error of 1, smooth L1 is half of the square.",
            _head(
                lambda logits, mask: 5 * _focal(logits, mask) + _gap(logits, mask).square().mean()
            ),
        ),
        Mistake(
            "smooth L1 is missing.",
            _head(lambda logits, mask: 5 * _focal(logits, mask)),
        ),
    ),
)


def _mean_of(values: Tensor, which: Tensor) -> Tensor:
    return torch.where(which, values, 0).sum() / which.sum().clamp(min=1)


def _gap(logits: Tensor, mask: Tensor) -> Tensor:
    return (logits.sigmoid() - mask).abs()


EXERCISES = (_WAVES, _WEIGHTS, _LOSS)
