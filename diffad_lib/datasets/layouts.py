"""Which categories and samples a dataset's folder holds, for every dataset and own folders."""

import difflib
from pathlib import Path

from diffad_lib.datasets.catalog import dataset_info
from diffad_lib.datasets.custom import CUSTOM, is_own_category, scan_own_folder
from diffad_lib.datasets.dagm import scan_dagm
from diffad_lib.datasets.samples import (
    Sample,
    Scan,
    add_normal,
    natural_key,
    scan_tree,
    subfolders,
)
from diffad_lib.datasets.visa import VISA_CSV, scan_visa
from diffad_lib.errors import DiffadError

# A folder is a category if it holds one of these (MVTec AD, MPDD and VisA rearranged; DAGM; VisA).
_CATEGORY_MARKS = ("train", "test", "Train", "Test", "Data")


def list_categories(dataset: str, data_root: Path) -> list[str]:
    """Names of the categories that lie below `data_root`, in natural order.

    Raises DiffadError if the dataset is unknown or has no folder there.
    """
    root = _category_root(dataset, data_root)
    return [name for name in subfolders(root) if _is_category(dataset, root / name)]


def list_samples(dataset: str, category: str, data_root: Path) -> list[Sample]:
    """Samples of a category: normal training images, then normal, then defective test images.

    One-class protocol: defective training images (DAGM) are left out. Files are in natural
    order, the same on every machine. Raises DiffadError on the first problem of the folder: an
    image without a mask, a mask without an image, a listed file that is missing, an image
    without a label, two files of one stem.
    """
    scan = scan_category(dataset, category, data_root)
    if scan.problems:
        others = len(scan.problems) - 1
        more = f" ({others} more: see `diffad data verify`)" if others else ""
        raise DiffadError(scan.problems[0] + more)
    return [sample for sample in scan.samples if (sample.split, sample.label) != ("train", 1)]


def scan_category(dataset: str, category: str, data_root: Path) -> Scan:
    """Every labelled image of a category, and every problem of its folder.

    Raises DiffadError if the dataset or the category is not there.
    """
    root = _category_root(dataset, data_root)
    present = list_categories(dataset, data_root)
    if category not in present:
        close = difflib.get_close_matches(category, present, n=1, cutoff=0.5)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        raise DiffadError(
            f'{root} has no category "{category}" (there: {", ".join(present) or "none"}){hint}'
        )
    scan = _scan_folder(dataset, root / category)
    scan.samples.sort(
        key=lambda s: (s.split == "test", s.label, natural_key(s.defect), natural_key(s.image.name))
    )
    return scan


def _scan_folder(dataset: str, folder: Path) -> Scan:
    if dataset == CUSTOM:
        return scan_own_folder(folder)
    if dataset == "dagm":
        return scan_dagm(folder)
    if dataset == "visa" and folder.parent.name != "1cls":
        return scan_visa(folder)
    if dataset == "dtd":
        scan = Scan()
        add_normal(folder, "train", scan)
        return scan
    return scan_tree(folder)


def _is_category(dataset: str, folder: Path) -> bool:
    if dataset == CUSTOM:
        return is_own_category(folder)
    return dataset == "dtd" or any((folder / mark).is_dir() for mark in _CATEGORY_MARKS)


def _category_root(dataset: str, data_root: Path) -> Path:
    """The folder that holds one folder per category."""
    data_root = Path(data_root)
    if not data_root.is_dir():
        raise DiffadError(f"{data_root} is not a folder; give the one that holds the datasets")
    if dataset == CUSTOM:
        return data_root
    info = dataset_info(dataset)
    folder = data_root / info.folder
    if not folder.is_dir():
        raise DiffadError(
            f'{data_root} has no folder "{info.folder}" (there: '
            f"{', '.join(subfolders(data_root)) or 'none'}); data/README.md says how to get "
            f"{info.title}"
        )
    if dataset == "visa" and not (folder / VISA_CSV).is_file():
        folder /= "1cls"
    elif dataset == "dtd":
        folder /= "images"
    if not folder.is_dir():
        needed = f"neither {VISA_CSV} nor 1cls" if dataset == "visa" else "no folder images"
        raise DiffadError(f"{folder.parent} holds {needed}; data/README.md shows the layout")
    return folder
