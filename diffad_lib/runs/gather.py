"""The records below some folders, and which of them can be compared with each other.

Nothing is left out silently: what cannot be read or compared is a line in `Gathered.left_out`, and
what is doubtful a line in `Gathered.notes`.
"""

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from diffad_lib.errors import DiffadError, one_line
from diffad_lib.plans import PLACES, Budget
from diffad_lib.runs.record import RECORD_NAME, Record, read_record

MINI = "mini data"
# Settings without effect; of a folder its fingerprint has it.
_NO_DIFFERENCE = {"device", "checkpoint_seconds", "eval_batch_size", "foreground_folder", *PLACES}


class Run(NamedTuple):
    """A record and where it lies."""

    path: Path
    record: Record

    @property
    def collection(self) -> str:
        """The dataset, or the mini data, whose categories are no official ones."""
        config = self.record.config
        return config.dataset if config.data_root else MINI

    @property
    def place(self) -> tuple[str, str, str]:
        """Collection, dataset and category."""
        return self.collection, self.record.config.dataset, self.record.config.category

    @property
    def setting(self) -> str:
        """Budget, variants, overrides and given weights, as the name of a run folder has them."""
        config = self.record.config
        given = (f"weights={Path(config.weights).name}",) if config.weights else ()
        return "+".join((config.budget, *config.variants, *config.overrides, *given))

    @property
    def cell(self) -> tuple[str, str]:
        """Method and setting."""
        return self.record.config.method, self.setting

    @property
    def images(self) -> tuple[tuple[str, str, int], ...]:
        """Defect, file and label of every test image."""
        return tuple((one.defect, one.file, one.label) for one in self.record.images)

    @property
    def scores(self) -> np.ndarray:
        """float64 [N], of the test images."""
        return np.array([one.score for one in self.record.images])

    @property
    def labels(self) -> np.ndarray:
        """int64 [N] in {0,1}, of the test images."""
        return np.array([one.label for one in self.record.images])


@dataclass(frozen=True)
class Gathered:
    """Comparable runs in a fixed order: by place, cell and seed; and what a person is told."""

    runs: tuple[Run, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def gather(folders: Sequence[Path]) -> Gathered:
    """The runs below the folders; DiffadError where there is no folder or no record at all.

    Runs that were put aside by `--again` (`seed0.before-1`) do not count.
    """
    found, left_out = [], []
    paths = {path.resolve(): path for folder in folders for path in _records(folder)}
    for path in paths.values():
        try:
            found.append(Run(path, read_record(path)))
        except DiffadError as error:
            left_out.append(one_line(error))
    if not paths:
        raise DiffadError(f"{folders[0]}: no {RECORD_NAME} below it; name a folder of runs")
    runs, told = comparable(found)
    return Gathered(tuple(runs), (*sorted(left_out), *told), tuple(_notes(runs)))


def _records(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DiffadError(f"{folder}: is no folder; name one that holds run folders")
    there = sorted(folder.rglob(RECORD_NAME))
    return [path for path in there if ".before-" not in path.parent.name]


_Step = tuple[Callable[[Run], Hashable], Callable[[Run], str], Callable[[Run, Run], str]]


def comparable(found: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """Of each category the runs on one test set, of each cell those with one setting, one a seed.

    Where there are several, the one that most runs have stays; a line tells each that does not.
    """
    runs, told = sorted(found, key=_order), []
    steps: tuple[_Step, ...] = (
        (lambda run: run.place, identity, lambda first, run: "other test images"),
        (lambda run: (run.place, run.cell), settings_text, setting_difference),
    )
    for group_of, kind_of, why in steps:
        kept: list[Run] = []
        for _, members in _grouped(runs, group_of):
            usual = Counter(map(kind_of, members)).most_common(1)[0][0]
            first = next(run for run in members if kind_of(run) == usual)
            for run in members:
                if kind_of(run) == usual:
                    kept.append(run)
                else:
                    told.append(f"{run.path}: {why(first, run)} than {first.path}; left out")
        runs = kept
    return _one_a_seed(runs, told), told


def _one_a_seed(runs: list[Run], told: list[str]) -> list[Run]:
    kept = []
    for _, members in _grouped(runs, lambda run: (run.place, run.cell, run.record.config.seed)):
        kept.append(members[0])
        for run in members[1:]:
            told.append(
                f"{run.path}: seed {run.record.config.seed} again, as in {members[0].path}; one "
                "run a seed counts"
            )
    return kept


def _grouped(runs: list[Run], key: Callable[[Run], Any]) -> Iterator[tuple[Any, list[Run]]]:
    return ((name, list(members)) for name, members in groupby(sorted(runs, key=key), key))


def _order(run: Run) -> tuple[Any, ...]:
    """The same for the same records, wherever they lie."""
    return (*run.place, *run.cell, run.record.config.seed, run.record.finished or "", _digest(run))


def _digest(run: Run) -> str:
    scores = run.scores.tolist()
    values = {name: metric.value for name, metric in run.record.metrics.items()}
    return blake2b(json.dumps([scores, values], sort_keys=True).encode()).hexdigest()


def identity(run: Run) -> str:
    """What tells one test set from another: the fingerprint, else names and labels of images."""
    data = run.record.data
    if data is not None:
        return data.test.fingerprint
    return json.dumps(run.images)


def settings_of(run: Run) -> dict[str, Any]:
    """The settings that have an effect, without their sections; no key stands in two, none is None.

    Also what tells given weights and folders of textures and foreground masks from others.
    """
    record = run.record
    sections = [getattr(record.config, name) for name in Budget.model_fields]
    flat = {key: value for section in sections for key, value in section.items()}
    settings = {key: value for key, value in flat.items() if key not in _NO_DIFFERENCE}
    settings["weights"] = record.weights and record.weights.sha256
    for name in ("textures", "foregrounds"):
        read = getattr(record.data, name) if record.data else None
        settings[name] = read and read.fingerprint
    return {key: value for key, value in settings.items() if value is not None}


def settings_text(run: Run) -> str:
    """The same as a text that can be compared."""
    return json.dumps(settings_of(run), sort_keys=True)


def setting_difference(first: Run, other: Run) -> str:
    """The first setting that differs, for a person: `other settings (steps 500, not 400)`."""
    ours, theirs = settings_of(other), settings_of(first)
    keys = sorted({*ours} | {*theirs})
    key = next(key for key in keys if ours.get(key) != theirs.get(key))
    return f"other settings ({key} {ours.get(key)}, not {theirs.get(key)})"


def _notes(runs: list[Run]) -> Iterator[str]:
    """What makes figures of one category hard to compare."""
    for place, members in _grouped(runs, lambda run: run.place):
        for key, what in (("image_size", "metrics of pixels"), ("fpr_limit", "AUPRO")):
            values = {" ".join(run.cell): settings_of(run).get(key) for run in members}
            if len({*values.values()}) > 1:
                each = ", ".join(f"{cell} {value}" for cell, value in sorted(values.items()))
                yield f"{'/'.join(place[1:])}: {what} at another {key} are others: {each}"
    chosen = {run.cell for run in runs if settings_of(run).get("select_on_test_epochs")}
    for cell in sorted(chosen):
        yield f"{' '.join(cell)}: its weights were chosen on the test set, so its figures flatter"
