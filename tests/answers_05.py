"""Answers of learners to the exercises of notebook 05: right ones, known mistakes, other ones."""

import numpy as np
import torch
from torch.nn.functional import mse_loss


def at(values):
    return values.float().view(-1, 1, 1, 1)


def guided_by_the_formula(pred_s, pred_b, t_s, w, alphas_cumprod):
    """Right: the four steps of the paper, started at a state with a made-up noise."""
    alpha_bar = at(alphas_cumprod[t_s])
    eps = torch.ones_like(pred_s)
    x_s = alpha_bar.sqrt() * pred_s + (1 - alpha_bar).sqrt() * eps
    x_s_b = alpha_bar.sqrt() * pred_b + (1 - alpha_bar).sqrt() * eps
    eps = eps - (1 - alpha_bar).sqrt() * w * (x_s_b - x_s)
    return ((x_s - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()).clamp(-1, 1)


def guided(share, low=-1.0, high=1.0):
    """Learners' guidances: the share of the guide by (w, ᾱ_ts)."""

    def answer(pred_s, pred_b, t_s, w, alphas_cumprod):
        part = at(share(w, alphas_cumprod[t_s]))
        return torch.clamp(pred_s + part * (pred_b - pred_s), low, high)

    return answer


def right_share(w, alpha_bar):
    return w * (1 - alpha_bar)


def by_step(answer, share):
    """The right answer with a share of step t alone, by β_t, in place of ᾱ_t."""

    def wrong(*given):
        a = given[-1]
        return answer(*given[:-1], share(1 - a / torch.cat([torch.ones(1).double(), a[:-1]])))

    return wrong


def guided_without_reshape(pred_s, pred_b, t_s, w, alphas_cumprod):
    share = (w * (1 - alphas_cumprod[t_s])).float()
    return torch.lerp(pred_s, pred_b, share.expand_as(pred_s)).clamp(-1, 1)


def guided_with_full_small(pred_s, pred_b, t_s, w, alphas_cumprod):
    return torch.clamp(pred_s + w * at(1 - alphas_cumprod[t_s]) * pred_b, -1, 1)


def guided_by_the_first_time(pred_s, pred_b, t_s, w, alphas_cumprod):
    share = float(w * (1 - alphas_cumprod[t_s[0]]))
    return ((1 - share) * pred_s + share * pred_b).clamp(-1, 1)


def share_by_least_squares(pred_s, pred_b, target):
    way, wanted = (pred_b - pred_s).double().ravel(), (target - pred_s).double().ravel()
    return torch.linalg.lstsq(way[:, None], wanted[:, None]).solution.item()


def weight_by_least_squares(pred_s, pred_b, target, t_s, alphas_cumprod):
    return share_by_least_squares(pred_s, pred_b, target) / (1 - float(alphas_cumprod[t_s]))


def weight_by_errors(pred_s, pred_b, target, t_s, alphas_cumprod):
    """Right: the minimum of the parabola in the two errors and their product."""
    a, b = (pred_s - target).double(), (pred_b - target).double()
    ss, sb, bb = (a * a).mean(), (a * b).mean(), (b * b).mean()
    return ((ss - sb) / (ss - 2 * sb + bb) / (1 - alphas_cumprod[t_s])).item()


def weight(change):
    """Learners' weights: w from the best share and ᾱ_ts."""

    def answer(pred_s, pred_b, target, t_s, alphas_cumprod):
        share = share_by_least_squares(pred_s, pred_b, target)
        return change(share, float(alphas_cumprod[t_s]))

    return answer


def weight_if_independent(pred_s, pred_b, target, t_s, alphas_cumprod):
    e_s, e_b = mse_loss(pred_s, target), mse_loss(pred_b, target)
    return (e_s / (e_s + e_b) / (1 - alphas_cumprod[t_s])).item()


def weight_by_the_norm(pred_s, pred_b, target, t_s, alphas_cumprod):
    way = pred_b - pred_s
    return ((((target - pred_s) * way).sum() / way.norm()) / (1 - alphas_cumprod[t_s])).item()


def loss_by_loop(error_s, error_b, anomaly_label):
    total, count = torch.zeros(()), 0
    for one, other, anomalous in zip(error_s, error_b, anomaly_label, strict=True):
        if not anomalous:
            total, count = total + one.pow(2).mean() + other.pow(2).mean(), count + 1
    return total / max(count, 1)


def loss_by_nan_to_num(error_s, error_b, anomaly_label):
    both = torch.cat([error_s, error_b], dim=1).pow(2).flatten(1).mean(1) * 2
    return both[anomaly_label == 0].mean().nan_to_num(0.0)


def chosen_mean(error, chosen):
    """The mean over images, 0 of none, as learners write it."""
    return error[chosen].mean() if chosen.any() else torch.zeros(())


RIGHT = [
    ("05.1", guided_by_the_formula),
    ("05.1", guided(right_share)),
    ("05.2", weight_by_least_squares),
    ("05.2", weight_by_errors),
    ("05.2", lambda *given: float(np.float32(weight_by_least_squares(*given)))),
    ("05.3", loss_by_loop),
    ("05.3", loss_by_nan_to_num),
]

HINTED = [
    ("05.1", guided(lambda w, a: torch.full_like(a, w)), "w itself"),
    ("05.1", guided(lambda w, a: w * a), "ᾱ stands where"),
    ("05.1", guided(lambda w, a: w * (1 - a) ** 0.5), "one root too many"),
    ("05.1", guided(lambda w, a: w * (1 - a) / a**0.5), "cancels"),
    ("05.1", guided(lambda w, a: w * (1 - a) * a**0.5), "left over"),
    ("05.1", lambda s, b, *rest: guided(right_share)(b, s, *rest), "wrong way round"),
    ("05.1", guided(lambda w, a: w * (a - 1)), "pushed away"),
    ("05.1", guided_with_full_small, "full weight"),
    ("05.1", guided(lambda w, a: torch.clip(w * (1 - a), 0, 1)), "extrapolates"),
    ("05.1", lambda s, *rest: guided(right_share)(s.clip(-1, 1), *rest), "goes in as it is"),
    ("05.1", guided(right_share, -1e9, 1e9), "clamp to [-1, 1] is missing"),
    ("05.1", guided(right_share, 0, 1), "not to [0, 1]"),
    ("05.1", guided_without_reshape, "along the width"),
    ("05.1", guided_by_the_first_time, "its own t_s;"),
    ("05.1", by_step(guided(right_share), lambda beta: 1 - beta), "of step t alone"),
    ("05.1", by_step(guided(right_share), lambda beta: beta), "β_t stands where ᾱ_t"),
    ("05.2", by_step(weight_by_errors, lambda beta: 1 - beta), "of step t alone"),
    ("05.2", by_step(weight_by_errors, lambda beta: beta), "β_t stands where ᾱ_t"),
    ("05.1", lambda s, b, t, w, a: guided(right_share)(s, b, t - 1, w, a), "0-based"),
    ("05.2", weight(lambda share, a: share), "that is the share"),
    ("05.2", weight(lambda share, a: share * (1 - a)), "you multiply"),
    ("05.2", weight(lambda share, a: share / a), "you divide by ᾱ"),
    ("05.2", weight(lambda share, a: share / (1 - a) ** 0.5), "standard deviation"),
    ("05.2", weight(lambda share, a: (1 - share) / (1 - a)), "that is 1 - λ"),
    ("05.2", weight_if_independent, "only a guess"),
    ("05.2", weight_by_the_norm, "squared norm"),
    ("05.2", lambda *given: max(0.0, weight_by_errors(*given)), "can be negative"),
    ("05.2", weight(lambda share, a: min(max(share, 0.0), 1.0) / (1 - a)), "outside 0"),
    ("05.2", lambda s, b, x, t, a: weight_by_errors(s, b, x, t - 1, a), "0-based"),
    ("05.3", lambda s, b, y: (s[y == 0] ** 2).mean() + (b[y == 0] ** 2).mean(), "NaN"),
    ("05.3", lambda s, b, y: loss_by_loop(s, b, 1 - y), "loss of the anomalous"),
    ("05.3", lambda s, b, y: (s**2).mean() + (b**2).mean(), "all images count"),
    (
        "05.3",
        lambda s, b, y: loss_by_loop(s, b, y) * (y == 0).float().mean(),
        "all images;",
    ),
    (
        "05.3",
        lambda s, b, y: loss_by_loop(s, b, y) * (y == 0).sum(),
        "sum over the images",
    ),
    ("05.3", lambda s, b, y: chosen_mean(s**2, y == 0), "t_b has to learn"),
    ("05.3", lambda s, b, y: chosen_mean(b**2, y == 0), "t_s has to learn"),
    (
        "05.3",
        lambda s, b, y: chosen_mean((s**2 + b**2) / 2, y == 0),
        "averaged; the loss adds",
    ),
    ("05.3", lambda s, b, y: chosen_mean((s + b) ** 2, y == 0), "before squaring"),
    (
        "05.3",
        lambda s, b, y: chosen_mean(
            (s**2).flatten(1).mean(1) ** 0.5 + (b**2).flatten(1).mean(1) ** 0.5, y == 0
        ),
        "no root",
    ),
    ("05.3", lambda s, b, y: chosen_mean(s.abs() + b.abs(), y == 0), "absolute"),
    (
        "05.3",
        lambda s, b, y: loss_by_loop(s, b, y) * s[0].numel(),
        "summed over the pixels",
    ),
]

OTHER = [
    ("05.1", lambda s, b, *rest: s),
    ("05.1", lambda s, b, *rest: b),
    ("05.1", lambda s, b, *rest: ((s + b) / 2).clamp(-1, 1)),
    ("05.1", lambda *given: guided(right_share)(*given).double()),
    ("05.1", lambda *given: guided(right_share)(*given)[0]),
    ("05.1", guided(lambda w, a: w * (1 - a) / a)),
    ("05.1", guided(lambda w, a: w * (1 - a) ** 2)),
    ("05.1", guided(lambda w, a: (1 - a) / (1 + w))),
    ("05.1", lambda s, b, t, w, a: guided(right_share)(s, b, t + 1, w, a)),
    ("05.2", lambda *given: 1.0),
    ("05.2", lambda *given: 0.5),
    ("05.2", lambda *given: -weight_by_errors(*given)),
    ("05.2", lambda *given: torch.tensor(weight_by_errors(*given))),
    ("05.2", lambda *given: round(weight_by_errors(*given), 1)),
    ("05.2", lambda s, b, x, t, a: weight_by_errors(b, s, x, t, a) + 1),
    ("05.2", lambda s, b, x, t, a: weight_by_errors(s, b, x.clamp(-1, 1), t, a)),
    ("05.2", lambda s, b, x, t, a: weight_by_errors(s, b, x, -1, a)),
    ("05.2", weight(lambda share, a: share / (1 - a) + 0.01)),
    ("05.3", lambda s, b, y: torch.zeros(())),
    ("05.3", lambda s, b, y: loss_by_loop(s, b, y)[None]),
    ("05.3", lambda s, b, y: loss_by_loop(s, b, y).item()),
    ("05.3", lambda s, b, y: loss_by_loop(s, b, y).double()),
    ("05.3", lambda s, b, y: loss_by_loop(s, b, y) + 1e-3),
    ("05.3", lambda s, b, y: loss_by_loop(s, b, y.roll(1))),
    ("05.3", lambda s, b, y: loss_by_loop(s, b - s, y)),
    ("05.3", lambda s, b, y: (s**2 + b**2).flatten(1).mean(1)),
    ("05.3", lambda s, b, y: s[y == 0].pow(2).mean() * b[y == 0].pow(2).mean()),
]
