"""Many runs from lists: datasets, categories, methods, budgets and seeds, or `all` of them."""

import itertools
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from diffad_lib.datasets.catalog import find_dataset, run_datasets
from diffad_lib.datasets.layouts import has_dataset, list_categories
from diffad_lib.errors import DiffadError, nearest
from diffad_lib.methods import method_names
from diffad_lib.methods.method import find_method
from diffad_lib.mini import MINI_CATEGORIES, is_mini
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import data_root

ALL = "all"
LISTS = ("dataset", "category", "method", "budget", "seed")  # what can be a list


def matrix(
    lists: Mapping[str, Sequence[str]],
    variants: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    is_planned: bool = False,
    **options: Any,
) -> list[RunConfig]:
    """A checked configuration for every combination of the lists, the first seed first.

    lists: what was given for each of LISTS; a value may hold several with commas, and `all` stands
    for what is there: datasets and categories below data_root, or of the mini data without one. Of
    runs that are only planned the data need not be there: then `all` stands for the official
    categories. A category is taken with every dataset that has it. The rest is as in
    `build_config`, the same for every run. DiffadError for a value that does not exist, or a
    setting that a method lacks.
    """
    root: Path | None = options.get("data_root")
    if is_planned:
        found = _planned(lists["dataset"], root)
    else:
        root = data_root(root)
        found = _there(lists["dataset"], root)
    places = _places(lists["category"], found, root)
    methods = _chosen("method", lists["method"], method_names())
    budgets = _chosen("budget", lists["budget"], list(find_method(methods[0]).budgets))
    seeds = [_number(text) for text in _chosen("seed", lists["seed"], ())]
    return [
        build_config(dataset, category, method, budget, variants, overrides, seed=seed, **options)
        for seed, budget, (dataset, category), method in itertools.product(
            seeds, budgets, places, methods
        )
    ]


def absent(configs: Iterable[RunConfig]) -> list[str]:
    """A line for each dataset of which official categories are not there, for a person."""
    lines = []
    roots = dict.fromkeys((one.dataset, one.data_root) for one in configs)
    for dataset, root in roots:
        if root is None or is_mini(root):
            continue
        official = find_dataset(dataset).categories
        gone = [name for name in official if name not in list_categories(dataset, root)]
        if gone:
            lines.append(
                f"{dataset}: {len(gone)} of {len(official)} official categories are not below "
                f"{root}: {', '.join(gone)}"
            )
    return lines


def _chosen(option: str, given: Sequence[str], known: Collection[str]) -> list[str]:
    """Single values, each once; one that is known as a whole may hold commas itself."""
    parts = [
        part.strip()
        for value in given
        for part in ([value] if value in known else value.split(","))
    ]
    parts = list(dict.fromkeys(part for part in parts if part))
    if not parts:
        raise DiffadError(f"--{option} is empty; name at least one")
    if ALL not in parts or ALL in known:
        return parts
    if not known:
        raise DiffadError(f"--{option} {ALL}: there is no end of them; name those you want")
    if len(parts) > 1:
        raise DiffadError(f"--{option} {ALL} stands for every one; name no other beside it")
    return list(known)


class Categories(NamedTuple):
    """Of a dataset: those that may be named, and those that `all` stands for."""

    named: list[str]
    all: list[str]


def _there(given: Sequence[str], root: Path) -> dict[str, Categories]:
    """What lies below the folder, by dataset."""
    datasets = _datasets(given)
    if ALL in given:
        datasets = [one for one in datasets if has_dataset(one, root)]
    found = {name: [*map(_composed, list_categories(name, root))] for name in datasets}
    return {name: Categories(categories, categories) for name, categories in found.items()}


def _planned(given: Sequence[str], root: Path | None) -> dict[str, Categories]:
    """What lies below the folder where a dataset lies there, else what is official, by dataset.

    The mini data has to be named: a plan without a folder is one of the real data.
    """
    found = {}
    for name in _datasets(given):
        official = list(find_dataset(name).categories)
        there = list_categories(name, root) if root and has_dataset(name, root) else []
        mini = [] if root else [category for place, category in MINI_CATEGORIES if place == name]
        named = list(dict.fromkeys([*map(_composed, there), *official, *mini]))
        if not named and ALL not in given:
            raise DiffadError(f'--dataset "{name}" has no official categories; give --data-root')
        found[name] = Categories(named, [*map(_composed, there)] or official)
    return found


def _datasets(given: Sequence[str]) -> list[str]:
    datasets = _chosen("dataset", given, run_datasets())
    for name in datasets:
        if name not in run_datasets():
            raise DiffadError(f'--dataset "{name}" is not known; {nearest(name, run_datasets())}')
    return datasets


def _places(
    given: Sequence[str], there: Mapping[str, Categories], root: Path | None
) -> list[tuple[str, str]]:
    """Dataset and category of each combination that exists."""
    names = list(dict.fromkeys(name for known in there.values() for name in known.named))
    if not names:
        raise DiffadError(f"{root} holds no category of {', '.join(there) or 'any dataset'}")
    categories = _chosen("category", [*map(_composed, given)], names)
    for category in categories:
        if category not in names:
            on_mini = root is not None and is_mini(root)
            told = "; this is the mini data, give --data-root for yours" if on_mini else ""
            raise DiffadError(
                f'--category "{category}" is in no dataset here ({", ".join(there)}); '
                f"{nearest(category, names)}{told}"
            )
    return [
        (name, one)
        for name, known in there.items()
        for one in categories
        if one in (known.all if ALL in given else known.named)
    ]


def _composed(name: str) -> str:
    """A name in the form that a keyboard gives; a folder copied from a Mac may have another."""
    return unicodedata.normalize("NFC", name)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DiffadError(f'--seed "{text}" is no whole number') from None
