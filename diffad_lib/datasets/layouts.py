"""Which categories and samples a dataset's folder holds, for every dataset and own folders."""

import difflib
from collections.abc import Callable
from pathlib import Path

from diffad_lib.datasets.catalog import find_dataset
from diffad_lib.datasets.dataset import Dataset
from diffad_lib.datasets.folders import is_folder, natural_key, subfolders
from diffad_lib.datasets.names import nfc
from diffad_lib.datasets.samples import Sample, Scan
from diffad_lib.errors import DiffadError


def list_categories(dataset: str, data_root: Path) -> list[str]:
    """Categories below `data_root` in natural order; DiffadError if the dataset is not there."""
    found = find_dataset(dataset)
    root = _category_root(found, data_root)
    return [name for name in subfolders(root) if _holds(found.is_category, root / name)]


def has_dataset(dataset: str, data_root: Path) -> bool:
    """Whether a dataset has its folder below `data_root`."""
    return is_folder(data_root / find_dataset(dataset).folder)


def list_samples(dataset: str, category: str, data_root: Path) -> list[Sample]:
    """Samples of a category: normal training images, then normal, then defective test images.

    One-class protocol: defective training images (DAGM) are left out. Files are in natural
    order, the same on every machine. Raises DiffadError on the first problem of the folder.
    """
    return usable_samples(scan_category(dataset, category, data_root))


def usable_samples(scan: Scan) -> list[Sample]:
    """What `list_samples` gives, of a scan; DiffadError for its first problem."""
    if scan.problems:
        others = len(scan.problems) - 1
        more = f" ({others} more: see `diffad data verify`)" if others else ""
        raise DiffadError(scan.problems[0] + more)
    return [sample for sample in scan.samples if (sample.split, sample.label) != ("train", 1)]


def scan_category(dataset: str, category: str, data_root: Path) -> Scan:
    """Every labelled image of a category, every problem; DiffadError if it is not there."""
    return scan_folder(dataset, category_folder(dataset, category, data_root))


def scan_folder(dataset: str, folder: Path) -> Scan:
    """The same of the folder that `category_folder` gave."""
    scan = find_dataset(dataset).scan(folder)
    scan.samples.sort(
        key=lambda s: (s.split == "test", s.label, natural_key(s.defect), natural_key(s.image.name))
    )
    return scan


def category_folder(dataset: str, category: str, data_root: Path) -> Path:
    """Where a category lies; DiffadError if it is not there."""
    found = find_dataset(dataset)
    root = _category_root(found, data_root)
    present = list_categories(dataset, data_root)
    if category not in present:
        category = {nfc(name): name for name in present}.get(nfc(category), category)
    if category not in present:
        if category in subfolders(root):
            found.is_category(root / category)  # DiffadError where it may not be entered
        close = difflib.get_close_matches(category, present, n=1, cutoff=0.5)
        hint = f'; did you mean "{close[0]}"?' if close else _other_root(root, category)
        raise DiffadError(
            f'{root} has no category "{category}" (there: {", ".join(present) or "none"}){hint}'
        )
    return root / category


def _other_root(root: Path, category: str) -> str:
    """A hint where the category lies one folder higher or deeper than it was looked for."""
    if root.name in ("train", "test"):
        return f"; {root} is a part of a category: give the folder that holds the category"
    if root.name == category or "train" in subfolders(root):
        return f"; {root} looks like the category itself: give the folder that holds it"
    deeper = [name for name in subfolders(root) if _holds(is_folder, root / name / category)]
    return f"; {root / deeper[0]} has it: give that folder" if deeper else ""


def list_others(dataset: str, data_root: Path) -> list[str]:
    """Folders of a dataset without official categories that are no category, in natural order."""
    found = find_dataset(dataset)
    root = _category_root(found, data_root)
    return [
        name
        for name in subfolders(root)
        if not found.categories and not _holds(found.is_category, root / name)
    ]


def _holds(is_kind: Callable[[Path], bool], folder: Path) -> bool:
    """Whether a folder is of a kind; False where it may not be entered, such as lost+found."""
    try:
        return is_kind(folder)
    except DiffadError:
        return False


def _category_root(dataset: Dataset, data_root: Path) -> Path:
    """The folder that holds one folder per category."""
    data_root = Path(data_root)
    if not is_folder(data_root):
        raise DiffadError(f"{data_root} is not a folder; give the one that holds the datasets")
    folder = data_root / dataset.folder
    if not is_folder(folder):
        raise DiffadError(
            f'{data_root} has no folder "{dataset.folder}" (there: '
            f"{', '.join(subfolders(data_root)) or 'none'}); data/README.md says how to get "
            f"{dataset.title}"
        )
    return dataset.category_root(folder)
