"""`diffad compare`: is the difference between two settings real, and how many seeds would tell?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffad_lib.errors import DiffadError
from diffad_lib.metrics import METRICS, tabled
from diffad_lib.metrics.differences import (
    Difference,
    auroc_difference,
    combined,
    seed_difference,
    seeds_needed,
    unpaired,
)
from diffad_lib.runs.gather import Run, gather, identity, settings_of
from diffad_lib.runs.results import mean_ends

IMAGE_AUROC = "image_auroc"  # the metric that the scores of a record are enough for
_MEASURED_AT = {"pixel": "image_size"}  # a setting that has to be the same, by the metric's unit


@dataclass(frozen=True)
class Compared:
    """A metric of A and of B: means over seeds, their difference, seeds that would tell.

    needed is None where no number of seeds would, and where a side has one seed.
    """

    metric: str
    a: float
    b: float
    difference: Difference
    needed: int | None
    is_paired: bool  # whether the same images were drawn again for both


@dataclass(frozen=True)
class Comparison:
    """Two settings on one test set."""

    category: str
    names: tuple[str, str]
    seeds: tuple[int, int]
    metrics: tuple[Compared, ...]
    notes: tuple[str, ...]


def compare_folders(a: Path, b: Path) -> Comparison:
    """Compare the runs below two folders; DiffadError unless each holds one cell of one category.

    So is one whose records cannot all be read, or that were made with different settings.
    """
    sides = []
    for folder in (a, b):
        gathered = gather([folder])
        if gathered.left_out:
            raise DiffadError(f"{gathered.left_out[0]}; move it away, or name another folder")
        there = sorted({("/".join(run.place[1:]), *run.cell) for run in gathered.runs})
        if len(there) > 1:
            each = ", ".join(map(" ".join, there[:4])) + (", …" if len(there) > 4 else "")
            raise DiffadError(f"{folder}: holds runs of {each}; name the folder of one")
        sides.append(gathered.runs)
    return compare(*sides)


def compare(a: Sequence[Run], b: Sequence[Run]) -> Comparison:
    """Compare two cells of comparable runs (`gather.comparable`), a run a seed.

    DiffadError for other test images, and for the same runs on both sides.
    """
    first, second = a[0], b[0]
    place = "/".join(first.place[1:])
    if first.place != second.place or identity(first) != identity(second):
        other = f"{place}, {'/'.join(second.place[1:])}"
        raise DiffadError(
            f"{first.path} and {second.path}: other test images ({other}); compare on the same ones"
        )
    if {run.path.resolve() for run in a} & {run.path.resolve() for run in b}:
        raise DiffadError(f"{first.path}: is on both sides; name two folders")
    if len({run.images for run in (*a, *b)}) > 1:
        raise DiffadError(f"{first.path} and {second.path}: list other images, or in another order")
    found, notes = [], _notes(a, b)
    for name in tabled():
        kind = METRICS[name]
        keys = [_MEASURED_AT.get(kind.unit), "fpr_limit" if kind.takes_fpr_limit else None]
        unlike = [key for key in keys if key and _setting(first, key) != _setting(second, key)]
        values = [[_value(run, name) for run in side] for side in (a, b)]
        if any(value is None for side in values for value in side):
            notes.append(f"{kind.title}: not compared, a record lacks it or it is undefined")
        elif unlike:
            at = f"{unlike[0]} {_setting(first, unlike[0])} and {_setting(second, unlike[0])}"
            notes.append(f"{kind.title}: not compared, measured at {at}")
        else:
            found.append(_compared(name, a, b, *(np.array(side, float) for side in values)))
    names = " ".join(first.cell), " ".join(second.cell)
    return Comparison(place, names, (len(a), len(b)), tuple(found), tuple(notes))


def _compared(
    name: str, a: Sequence[Run], b: Sequence[Run], values_a: np.ndarray, values_b: np.ndarray
) -> Compared:
    is_paired = name == IMAGE_AUROC and all(run.record.images for run in (*a, *b))
    if is_paired:
        rows = [np.stack([run.scores for run in side]) for side in (a, b)]  # [S,N], a row a seed
        difference = auroc_difference(rows[0], rows[1], a[0].labels)
    else:
        value, seeds = seed_difference(values_a, values_b)
        ends = [mean_ends([run.record.metrics[name] for run in side]) for side in (a, b)]
        images = unpaired(value, *ends)
        difference = combined(value, images, seeds)
    spreads = [float(side.std(ddof=1)) if len(side) > 1 else None for side in (values_a, values_b)]
    needed = None
    if spreads[0] is not None and spreads[1] is not None:
        needed = seeds_needed(difference, spreads[0], spreads[1])
    means = float(values_a.mean()), float(values_b.mean())
    return Compared(name, *means, difference, needed, is_paired)


def _value(run: Run, name: str) -> float | None:
    metric = run.record.metric(name)
    return None if metric is None or metric.low is None else metric.value


def _setting(run: Run, key: str) -> object:
    return settings_of(run).get(key)


def _notes(a: Sequence[Run], b: Sequence[Run]) -> list[str]:
    """What a reader of the difference has to know of the runs."""
    notes = []
    data = [side[0].record.data for side in (a, b)]
    if data[0] and data[1] and data[0].train.fingerprint != data[1].train.fingerprint:
        notes.append("the two sides were trained on other images")
    sizes = [_setting(side[0], "image_size") for side in (a, b)]
    if sizes[0] != sizes[1]:
        told = f"A saw images of {sizes[0]} px, B of {sizes[1]}"
        notes.append(f"{told}: a difference in image metrics is one of size too")
    for name, side in (("A", a), ("B", b)):
        if len(side) < 2:
            notes.append(f"{name} has one seed: how far another seed would be is unknown")
        if any(_setting(run, "select_on_test_epochs") for run in side):
            notes.append(f"{name} chose its weights on the test set, so its figures flatter")
    return notes


def verdict(one: Compared) -> str:
    """What a difference says, for a person."""
    difference = one.difference
    if difference.is_real is None:
        return "not known: a side has one seed"
    if difference.is_real:
        return "real"
    if one.needed is None:
        return "not shown, and more seeds alone would not show one so small on these test images"
    return f"not shown; one so large would be seen with {one.needed} seeds a side (4 times of 5)"
