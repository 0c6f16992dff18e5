"""Exercises of notebook 10, the traps museum."""

import torch
import torch.nn.functional as F
from torch import Tensor

from diffad_lib.course.exercises.chapter_00 import auroc_by_counting
from diffad_lib.course.exercises.grading import Arguments, Exercise, Mistake

# 10.1: a mask made smaller


def half_covered(mask: Tensor, factor: int) -> Tensor:
    """1 where at least half of a block of factor × factor pixels is defective."""
    return (_covered(mask, factor) >= 0.5).long()


def _covered(mask: Tensor, factor: int) -> Tensor:
    """The share of each block that is defective."""
    return F.avg_pool2d(mask[None].double(), factor)[0]


def _bilinear(mask: Tensor, factor: int) -> Tensor:
    """At most four pixels of a block are looked at, as OpenCV does where it makes smaller."""
    small = F.interpolate(mask[None, None].double(), scale_factor=1 / factor, mode="bilinear")
    return (small[0, 0] >= 0.5).long()


def _masks(generator: torch.Generator) -> list[Arguments]:
    """Blobs: blocks that are covered by every share, exactly half among them."""
    corner = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]])
    cases: list[Arguments] = [(corner, 2)]
    for height, width, factor in ((12, 20, 2), (24, 16, 4), (15, 21, 3)):
        noise = torch.rand(1, 1, height, width, generator=generator, dtype=torch.float64)
        smooth = F.avg_pool2d(noise, 3, stride=1, padding=1)[0, 0]
        cases.append(((smooth > smooth.median()).long(), factor))
    return cases


_HALF = Exercise(
    "10.1",
    half_covered,
    _masks,
    (
        Mistake(
            "a pixel counts only where the defect covers all of it: that is the cast.",
            lambda m, f: (_covered(m, f) == 1).long(),
        ),
        Mistake(
            "a pixel counts as soon as the defect touches it; half of it is asked for.",
            lambda m, f: (_covered(m, f) > 0).long(),
        ),
        Mistake(
            "a pixel of which exactly half is covered counts too.",
            lambda m, f: (_covered(m, f) > 0.5).long(),
        ),
        Mistake(
            "one pixel of each block decides for all; count all of them.", lambda m, f: m[::f, ::f]
        ),
        Mistake("bilinear: at most four pixels of each block are looked at.", _bilinear),
        Mistake("that is the share that is covered, not yet a mask of 0 and 1.", _covered),
        Mistake(
            "turned around: the normal pixels are marked.", lambda m, f: 1 - half_covered(m, f)
        ),
    ),
)

# 10.2: choose on one half, report on the other


def honest_best(scores: Tensor, labels: Tensor, chosen_on: Tensor) -> float:
    """AUROC, on the other images, of the look that is best on the images `chosen_on`."""
    return _auroc_of(scores[_best(scores, labels, chosen_on)], labels, ~chosen_on)


def _auroc_of(scores: Tensor, labels: Tensor, where: Tensor) -> float:
    return auroc_by_counting(scores[where], labels[where])


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
    """Looks at test sets of which the first half is chosen on, then every third image."""
    cases: list[Arguments] = []
    for looks, quarter, mixed in ((2, 2, False), (6, 3, False), (9, 8, True), (7, 3, True)):
        labels = torch.arange(4 * quarter) % 2
        number = torch.arange(4 * quarter)
        chosen_on = number % 3 == 1 if mixed else number < 2 * quarter
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
            "chosen and reported on all images: the leak of the whole test set.",
            lambda s, y, c: max(_auroc_of(look, y, _everywhere(y)) for look in s),
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
    """Rising curves from (0, 0) to (1, 1); one limit lies on a point."""
    corner = torch.tensor([0.0, 0.2, 0.4, 1.0], dtype=torch.float64)
    heights = torch.tensor([0.0, 0.6, 0.8, 1.0], dtype=torch.float64)
    cases: list[Arguments] = [(corner, heights, 0.3), (corner, heights, 0.4)]
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

EXERCISES = (_HALF, _HONEST, _LIMIT)
