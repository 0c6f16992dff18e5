"""Writes the mini data to disk, all of it or nothing."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from diffad_lib.errors import DiffadError
from diffad_lib.files import unwritable
from diffad_lib.mini.categories import CATEGORIES
from diffad_lib.mini.official import File, dagm_files, mvtec_files, visa_files

VERSION = 1  # to be raised with every change of a picture or a file
MARKER = "mini.json"  # in the root: version, seed and number of files

_LAYOUTS = {
    "mvtec": mvtec_files,
    "visa": visa_files,
    "dagm": dagm_files,
    "mpdd": mvtec_files,  # MPDD has the layout of MVTec AD
}


def make_mini(root: Path, seed: int = 0) -> None:
    """Make the mini data below `root`: mvtec/, visa/, dagm/ and mpdd/ in their official layouts.

    The same seed gives the same bytes. The set is built beside `root` and then renamed; a
    complete one of the same seed and version is kept. Raises DiffadError if `root` holds
    anything else, if `seed` is negative or if the disk refuses.
    """
    root = Path(root)
    if seed < 0:
        raise DiffadError(f"seed {seed} is negative; give 0 or more")
    if _is_complete(root, seed):
        return
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as scratch:
            built = Path(scratch, root.name)
            _build(built, seed)
            _move(built, root, seed)
    except OSError as error:
        raise unwritable(root, error) from error


def is_mini(root: Path) -> bool:
    """Whether a folder of datasets holds the mini data, which have other counts."""
    return (root / MARKER).is_file()


def _build(folder: Path, seed: int) -> None:
    # glibc returns freed blocks of this size to the kernel, page by page, until one much larger
    # was freed. Without this line a quarter of the time goes into page faults.
    np.empty(1 << 24, np.uint8)
    count = 0
    for path, content in tqdm(_files(seed), desc="mini data", unit=" files", disable=None):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        count += 1
    marker = {"version": VERSION, "seed": seed, "files": count}
    (folder / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")


def _files(seed: int) -> Iterator[File]:
    for dataset, files in _LAYOUTS.items():
        categories = [category for category in CATEGORIES if category.dataset == dataset]
        for path, content in files(categories, seed):
            yield f"{dataset}/{path}", content


def _move(built: Path, root: Path, seed: int) -> None:
    """Rename, unless another process was faster with the same set."""
    try:
        built.rename(root)  # also replaces an empty folder
    except OSError:
        if not _is_complete(root, seed):
            raise
        shutil.rmtree(built)


def _is_complete(root: Path, seed: int) -> bool:
    """True for this very set, False for nothing; anything else raises DiffadError."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = "delete it or choose another folder"
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        version, made_with, count = (marker[key] for key in ("version", "seed", "files"))
    except (OSError, ValueError, KeyError, TypeError):
        raise DiffadError(f"{root} holds something else than mini data; {advice}") from None
    if (version, made_with) != (VERSION, seed):
        raise DiffadError(
            f"{root} holds mini data of version {version} and seed {made_with}, not of version "
            f"{VERSION} and seed {seed}; {advice}"
        )
    there = sum(path.is_file() for path in root.rglob("*")) - 1  # without the marker
    if there != count:
        raise DiffadError(f"{root} holds {there} of its {count} files; {advice}")
    return True
