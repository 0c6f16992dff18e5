"""Answers of learners to the exercises of notebook 00: right ones, known mistakes, other ones."""

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from diffad_lib.metrics import image_auroc


def averages(anomaly_map, window):
    """By a convolution, [N,1,H,W]."""
    kernel = torch.full((1, 1, window, window), 1 / window**2)
    return F.conv2d(anomaly_map, kernel, padding=window // 2)


def score(anomaly_map, window):
    return averages(anomaly_map, window).amax(dim=(1, 2, 3))


def score_by_loops(anomaly_map, window):
    """Right: cuts every window out of a padded map."""
    half = window // 2
    padded = F.pad(anomaly_map, (half, half, half, half))
    height, width = anomaly_map.shape[2:]
    means = [
        padded[:, 0, row : row + window, column : column + window].mean(dim=(1, 2))
        for row in range(height)
        for column in range(width)
    ]
    return torch.stack(means).amax(dim=0)


def score_by_unfolding(anomaly_map, window):
    return F.unfold(anomaly_map, window, padding=window // 2).mean(dim=1).amax(dim=1)


def score_with_border(mode):
    def score(anomaly_map, window):
        half = window // 2
        padded = F.pad(anomaly_map, (half, half, half, half), mode=mode)
        return padded.unfold(2, window, 1).unfold(3, window, 1).mean((4, 5)).amax(dim=(1, 2, 3))

    return score


def score_by_running_sums(anomaly_map, window):
    """Right: differences of an integral image."""
    half = window // 2
    padded = F.pad(anomaly_map.double(), (half + 1, half, half + 1, half))
    total = padded.cumsum(2).cumsum(3)
    rows = total[:, :, window:] - total[:, :, :-window]
    sums = rows[..., window:] - rows[..., :-window]
    return (sums.amax(dim=(1, 2, 3)) / window**2).float()


def score_without_the_border(anomaly_map, window):
    return F.avg_pool2d(anomaly_map, window, 1).amax(dim=(1, 2, 3))


def score_divided_by_what_is_inside(anomaly_map, window):
    return (averages(anomaly_map, window) / averages(torch.ones_like(anomaly_map), window)).amax(
        dim=(1, 2, 3)
    )


def threshold_by_trying(good_scores, rate):
    """Right: the lowest of the scores that rejects few enough."""
    allowed = rate * len(good_scores)
    return min(t.item() for t in good_scores if (good_scores > t).sum() <= allowed)


def threshold_by_sorting(good_scores, rate):
    ordered = sorted(good_scores.tolist(), reverse=True)
    return ordered[int(rate * len(ordered))]


def place(rounded, shift=0):
    """Learners' thresholds: another place in the descending order."""

    def threshold(good_scores, rate):
        ordered = np.sort(good_scores.numpy())[::-1]
        return float(ordered[max(int(rounded(rate * len(ordered))) + shift, 0)])

    return threshold


def auroc_by_loops(scores, labels):
    """Right: pair by pair."""
    won = [
        1.0 if bad > good else 0.5 if bad == good else 0.0
        for bad, defective in zip(scores, labels, strict=True)
        for good, other in zip(scores, labels, strict=True)
        if defective == 1 and other == 0
    ]
    return sum(won) / len(won)


def auroc_by_ranks(scores, labels):
    """Right: the Mann-Whitney statistic, with mean ranks for ties."""
    rank = (scores[:, None] > scores).sum(1) + ((scores[:, None] == scores).sum(1) + 1) / 2
    bad, good = int(labels.sum()), int((labels == 0).sum())
    return float((rank[labels == 1].sum() - bad * (bad + 1) / 2) / (bad * good))


def strictly(scores, labels):
    return float((scores[labels == 1][:, None] > scores[labels == 0]).float().mean())


def at_least(scores, labels):
    return float((scores[labels == 1][:, None] >= scores[labels == 0]).float().mean())


def pairs_won(scores, labels):
    bad, good = scores[labels == 1], scores[labels == 0]
    return sum(float((b > good).sum() + 0.5 * (b == good).sum()) for b in bad)


def best_accuracy(scores, labels):
    return max(float(((scores > t) == (labels == 1)).float().mean()) for t in scores)


def neighbours(scores, labels):
    pairs = zip(scores[labels == 1], scores[labels == 0], strict=False)
    won = [float(bad > good) + 0.5 * float(bad == good) for bad, good in pairs]
    return sum(won) / len(won)


RIGHT = [
    ("00.1", score),
    ("00.1", score_by_loops),
    ("00.1", score_by_unfolding),
    ("00.1", score_by_running_sums),
    ("00.2", threshold_by_trying),
    ("00.2", threshold_by_sorting),
    ("00.2", lambda s, rate: s.kthvalue(len(s) - int(rate * len(s))).values.item()),
    ("00.2", lambda s, rate: s.topk(int(rate * len(s)) + 1).values[-1].item()),
    (
        "00.2",
        lambda s, rate: float(
            np.partition(s, len(s) - 1 - int(rate * len(s)))[-1 - int(rate * len(s))]
        ),
    ),
    ("00.2", lambda s, rate: np.sort(s.numpy())[::-1][int(rate * len(s))]),
    ("00.3", auroc_by_loops),
    ("00.3", lambda scores, labels: np.float32(auroc_by_loops(scores, labels))),
    ("00.3", auroc_by_ranks),
    ("00.3", lambda scores, labels: float(image_auroc(scores, labels))),
    ("00.3", lambda scores, labels: roc_auc_score(labels, scores)),
]

HINTED = [
    ("00.1", lambda m, window: m.amax(dim=(1, 2, 3)), "highest single pixel"),
    ("00.1", lambda m, window: m.mean(dim=(1, 2, 3)), "mean of the whole map"),
    ("00.1", lambda m, window: averages(m, window).mean(dim=(1, 2, 3)), "over all windows"),
    (
        "00.1",
        lambda m, window: m.flatten(1).sort(descending=True).values[:, : window**2].mean(dim=1),
        "may lie anywhere",
    ),
    (
        "00.1",
        lambda m, window: F.avg_pool2d(m, window, padding=window // 2).amax(dim=(1, 2, 3)),
        "do not overlap",
    ),
    ("00.1", score_divided_by_what_is_inside, "divide by the pixels inside"),
    ("00.1", score_with_border("replicate"), "repeated outward"),
    ("00.1", score_with_border("reflect"), "mirrored"),
    ("00.1", lambda m, window: score_by_loops(m, window) * window * window, "that is the sum"),
    ("00.1", lambda m, window: score_by_loops(m, window) * window, "not by window."),
    ("00.1", lambda m, window: score(m, window).max().repeat(len(m)), "maximum per image"),
    ("00.1", lambda m, window: averages(m, window).amin(dim=(1, 2, 3)), "lowest average"),
    (
        "00.2",
        lambda s, rate: float(np.sort(s.numpy())[int(rate * len(s))]),
        "from the highest score down",
    ),
    ("00.2", place(np.floor, -1), "one image too few"),
    ("00.2", place(np.floor, 1), "one image too many"),
    ("00.2", place(np.ceil), "rounded up"),
    (
        "00.2",
        lambda s, rate: sorted(s.tolist())[int((1 - rate) * len(s)) - 1],
        "rounded up in effect",
    ),
    ("00.2", place(np.round), "rounded to the nearest"),
    ("00.2", lambda s, rate: float(torch.quantile(s, 1 - rate)), "a quantile"),
    ("00.2", lambda s, rate: s[int(rate * len(s))].item(), "sort first"),
    (
        "00.2",
        lambda s, rate: s.unique().flip(0)[int(rate * len(s))].item(),
        "equal scores count once",
    ),
    (
        "00.2",
        lambda s, rate: sorted(set(s.tolist()), reverse=True)[int(rate * len(s))],
        "equal scores count once",
    ),
    ("00.2", lambda s, rate: (1 - rate) * float(s.max()), "share of the highest score"),
    ("00.2", lambda s, rate: s.sort().values[-1].item(), "rejects none"),
    ("00.3", strictly, "ties count as nothing"),
    ("00.3", at_least, "ties count in full"),
    ("00.3", lambda scores, labels: auroc_by_loops(-scores, labels), "the other way round"),
    ("00.3", pairs_won, "the number of pairs"),
    (
        "00.3",
        lambda scores, labels: pairs_won(scores, labels) / len(scores) ** 2,
        "all pairs of images",
    ),
    ("00.3", neighbours, "with one other"),
    (
        "00.3",
        lambda scores, labels: float(((scores > 0.5).long() == labels).float().mean()),
        "no threshold",
    ),
    (
        "00.3",
        lambda scores, labels: float(scores[labels == 1].mean() - scores[labels == 0].mean()),
        "depends on the scale",
    ),
]

OTHER = [
    ("00.1", lambda m, window: torch.zeros(len(m))),
    ("00.1", score_without_the_border),
    ("00.1", lambda m, window: F.max_pool2d(m, window, 1).mean(dim=(1, 2, 3))),
    ("00.1", lambda m, window: score(m, window)[:, None]),
    ("00.1", lambda m, window: score(m, window).double()),
    ("00.1", lambda m, window: score(m, 21)),
    ("00.1", lambda m, window: score(m, window).max()),
    ("00.1", lambda m, window: averages(m, window)),
    ("00.1", lambda m, window: m.median(dim=-1).values.amax(dim=(1, 2))),
    ("00.2", lambda s, rate: 0.0),
    ("00.2", lambda s, rate: 0.4),
    ("00.2", lambda s, rate: 0.5),
    ("00.2", lambda s, rate: torch.tensor(threshold_by_trying(s, rate))),
    ("00.2", lambda s, rate: float(s.mean() + 2 * s.std())),
    ("00.2", lambda s, rate: float(s.median())),
    ("00.2", lambda s, rate: float(s.min())),
    ("00.2", lambda s, rate: s.quantile(1 - rate, interpolation="lower").item()),
    ("00.2", lambda s, rate: s.quantile(1 - rate, interpolation="nearest").item()),
    ("00.2", lambda s, rate: rate),
    ("00.2", lambda s, rate: int(rate * len(s))),
    ("00.2", lambda s, rate: s.sort_(descending=True).values[int(rate * len(s))].item()),
    ("00.3", lambda scores, labels: 0.5),
    ("00.3", lambda scores, labels: 0.75),
    ("00.3", lambda *given: max(auroc_by_loops(*given), 1 - auroc_by_loops(*given))),
    ("00.3", lambda *given: max(strictly(*given), 1 - strictly(*given))),
    ("00.3", best_accuracy),
    ("00.3", lambda scores, labels: float(scores[labels == 1].mean())),
    ("00.3", lambda scores, labels: 2 * auroc_by_loops(scores, labels) - 1),
    ("00.3", lambda scores, labels: auroc_by_loops(scores, 1 - labels) ** 2),
    ("00.3", lambda scores, labels: float(torch.corrcoef(torch.stack([scores, labels]))[0, 1])),
    ("00.3", lambda scores, labels: torch.tensor(auroc_by_loops(scores, labels))),
    ("00.3", lambda scores, labels: round(auroc_by_loops(scores, labels), 2)),
]
