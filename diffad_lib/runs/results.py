"""Many records as one table: published, reruns of others, ours; with missing cells and means.

`results_frame` has a row for each category, method, setting and metric. All that is shown, on the
terminal, in files, in chapter 09, is read from it, so the same records give the same bytes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.metrics import METRICS
from diffad_lib.metrics.differences import Interval, mean_interval
from diffad_lib.runs.gather import Run
from diffad_lib.runs.published import MEAN, Kind, published
from diffad_lib.runs.record import Measured

Told = tuple[tuple[float, str], ...]  # figures of others in [0,1], with the keys of their sources
_NAN = (math.nan, math.nan)


@dataclass(frozen=True)
class Ours:
    """A metric of the runs of a cell: mean over seeds, with both intervals (NaN where unknown)."""

    value: float
    by_seed: dict[int, float]
    seeds: Interval = _NAN  # 95 % of Student's t for the mean over seeds
    images: Interval = _NAN  # means of the ends of the bootstrap intervals over test images


def results_frame(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each collection, place, cell and metric, also where there is no run.

    Columns: collection, dataset, category, method, setting, metric, value, seeds (how many),
    by_seed, seeds_low, seeds_high, images_low, images_high, train_seconds, images_per_second
    (medians over seeds), published and reruns (`Told`), is_mean. value is NaN without a run.
    """
    rows: list[dict[str, Any]] = []
    for collection in sorted({run.collection for run in runs}):
        members = [run for run in runs if run.collection == collection]
        places, cells = _places(members), sorted({run.cell for run in members})
        for metric in METRICS:
            rows += _rows_of(collection, members, places, cells, metric)
    return pd.DataFrame(rows)


def _rows_of(
    collection: str,
    runs: list[Run],
    places: list[tuple[str, str]],
    cells: list[tuple[str, str]],
    metric: str,
) -> list[dict[str, Any]]:
    """The rows of a collection and a metric: every place, then the means."""
    found = {
        (place, cell): [run for run in runs if (run.place[1:], run.cell) == (place, cell)]
        for place in places
        for cell in cells
    }
    ours = {key: _ours(members, metric) for key, members in found.items()}
    rows = []
    for place in places:
        for cell in cells:
            told = {kind: _told(kind, cell, collection, place[1], metric) for kind in _KINDS}
            row = _row(ours[place, cell], told) | _cost(found[place, cell])
            rows.append({"category": place[1], "dataset": place[0], "is_mean": False} | row)
    common = [place for place in places if all(ours[place, cell] for cell in cells)]
    for chosen in (common, places):
        if len(chosen) < 2 or (chosen is places and collection not in CATALOG):
            continue
        whole = len(chosen) == len(places)
        name = f"all {len(places)}" if whole else f"{len(chosen)} of {len(places)}"
        for cell in cells:
            told = {
                kind: _told(kind, cell, collection, MEAN, metric)
                if whole
                else _mean_told([_told(kind, cell, collection, p[1], metric) for p in chosen])
                for kind in _KINDS
            }
            row = _row(_mean_of([ours[place, cell] for place in chosen]), told) | _cost([])
            rows.append({"category": f"mean of {name}", "dataset": "", "is_mean": True} | row)
        if whole:
            break
    who = [{"method": cell[0], "setting": cell[1]} for cell in cells] * (len(rows) // len(cells))
    where = {"collection": collection, "metric": metric}
    return [where | cell | row for cell, row in zip(who, rows, strict=True)]


_KINDS: tuple[Kind, ...] = get_args(Kind)


def _places(runs: Iterable[Run]) -> list[tuple[str, str]]:
    """Dataset and category: those seen, and all official ones of a dataset if one of them is."""
    places = {run.place[1:] for run in runs}
    for collection, category in {(run.collection, run.place[2]) for run in runs}:
        if collection in CATALOG and category in CATALOG[collection].categories:
            places |= {(collection, name) for name in CATALOG[collection].categories}
    return sorted(places)


def _ours(runs: Sequence[Run], metric: str) -> Ours | None:
    found = {run.record.config.seed: run.record.metric(metric) for run in runs}
    known = {seed: one for seed, one in found.items() if one and one.value is not None}
    if not known:
        return None
    by_seed = {seed: one.value for seed, one in known.items() if one.value is not None}
    value, seeds = mean_interval(list(by_seed.values()))
    return Ours(value, by_seed, seeds or _NAN, mean_ends(list(known.values())))


def mean_ends(measured: Sequence[Measured]) -> Interval:
    """Mean low and high end over seeds, NaN where one is unknown.

    The test images are the same for all seeds, so the ends are averaged: never too narrow.
    """
    ends = [(one.low, one.high) for one in measured if one.low is not None and one.high is not None]
    if len(ends) < len(measured):
        return _NAN
    return float(np.mean([low for low, _ in ends])), float(np.mean([high for _, high in ends]))


def _mean_of(parts: Sequence[Ours | None]) -> Ours | None:
    """The mean over categories, None if one is missing; their test images are independent."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    value = float(np.mean([part.value for part in known]))
    shared = set.intersection(*({*part.by_seed} for part in known))
    by_seed = {s: float(np.mean([part.by_seed[s] for part in known])) for s in sorted(shared)}
    seeds = mean_interval(list(by_seed.values()))[1] if by_seed else None
    below, above = (
        math.sqrt(sum((part.images[end] - part.value) ** 2 for part in known)) / len(known)
        for end in (0, 1)
    )
    return Ours(value, by_seed, seeds or _NAN, (value - below, value + above))


def _told(kind: Kind, cell: tuple[str, str], dataset: str, category: str, metric: str) -> Told:
    return tuple(published().shares(kind, cell[0], dataset, category, metric))


def _mean_told(parts: Sequence[Told]) -> Told:
    """Means of the sources that tell every part."""
    by_source = [{key: value for value, key in part} for part in parts]
    shared = [key for key in by_source[0] if all(key in part for part in by_source)]
    return tuple((float(np.mean([part[key] for part in by_source])), key) for key in shared)


def _row(ours: Ours | None, told: dict[Kind, Told]) -> dict[str, Any]:
    ours = ours or Ours(math.nan, {})
    return {
        "value": ours.value,
        "seeds": len(ours.by_seed),
        "by_seed": tuple(sorted(ours.by_seed.items())),
        "seeds_low": ours.seeds[0],
        "seeds_high": ours.seeds[1],
        "images_low": ours.images[0],
        "images_high": ours.images[1],
        "published": told["published"],
        "reruns": told["rerun"],
    }


def _cost(runs: Sequence[Run]) -> dict[str, float]:
    """Medians over seeds; NaN where there is none."""
    speeds = [run.record.images_per_second or math.nan for run in runs]
    return {
        "train_seconds": float(np.median([run.record.seconds.train for run in runs] or [math.nan])),
        "images_per_second": float(np.median(speeds or [math.nan])),
    }


def seeds_of_cells(frame: pd.DataFrame) -> pd.Series:
    """How many seeds each cell (category × method with a setting) has; 0 where it is empty."""
    keys = ["collection", "dataset", "category", "method", "setting"]
    return frame[~frame["is_mean"]].groupby(keys)["seeds"].max()


def swap_rows(runs: Sequence[Run]) -> pd.DataFrame:
    """The swap test of every cell: means over seeds of image AUROC and pixel AP, None left out.

    Columns: category, method, setting, reconstruction, image_auroc, pixel_ap.
    """
    rows: list[dict[str, Any]] = [
        {"category": run.place[2], "method": run.cell[0], "setting": run.cell[1]}
        | {"reconstruction": name}
        | {"image_auroc": one.image_auroc, "pixel_ap": one.pixel_ap}
        for run in runs
        for name, one in run.record.swaps.items()
    ]
    keys = ["category", "method", "setting", "reconstruction"]
    frame = pd.DataFrame(rows, columns=[*keys, "image_auroc", "pixel_ap"])
    return frame.groupby(keys, sort=False).mean().reset_index()
