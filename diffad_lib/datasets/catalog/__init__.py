"""The catalog: every module here is a dataset, its facts and its reader, and defines DATASET."""

import importlib
import pkgutil

from diffad_lib.datasets.dataset import Dataset, Kind
from diffad_lib.errors import DiffadError, nearest

CATALOG: dict[str, Dataset] = {
    name: importlib.import_module(f"{__name__}.{name}").DATASET
    for name in sorted(info.name for info in pkgutil.iter_modules(__path__))
}
"""The datasets by their key, which is the name of their module."""


def run_datasets() -> list[str]:
    """Keys of the datasets that a run can use: those with test sets."""
    return [key for key, dataset in CATALOG.items() if dataset.has_test_sets]


def find_dataset(key: str) -> Dataset:
    """A dataset by its key; raises DiffadError that names the nearest one."""
    if key not in CATALOG:
        raise DiffadError(f'dataset "{key}" is not known; {nearest(key, CATALOG)}')
    return CATALOG[key]


def category_kind(dataset: str, category: str, default: Kind = "object") -> Kind:
    """Kind of a category; `default` for one the catalog lacks (mini data, an own folder)."""
    categories = find_dataset(dataset).categories
    return categories[category].kind if category in categories else default
