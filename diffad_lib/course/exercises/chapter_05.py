"""Exercises of notebook 05, norm guidance."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Function, Mistake
from diffad_lib.course.exercises.slips import (
    draw_alphas_cumprod,
    first_for_all,
    given,
    of_the_schedule,
    one_early,
    per_image,
)

# 05.1: guidance as a weighted mean


def guided_x0(
    pred_s: Tensor, pred_b: Tensor, t_s: Tensor, w: float, alphas_cumprod: Tensor
) -> Tensor:
    """(1 - λ) x̂_0^s + λ x̂_0^b with λ = w (1 - ᾱ_ts), clamped to [-1, 1]."""
    return _mixed(pred_s, pred_b, w * (1 - alphas_cumprod[t_s])).clamp(-1, 1)


def _mixed(pred_s: Tensor, pred_b: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(pred_s, pred_b, per_image(share))


def _guided_with(share: Callable[[float, Tensor], Tensor]) -> Function:
    """`guided_x0` with another share of the guide, a function of (w, ᾱ_ts)."""
    return lambda pred_s, pred_b, t_s, w, alphas_cumprod: _mixed(
        pred_s, pred_b, share(w, alphas_cumprod[t_s])
    ).clamp(-1, 1)


def _guided_along_the_width(
    pred_s: Tensor, pred_b: Tensor, t_s: Tensor, w: float, alphas_cumprod: Tensor
) -> Tensor:
    share = (w * (1 - alphas_cumprod[t_s])).float()  # [B] lands on the axis of W
    return ((1 - share) * pred_s + share * pred_b).clamp(-1, 1)


def _guidances(generator: torch.Generator) -> list[Arguments]:
    """B = W, a w that extrapolates, w = 0, and predictions on both sides of the clamp."""
    round_alphas = torch.tensor([0.9, 0.8, 0.6], dtype=torch.float64)
    pred_s, pred_b = torch.tensor([[0.5, 1.2], [-0.5, 1.0]]).reshape(2, 1, 1, 1, 2)
    cases: list[Arguments] = [(pred_s, pred_b, torch.tensor([2]), 0.5, round_alphas)]
    for batch, steps, w in ((3, 12, 1.0), (4, 20, 2.5), (2, 10, 0.0)):
        pred_s, pred_b = torch.randn(2, batch, 2, 3, batch, generator=generator)
        t_s = torch.randint(1, steps, (batch,), generator=generator)
        alphas_cumprod = draw_alphas_cumprod(steps, generator)
        cases.append((0.8 * pred_s, 0.8 * pred_b.clamp(-1, 1), t_s, w, alphas_cumprod))
    return cases


_GUIDED = Exercise(
    "05.1",
    guided_x0,
    _guidances,
    (
        Mistake(
            "w itself stands as the share of the guide; the noise variance at t_s is missing.",
            _guided_with(lambda w, a: w * torch.ones_like(a)),
        ),
        Mistake(
            "the share grows with the noise at t_s; ᾱ stands where 1 - ᾱ belongs.",
            _guided_with(lambda w, a: w * a),
        ),
        Mistake(
            "one root too many: two factors √(1-ᾱ) meet, so the share has the variance.",
            _guided_with(lambda w, a: w * (1 - a).sqrt()),
        ),
        Mistake(
            "the difference of x_s^b and x_s shrinks with √ᾱ; then dividing by √ᾱ cancels it.",
            _guided_with(lambda w, a: w * (1 - a) / a.sqrt()),
        ),
        Mistake(
            "a factor √ᾱ is left over: the step back to x_0 divides by it.",
            _guided_with(lambda w, a: w * (1 - a) * a.sqrt()),
        ),
        Mistake(
            "the wrong way round: λ is the share of the guide, 1 - λ that of the small noise.",
            _guided_with(lambda w, a: 1 - w * (1 - a)),
        ),
        Mistake(
            "the sign: the result is pushed away from the guide.",
            _guided_with(lambda w, a: -w * (1 - a)),
        ),
        Mistake(
            "the guide is added, but the small-noise prediction keeps its full weight.",
            lambda s, b, t, w, a: (s + per_image(w * (1 - a[t])) * b).clamp(-1, 1),
        ),
        Mistake(
            "a w above 1/(1-ᾱ) extrapolates; the share itself is not clamped.",
            _guided_with(lambda w, a: (w * (1 - a)).clamp(0, 1)),
        ),
        Mistake(
            "only the result is clamped; the small-noise prediction goes in as it is.",
            given(guided_x0, pred_s=lambda s: s.clamp(-1, 1)),
        ),
        Mistake(
            "the clamp to [-1, 1] is missing.",
            lambda s, b, t, w, a: _mixed(s, b, w * (1 - a[t])),
        ),
        Mistake(
            "images may be negative here: the clamp is to [-1, 1], not to [0, 1].",
            lambda s, b, t, w, a: guided_x0(s, b, t, w, a).clamp(0, 1),
        ),
        Mistake(
            "your shares [B] vary along the width; reshape them to [B,1,1,1].",
            _guided_along_the_width,
        ),
        first_for_all(guided_x0, "t_s"),
        *of_the_schedule(guided_x0),
        one_early(guided_x0),
    ),
)

# 05.2: the weight with the smallest squared error


def best_weight(
    pred_s: Tensor, pred_b: Tensor, target: Tensor, t_s: int, alphas_cumprod: Tensor
) -> float:
    """w* = λ*/(1 - ᾱ_ts) with λ* = <target - x̂^s, x̂^b - x̂^s> / ‖x̂^b - x̂^s‖²."""
    return _best_share(pred_s, pred_b, target) / (1 - alphas_cumprod[t_s].item())


def _best_share(pred_s: Tensor, pred_b: Tensor, target: Tensor) -> float:
    way = (pred_b - pred_s).double()
    return (((target - pred_s).double() * way).sum() / way.square().sum()).item()


def _squared_error(prediction: Tensor, target: Tensor) -> float:
    return (prediction - target).double().square().sum().item()


def _weight_of_independent_errors(
    pred_s: Tensor, pred_b: Tensor, target: Tensor, t_s: int, alphas_cumprod: Tensor
) -> float:
    error_s, error_b = _squared_error(pred_s, target), _squared_error(pred_b, target)
    return error_s / (error_s + error_b) / (1 - alphas_cumprod[t_s].item())


def _weights(generator: torch.Generator) -> list[Arguments]:
    """Best shares inside [0, 1], below 0 and above 1."""
    round_alphas = torch.tensor([0.9, 0.8, 0.6], dtype=torch.float64)
    pred_s, pred_b, target = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.2, 0.5]]).reshape(3, 1, 1, 2)
    cases: list[Arguments] = [(pred_s, pred_b, target, 2, round_alphas)]
    for steps, t_s, share in ((12, 11, 0.3), (20, 1, -0.4), (15, 6, 1.6)):
        pred_s, pred_b, off = torch.randn(3, 3, 4, 5, generator=generator)
        target = pred_s + share * (pred_b - pred_s) + 0.2 * off
        cases.append((pred_s, pred_b, target, t_s, draw_alphas_cumprod(steps, generator)))
    return cases


_WEIGHT = Exercise(
    "05.2",
    best_weight,
    _weights,
    (
        Mistake(
            "that is the share λ; w is λ divided by something.",
            lambda s, b, target, t, a: _best_share(s, b, target),
        ),
        Mistake(
            "λ = w (1 - ᾱ): to get w, divide; you multiply.",
            lambda s, b, target, t, a: _best_share(s, b, target) * (1 - a[t].item()),
        ),
        Mistake(
            "you divide by ᾱ; the share is w times 1 - ᾱ.",
            lambda s, b, target, t, a: _best_share(s, b, target) / a[t].item(),
        ),
        Mistake(
            "you divide by a standard deviation; the share has the noise variance.",
            lambda s, b, target, t, a: _best_share(s, b, target) / (1 - a[t].item()) ** 0.5,
        ),
        Mistake(
            "that is 1 - λ, the share of the small-noise prediction, turned into a weight.",
            lambda s, b, target, t, a: (1 - _best_share(s, b, target)) / (1 - a[t].item()),
        ),
        Mistake(
            "the rule for independent errors is only a guess; with the target you can be exact.",
            _weight_of_independent_errors,
        ),
        Mistake(
            "the projection is divided by the norm; it takes the squared norm to get a share.",
            lambda s, b, *rest: best_weight(s, b, *rest) * (b - s).double().norm().item(),
        ),
        Mistake(
            "the best weight can be negative; do not clamp it.",
            lambda *given: max(best_weight(*given), 0.0),
        ),
        Mistake(
            "the best share can lie outside 0 … 1; do not clamp it.",
            lambda s, b, target, t, a: (
                min(max(_best_share(s, b, target), 0.0), 1.0) / (1 - a[t].item())
            ),
        ),
        *of_the_schedule(best_weight),
        one_early(best_weight),
    ),
)

# 05.3: the loss over normal images


def noise_loss(error_s: Tensor, error_b: Tensor, anomaly_label: Tensor) -> Tensor:
    """Mean over the normal images of both mean squared errors; 0 if there is none."""
    return _over(_errors(error_s, error_b), anomaly_label == 0)


def _errors(error_s: Tensor, error_b: Tensor) -> Tensor:
    return error_s.square().mean(dim=(1, 2, 3)) + error_b.square().mean(dim=(1, 2, 3))  # [B]


def _over(losses: Tensor, chosen: Tensor) -> Tensor:
    return losses[chosen].sum() / chosen.sum().clamp(min=1)


def _loss_with_roots(error_s: Tensor, error_b: Tensor, anomaly_label: Tensor) -> Tensor:
    root_s, root_b = (error.square().mean(dim=(1, 2, 3)).sqrt() for error in (error_s, error_b))
    return _over(root_s + root_b, anomaly_label == 0)


def _absolute_loss(error_s: Tensor, error_b: Tensor, anomaly_label: Tensor) -> Tensor:
    return _over((error_s.abs() + error_b.abs()).mean(dim=(1, 2, 3)), anomaly_label == 0)


def _losses(generator: torch.Generator) -> list[Arguments]:
    """Some normal images, one, all, and none."""
    error_s, error_b = torch.tensor([[1.0, 2.0], [0.0, 2.0]]).reshape(2, 2, 1, 1, 1)
    cases: list[Arguments] = [(error_s, error_b, torch.tensor([0, 1]))]
    for labels in ([0, 1, 0, 1, 1, 0], [1, 1, 0], [0, 0, 0, 0], [1, 1]):
        error_s, error_b = torch.randn(2, len(labels), 3, 4, 5, generator=generator)
        cases.append((error_s, 1.5 * error_b, torch.tensor(labels)))
    return cases


_LOSS = Exercise(
    "05.3",
    noise_loss,
    _losses,
    (
        Mistake(
            "a batch without a normal image gives NaN in yours: the mean of nothing.",
            lambda s, b, label: _errors(s, b)[label == 0].mean(),
        ),
        Mistake(
            "that is the loss of the anomalous images; the others count.",
            lambda s, b, label: _over(_errors(s, b), label == 1),
        ),
        Mistake(
            "all images count in yours, but anomalous ones must not teach the network.",
            lambda s, b, label: _errors(s, b).mean(),
        ),
        Mistake(
            "the sum is divided by all images; only the normal ones were added.",
            lambda s, b, label: torch.where(label == 1, 0.0, _errors(s, b)).mean(),
        ),
        Mistake(
            "that is a sum over the images; a mean does not grow with the batch.",
            lambda s, b, label: _errors(s, b)[label == 0].sum(),
        ),
        Mistake(
            "the prediction from t_b has to learn as well: its error is missing.",
            given(noise_loss, error_b=torch.zeros_like),
        ),
        Mistake(
            "the prediction from t_s has to learn as well: its error is missing.",
            given(noise_loss, error_s=torch.zeros_like),
        ),
        Mistake(
            "the two errors are averaged; the loss adds them.",
            lambda s, b, label: noise_loss(s, b, label) / 2,
        ),
        Mistake(
            "the errors are added before squaring: one could cancel the other.",
            lambda s, b, label: noise_loss(s + b, torch.zeros_like(b), label),
        ),
        Mistake("these are root mean squares; the loss has no root.", _loss_with_roots),
        Mistake("absolute errors stand where squares belong.", _absolute_loss),
        Mistake(
            "the errors are summed over the pixels; they are averaged.",
            lambda s, *rest: noise_loss(s, *rest) * s[0].numel(),
        ),
    ),
)

EXERCISES = (_GUIDED, _WEIGHT, _LOSS)
