"""Exercises of notebook 10, the traps museum."""

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Mistake

# 10.1: AUROC with ties


def fair_auroc(scores: Tensor, labels: Tensor) -> float:
    """Share of the pairs (defective, normal) in the right order; a tie counts one half."""
    return _pairs(scores, labels, 0.5)


def _pairs(scores: Tensor, labels: Tensor, tie: float) -> float:
    defective, normal = scores[labels == 1, None], scores[labels == 0]
    won = (defective > normal).double() + tie * (defective == normal).double()
    return won.mean().item()


def _without_ties(scores: Tensor, labels: Tensor) -> float:
    defective, normal = scores[labels == 1, None], scores[labels == 0]
    return ((defective > normal).sum() / (defective != normal).sum()).item()


def _as_they_lie(scores: Tensor, labels: Tensor) -> float:
    """Ranks by a stable sort, so that ties keep the order of the files."""
    ranks = torch.empty(len(scores), dtype=torch.float64)
    ranks[scores.argsort(stable=True)] = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    defective = int(labels.sum())
    above = ranks[labels == 1].sum().item() - defective * (defective + 1) / 2
    return above / (defective * (len(scores) - defective))


def _rounded_scores(generator: torch.Generator) -> list[Arguments]:
    """With ties inside and between the kinds; the kinds lie mixed in the files."""
    first = torch.tensor([0.2, 0.5, 0.5, 0.9, 0.1], dtype=torch.float64)
    cases: list[Arguments] = [(first, torch.tensor([0, 1, 0, 1, 0]))]
    for count in (6, 12, 30):
        labels = torch.arange(count) % 3 % 2
        labels = labels[torch.randperm(count, generator=generator)]
        scores = torch.rand(count, generator=generator, dtype=torch.float64) + 0.3 * labels
        cases.append(((5 * scores).round() / 5, labels))
    return cases


_TIES = Exercise(
    "10.1",
    fair_auroc,
    _rounded_scores,
    (
        Mistake(
            "a tie counts as a win: `>=` where it has to be a half.", lambda s, y: _pairs(s, y, 1)
        ),
        Mistake("a tie counts as a loss: `>` forgets it.", lambda s, y: _pairs(s, y, 0)),
        Mistake("pairs with a tie are left out; each counts one half.", _without_ties),
        Mistake(
            "ties are in the order of the files: sorting gives equal scores different ranks.",
            _as_they_lie,
        ),
        Mistake(
            "turned around: the share in which the normal image has the higher score.",
            lambda s, y: 1 - fair_auroc(s, y),
        ),
    ),
)

# 10.2: choose on one half, report on the other


def honest_best(scores: Tensor, labels: Tensor, chosen_on: Tensor) -> float:
    """AUROC, on the other images, of the look that is best on the images `chosen_on`."""
    return _auroc_of(scores[_best(scores, labels, chosen_on)], labels, ~chosen_on)


def _auroc_of(scores: Tensor, labels: Tensor, where: Tensor) -> float:
    return fair_auroc(scores[where], labels[where])


def _best(scores: Tensor, labels: Tensor, where: Tensor) -> int:
    """The first of the looks with the highest AUROC on the images `where`."""
    values = [_auroc_of(look, labels, where) for look in scores]
    return values.index(max(values))


def _latest_best(scores: Tensor, labels: Tensor, chosen_on: Tensor) -> float:
    values = [_auroc_of(look, labels, chosen_on) for look in scores]
    latest = max(range(len(values)), key=lambda look: (values[look], look))
    return _auroc_of(scores[latest], labels, ~chosen_on)


def _everywhere(labels: Tensor) -> Tensor:
    return torch.ones_like(labels, dtype=torch.bool)


def _looks(generator: torch.Generator) -> list[Arguments]:
    """Looks at test sets of which one half has as many of each kind as the other."""
    cases: list[Arguments] = []
    for looks, quarter in ((2, 2), (6, 3), (9, 8), (7, 3)):
        labels = torch.arange(4 * quarter) % 2
        chosen_on = torch.arange(4 * quarter) < 2 * quarter
        noise = torch.rand(looks, 4 * quarter, generator=generator, dtype=torch.float64)
        cases.append(((10 * (noise + 0.3 * labels)).round() / 10, labels, chosen_on))
    return cases


_HONEST = Exercise(
    "10.2",
    honest_best,
    _looks,
    (
        Mistake(
            "chosen and reported on the same images: that is the leak.",
            lambda s, y, c: _auroc_of(s[_best(s, y, c)], y, c),
        ),
        Mistake(
            "chosen on the images that it is reported on: the leak, on the other half.",
            lambda s, y, c: _auroc_of(s[_best(s, y, ~c)], y, ~c),
        ),
        Mistake(
            "chosen on all images: those of the report are among them.",
            lambda s, y, c: _auroc_of(s[_best(s, y, _everywhere(y))], y, ~c),
        ),
        Mistake(
            "reported on all images: those of the choice are among them.",
            lambda s, y, c: _auroc_of(s[_best(s, y, c)], y, _everywhere(y)),
        ),
        Mistake(
            "the halves are exchanged: choose on `chosen_on`, report on the rest.",
            lambda s, y, c: honest_best(s, y, ~c),
        ),
        Mistake(
            "the last look is taken; nothing is chosen.",
            lambda s, y, c: _auroc_of(s[-1], y, ~c),
        ),
        Mistake("of equal looks take the first, not the last.", _latest_best),
    ),
)

# 10.3: the area under a curve up to a limit


def area_up_to(x: Tensor, y: Tensor, limit: float) -> float:
    """Area under the line through the points from 0 to the limit, over the limit."""
    return _area(*_cut(x, y, limit)) / limit


def _area(x: Tensor, y: Tensor) -> float:
    return torch.trapezoid(y, x).item()


def _cut(x: Tensor, y: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """The points up to the limit, and the one on the line at the limit."""
    inside = x < limit
    after = int(inside.sum())
    share = (limit - x[after - 1]) / (x[after] - x[after - 1])
    end = y[after - 1] + share * (y[after] - y[after - 1])
    return torch.cat([x[inside], x.new_tensor([limit])]), torch.cat([y[inside], end[None]])


def _points_inside(x: Tensor, y: Tensor, limit: float) -> float:
    return _area(x[x <= limit], y[x <= limit])


def _held(x: Tensor, y: Tensor, limit: float) -> float:
    inside = x <= limit
    held_x = torch.cat([x[inside], x.new_tensor([limit])])
    return _area(held_x, torch.cat([y[inside], y[inside][-1:]])) / limit


def _with_the_next(x: Tensor, y: Tensor, limit: float) -> float:
    end = int((x < limit).sum()) + 1
    return _area(x[:end], y[:end]) / limit


def _curves(generator: torch.Generator) -> list[Arguments]:
    """Rising curves from (0, 0) to (1, 1); the limit lies between two points."""
    corner = torch.tensor([0.0, 0.2, 0.4, 1.0], dtype=torch.float64)
    cases: list[Arguments] = [(corner, torch.tensor([0.0, 0.6, 0.8, 1.0]).double(), 0.3)]
    for count, limit in ((4, 0.3), (9, 0.05), (30, 0.31)):
        inner = torch.rand(2, count, generator=generator, dtype=torch.float64).sort(dim=1).values
        ends = torch.tensor([[0.0], [0.0]]).double(), torch.tensor([[1.0], [1.0]]).double()
        x, y = torch.cat([ends[0], inner, ends[1]], dim=1)
        cases.append((torch.cat([x[:1], x[1:-1] ** 3, x[-1:]]), y, limit))
    return cases


_LIMIT = Exercise(
    "10.3",
    area_up_to,
    _curves,
    (
        Mistake("the area is not divided by the limit.", lambda x, y, t: area_up_to(x, y, t) * t),
        Mistake(
            "the piece between the last point inside and the limit is missing.",
            lambda x, y, t: _points_inside(x, y, t) / t,
        ),
        Mistake(
            "divided by the last x inside, not by the limit: the curve is stretched to it.",
            lambda x, y, t: _points_inside(x, y, t) / x[x <= t].max().item(),
        ),
        Mistake(
            "neither cut at the limit nor divided: points inside are integrated, no more.",
            _points_inside,
        ),
        Mistake("the curve is held flat from the last point inside to the limit.", _held),
        Mistake("the whole segment that crosses the limit is counted.", _with_the_next),
        Mistake("that is the area up to 1.", lambda x, y, t: _area(x, y)),
        Mistake("x and y are exchanged.", lambda x, y, t: area_up_to(y, x, t)),
    ),
)

EXERCISES = (_TIES, _HONEST, _LIMIT)
