"""What lies in a folder: files, images and folders, in an order that is the same everywhere."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import NoReturn

from diffad_lib.datasets.names import is_leftover, is_mask_folder, masks_among
from diffad_lib.errors import DiffadError

_IMAGE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm",
}  # fmt: skip


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts "2.png" before "10.png", the same on every machine."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def is_image(path: PurePath) -> bool:
    """Whether a file is called like an image that is read."""
    return path.suffix.lower() in _IMAGE_SUFFIXES


def is_folder(path: Path) -> bool:
    """Whether a folder is there; DiffadError where that may not be seen."""
    return _ask(Path.is_dir, path)


def is_file(path: Path) -> bool:
    """The same for a file."""
    return _ask(Path.is_file, path)


def in_any_form(path: Path) -> Path:
    """The path, or where it is not there, the one whose name has another Unicode form."""
    forms = (path.parent / unicodedata.normalize(form, path.name) for form in ("NFC", "NFD"))
    return next((one for one in (path, *forms) if _ask(Path.exists, one)), path)


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, without hidden ones, in natural order; [] if absent."""
    return [path.name for path in _visible(folder) if is_folder(path)]


def image_files(folder: Path) -> list[Path]:
    """Image files in `folder`, without hidden ones, in natural order; [] if absent."""
    return [path for path in _visible(folder) if is_image(path) and not is_folder(path)]


def images_below(folder: Path) -> list[Path]:
    """Image files in `folder` and its sub-folders, without hidden ones, in natural order.

    DiffadError if there is none, for masks among them, and as `files_below`.
    """
    if not is_folder(folder):
        what = "is a file" if is_file(folder) else "is not there"
        raise DiffadError(f"{folder} {what}; name a folder of pictures")
    files = {path: path.relative_to(folder).parts for path in kept_below(folder)}
    found = [path for path in files if is_image(path)]
    if not found:
        raise DiffadError(f"{folder} holds no PNG, JPEG, BMP, TIFF or WebP image")
    found.sort(key=lambda path: [natural_key(part) for part in files[path]])
    masks = [path for path in found if any(map(is_mask_folder, files[path][:-1]))]
    problems = [f"{path} would be read as an image; move masks elsewhere" for path in masks]
    if problems := [*problems, *masks_among(found, "another folder")]:
        raise DiffadError(problems[0])
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """The files below a folder; links are followed, but no folder is entered a second time.

    DiffadError for a folder that may not be read.
    """
    entered = set()
    for base, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        folders.sort()  # so that of two ways to a folder every machine takes the same
        if (place := os.path.realpath(base)) in entered:
            folders.clear()
            continue
        entered.add(place)
        yield from (Path(base, name) for name in names)


def kept_below(folder: Path) -> Iterator[Path]:
    """The same without hidden files and what file managers leave."""
    for path in files_below(folder):
        if not any(map(is_leftover, path.relative_to(folder).parts)):
            yield path


def _visible(folder: Path) -> list[Path]:
    try:
        paths = [*folder.iterdir()] if is_folder(folder) else []
    except OSError as error:
        _refuse(error)
    visible = (path for path in paths if not path.name.startswith("."))
    return sorted(visible, key=lambda path: natural_key(path.name))


def _ask(question: Callable[[Path], bool], path: Path) -> bool:
    """An answer of the file system; Python raises where a folder above may not be entered."""
    try:
        return question(path)
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    told = f"{error.filename} cannot be read ({error.strerror})"
    raise DiffadError(f"{told}; give yourself the right to, or remove it") from error
