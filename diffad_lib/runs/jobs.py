"""Many runs from lists: datasets, categories, methods, budgets, seeds, each a list or `all`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from diffad_lib.datasets.catalog import find_dataset, run_datasets
from diffad_lib.datasets.layouts import list_categories, list_samples
from diffad_lib.errors import DiffadError, nearest, one_line
from diffad_lib.methods import method_names
from diffad_lib.mini import MINI_CATEGORIES
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import data_root
from diffad_lib.settings import BudgetName

ALL = "all"


@dataclass(frozen=True)
class Lists:
    """What `--dataset`, `--category`, … gave: each entry a name, names with commas, or `all`."""

    datasets: Sequence[str]
    categories: Sequence[str]
    methods: Sequence[str]
    budgets: Sequence[str]
    seeds: Sequence[str]


class Images(NamedTuple):
    """Images of a category, and where the numbers are from."""

    train: int  # normal ones
    test: int
    source: str  # "found", "catalog" or "mini data"


def make_jobs(
    lists: Lists,
    variants: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> list[RunConfig]:
    """A checked configuration of every combination, seeds innermost.

    A category counts for every dataset that has it. options: `data_root` and others of
    `build_config`. DiffadError for a name that is not known, or a category that no dataset has.
    """
    places = _places(lists, options.get("data_root"))
    methods = _chosen("method", lists.methods, method_names())
    budgets = _chosen("budget", lists.budgets, get_args(BudgetName))
    seeds, variants = [_seed(text) for text in _split(lists.seeds)], tuple(variants)
    return [
        build_config(dataset, category, method, budget, variants, overrides, seed=seed, **options)
        for dataset, category in places
        for method in methods
        for budget in budgets
        for seed in dict.fromkeys(seeds)
    ]


def count_images(config: RunConfig) -> Images:
    """Images of a run: counted where they lie, else the official numbers; decodes nothing.

    Without `data_root` a category that only the mini data has is counted there.
    """
    official = find_dataset(config.dataset).categories.get(config.category)
    is_there = config.data_root and config.category in _there(config.dataset, config.data_root)
    if official and not is_there:
        return Images(official.train_good, official.test_good + official.test_defect, "catalog")
    samples = list_samples(config.dataset, config.category, data_root(config))
    train = sum(sample.split == "train" for sample in samples)
    source = "found" if config.data_root else "mini data"
    return Images(train, len(samples) - train, source)


def _places(lists: Lists, root: Path | None) -> list[tuple[str, str]]:
    """Dataset and category of every pair that is wanted and known."""
    datasets = _chosen("dataset", lists.datasets, run_datasets())
    known = {dataset: _categories(dataset, root) for dataset in datasets}
    for dataset in _split(lists.datasets):
        if dataset != ALL and not known[dataset][0]:
            raise DiffadError(f'--dataset "{dataset}" has no official categories; give --data-root')
    wanted = _split(lists.categories)
    for name in wanted:
        if name != ALL and not any(name in here for here, _ in known.values()):
            places = sorted({category for here, _ in known.values() for category in here})
            raise DiffadError(
                f'--category "{one_line(name)}" is not known; {nearest(name, places)}'
            )
    return [
        (dataset, category)
        for dataset, (here, of_all) in known.items()
        for category in here
        if category in wanted or (ALL in wanted and category in of_all)
    ]


def _categories(dataset: str, root: Path | None) -> tuple[list[str], list[str]]:
    """The categories that may be named, and those that `all` means.

    Below the folder, if the dataset lies there; else the official ones. The mini data has to be
    named, as runs without a folder read it.
    """
    official = list(find_dataset(dataset).categories)
    there = _there(dataset, root) if root else []
    mini = [] if root else [name for place, name in MINI_CATEGORIES if place == dataset]
    return list(dict.fromkeys([*there, *official, *mini])), there or official


def _there(dataset: str, root: Path) -> list[str]:
    return list_categories(dataset, root) if (root / find_dataset(dataset).folder).is_dir() else []


def _chosen(option: str, given: Sequence[str], known: Sequence[str]) -> list[str]:
    names = _split(given)
    for name in names:
        if name != ALL and name not in known:
            raise DiffadError(f'--{option} "{one_line(name)}" is not known; {nearest(name, known)}')
    return [name for name in known if name in names or ALL in names]


def _split(given: Sequence[str]) -> list[str]:
    """["a,b", "c"] → ["a", "b", "c"]."""
    return [part.strip() for text in given for part in text.split(",") if part.strip()]


def _seed(text: str) -> int:
    if not text.isdigit():
        raise DiffadError(f'--seed "{one_line(text)}" is not a whole number; give such as 0,1,2')
    return int(text)
