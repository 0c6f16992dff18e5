"""What a dataset is: its facts, and how its folder is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffad_lib.datasets.folders import is_folder
from diffad_lib.datasets.samples import Scan, scan_tree

Kind = Literal["texture", "object"]

ARCHIVE_FOLDER = "archives"  # below --data-root: where archives are kept and looked for


@dataclass(frozen=True)
class CategoryInfo:
    """Official image counts of one category.

    kind: "texture" gets random-region foregrounds in DiffusionAD, "object" automatic ones. It
    follows the official code, so MVTec's zipper counts as a texture.
    """

    kind: Kind
    train_good: int
    test_good: int
    test_defect: int
    train_defect: int = 0  # in the training folder; the one-class protocol skips them


@dataclass(frozen=True)
class Archive:
    """One archive of a dataset."""

    filename: str  # in `<data-root>/archives`, also of one that was put there by hand
    extract_to: str  # folder below --data-root into which its members go
    manual: str  # one sentence that says how to get it by hand
    urls: tuple[str, ...] = ()  # tried in this order; empty where it is fetched by hand only
    sha256: str | None = None  # hexadecimal, None where no checksum is known
    bytes: int | None = None  # None where unknown


def holds_train_or_test(folder: Path) -> bool:
    """True for a category in the layout of MVTec AD."""
    return is_folder(folder / "train") or is_folder(folder / "test")


@dataclass(frozen=True)
class Dataset:
    """One dataset: its terms, its categories and archives, and how its folder is read.

    category_root: from the dataset's folder to the one that holds one folder per category; raises
    DiffadError if the layout is not there. The defaults read the layout of MVTec AD.
    """

    key: str
    title: str
    folder: str  # below --data-root
    licence: str
    citation: str
    homepage: str
    one_size: bool  # all images of a category have the same height and width
    categories: Mapping[str, CategoryInfo]  # the official ones, none for own folders
    archives: tuple[Archive, ...]
    category_root: Callable[[Path], Path] = lambda folder: folder
    is_category: Callable[[Path], bool] = holds_train_or_test  # of a folder in category_root
    scan: Callable[[Path], Scan] = scan_tree  # reads the folder of a category
    has_test_sets: bool = True  # False for images that are only a source of textures


def categories_of(kind: Kind, table: str) -> dict[str, CategoryInfo]:
    """`"carpet 280/28/89, ..."` (train good / test good / test defect) → categories."""
    rows = (row.split() for row in table.split(","))
    return {name: CategoryInfo(kind, *map(int, counts.split("/"))) for name, counts in rows}
