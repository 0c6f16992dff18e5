"""Sources of anomalies: a folder of texture images."""

import os
from collections.abc import Iterator
from pathlib import Path

from diffad_lib.datasets.images import ImageStack, load_split
from diffad_lib.datasets.samples import GOOD, IMAGE_SUFFIXES, Sample, natural_key
from diffad_lib.errors import DiffadError


def load_texture_folder(folder: Path, size: int, cache_dir: Path | None = None) -> ImageStack:
    """All images below a folder, nested in any way, as uint8 [M,3,S,S] RGB.

    Raises as `texture_files` and as `load_split`, which caches them.
    """
    return load_split(texture_samples(folder), size, cache_dir)


def texture_samples(folder: Path) -> list[Sample]:
    """The files of `texture_files` as samples."""
    return [Sample(path, None, 0, GOOD, "train") for path in texture_files(folder)]


def texture_files(folder: Path) -> list[Path]:
    """Image files below a folder, without hidden ones, in natural order; DiffadError if none."""
    if not folder.is_dir():
        raise DiffadError(f"{folder}: no such folder; --textures needs a folder of images")
    paths = [path for path in _walk(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    names = [path.relative_to(folder) for path in paths]
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not visible:
        raise DiffadError(f"{folder}: holds no image; --textures needs a folder of images")
    return [folder / name for name in sorted(visible, key=lambda name: natural_key(str(name)))]


def _walk(folder: Path) -> Iterator[Path]:
    """The files below a folder; links are followed, but no folder is entered a second time."""
    entered = set()
    for base, folders, names in os.walk(folder, followlinks=True):
        folders.sort()  # so that of two ways to a folder every machine takes the same
        if (place := os.path.realpath(base)) in entered:
            folders.clear()
            continue
        entered.add(place)
        yield from (Path(base, name) for name in names)
