"""Exercises of notebook 01, the two failures of autoencoders."""

from collections.abc import Callable

import torch
from torch import Tensor

from diffad_lib.course.exercises.grading import Arguments, Exercise, Function, Mistake

# 01.1: the share of a defect that a code carries


def carried(basis: Tensor, defects: Tensor) -> Tensor:
    """ρ = ‖Bᵀd‖² / ‖d‖² for an orthonormal basis B."""
    return (defects @ basis).square().sum(dim=1) / defects.square().sum(dim=1)


def _bases(generator: torch.Generator) -> list[Arguments]:
    first = torch.tensor([[1.0], [0.0], [0.0]]).double(), torch.tensor([[3.0, 4.0, 0.0]]).double()
    cases: list[Arguments] = [first]
    for size, k, count in ((6, 2, 3), (8, 5, 8), (5, 5, 2)):
        basis = torch.linalg.qr(torch.randn(size, size, generator=generator).double())[0][:, :k]
        cases.append((basis, torch.randn(count, size, generator=generator).double()))
    return cases


_CARRIED = Exercise(
    "01.1",
    carried,
    _bases,
    (
        Mistake(
            "that is a ratio of norms; the retention is one of energies, so square it.",
            lambda b, d: (d @ b).norm(dim=1) / d.norm(dim=1),
        ),
        Mistake(
            "that is what the residual keeps; the code's share is wanted.",
            lambda b, d: 1 - carried(b, d),
        ),
        Mistake(
            "the energy in the code, not yet divided by the defect's own.",
            lambda b, d: (d @ b).square().sum(dim=1),
        ),
        Mistake(
            "divided by the norm; its square belongs there.",
            lambda b, d: (d @ b).square().sum(dim=1) / d.norm(dim=1),
        ),
        Mistake(
            "square first, then add: coefficients of unlike sign cancel in yours.",
            lambda b, d: (d @ b).sum(dim=1).square() / d.square().sum(dim=1),
        ),
        Mistake(
            "means over unlike many numbers: the code has k of them, the defect N. Take sums.",
            lambda b, d: (d @ b).square().mean(dim=1) / d.square().mean(dim=1),
        ),
        Mistake(
            "one number for all defects; each has its own retention.",
            lambda b, d: ((d @ b).square().sum() / d.square().sum()).expand(len(d)),
        ),
    ),
)

# 01.2: error in rich against error in plain surroundings


def rich_to_plain(error: Tensor, complexity: Tensor) -> float:
    """Mean error above the median of the complexity, over the mean error of all other pixels."""
    return _split_ratio(error, complexity > complexity.median())


def _split_ratio(error: Tensor, rich: Tensor) -> float:
    return (error[rich].mean() / error[~rich].mean()).item()


def _by_image(error: Tensor, complexity: Tensor) -> float:
    return _split_ratio(error, complexity > complexity.flatten(1).median(dim=1)[0][:, None, None])


def _complexities(generator: torch.Generator) -> list[Arguments]:
    """Skewed complexities of an odd number of pixels, in images of unlike richness.

    The errors have another scale, so that a split of one by the other's median shows.
    """
    first = torch.tensor([[[0.1, 0.2], [0.3, 0.6]]]), torch.tensor([[[0.0, 0.1], [0.2, 0.9]]])
    cases: list[Arguments] = [tuple(part.double() for part in first)]
    for count in (3, 5):
        level = torch.linspace(0.1, 2, count).double()[:, None, None]
        complexity = level * torch.rand(count, 5, 5, generator=generator).double() ** 3
        error = 0.05 + complexity + 0.2 * torch.rand(count, 5, 5, generator=generator).double()
        cases.append((0.2 * error, complexity))
    return cases


_RICH = Exercise(
    "01.2",
    rich_to_plain,
    _complexities,
    (
        Mistake(
            "upside down: rich over plain is wanted.",
            lambda e, c: 1 / rich_to_plain(e, c),
        ),
        Mistake(
            "split at the mean; the median is asked for.",
            lambda e, c: _split_ratio(e, c > c.mean()),
        ),
        Mistake(
            "split at the median of the error; the complexity decides.",
            lambda e, c: _split_ratio(e, e > e.median()),
        ),
        Mistake(
            "a median for each image; one median over all pixels is asked for.",
            _by_image,
        ),
        Mistake(
            "divided by the mean of all pixels; the rich ones are in there too.",
            lambda e, c: (e[c > c.median()].mean() / e.mean()).item(),
        ),
        Mistake(
            "sums of two groups of unlike size; means are asked for.",
            lambda e, c: (e[c > c.median()].sum() / e[c <= c.median()].sum()).item(),
        ),
        Mistake(
            "the pixels at the median itself belong to the others: above means >.",
            lambda e, c: _split_ratio(e, c >= c.median()),
        ),
        Mistake(
            "a difference of the two means; a ratio is asked for.",
            lambda e, c: (e[c > c.median()].mean() - e[c <= c.median()].mean()).item(),
        ),
    ),
)

# 01.3: the two counts


def missed_and_alarms(scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Defective pictures at or below the threshold, normal ones above it."""
    alarm = scores > threshold
    return torch.stack([((labels == 1) & ~alarm).sum(), ((labels == 0) & alarm).sum()])


def _counted(pick: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Function:
    """Other counts, by two masks of (alarm, defective)."""

    def wrong(scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
        return torch.stack([m.sum() for m in pick(scores > threshold, labels == 1)])

    return wrong


def _pictures(generator: torch.Generator) -> list[Arguments]:
    """Scores in quarters, so that some are equal to the threshold."""
    first = torch.tensor([0.1, 0.9, 0.5, 0.3]).double(), torch.tensor([0, 1, 1, 0])
    cases: list[Arguments] = [(*first, 0.5)]
    for count, threshold in ((12, 0.25), (40, 0.75)):
        labels = (torch.rand(count, generator=generator) < 0.35).long()
        scores = torch.randint(0, 5, (count,), generator=generator).double() / 4
        cases.append((scores, labels, threshold))
    return cases


_COUNTS = Exercise(
    "01.3",
    missed_and_alarms,
    _pictures,
    (
        Mistake("the order is missed, then alarms.", _counted(lambda a, d: (~d & a, d & ~a))),
        Mistake(
            "those are the right decisions: found defects and quiet normal pictures.",
            _counted(lambda a, d: (d & a, ~d & ~a)),
        ),
        Mistake(
            "the second count is of all alarms; those on defects are no false ones.",
            _counted(lambda a, d: (d & ~a, a)),
        ),
        Mistake(
            "the first count is of all quiet pictures; most of them are normal.",
            _counted(lambda a, d: (~a, ~d & a)),
        ),
        Mistake(
            "a score at the threshold raises no alarm: above means >.",
            lambda scores, labels, threshold: missed_and_alarms(scores, labels, threshold - 0.1),
        ),
        Mistake(
            "quiet normal pictures, then found defects? 1 is a defect; yours takes 0 for it.",
            lambda scores, labels, threshold: missed_and_alarms(scores, 1 - labels, threshold),
        ),
        Mistake(
            "found defects where missed ones are asked for.",
            _counted(lambda a, d: (d & a, ~d & a)),
        ),
    ),
)

EXERCISES = (_CARRIED, _RICH, _COUNTS)
