"""Foreground masks in folders: the official layout, and masks that others have published."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffad_lib.datasets.decode import decode_image
from diffad_lib.datasets.folders import (
    image_files,
    in_any_form,
    is_file,
    is_folder,
    natural_key,
    subfolders,
)
from diffad_lib.datasets.names import GOOD, nfc
from diffad_lib.datasets.regions import resize_mask
from diffad_lib.datasets.samples import Sample
from diffad_lib.errors import DiffadError

OFFICIAL_FOLDER = "DISthresh"  # of a category, beside train/
# Below a category: the official layout, and that of the masks of TransFusion (arXiv 2311.09999).
_FOLDERS = (OFFICIAL_FOLDER, "train", ".")
_MOST_GREY = 0.1  # of the pixels; photographs had 14 to 99 %, a soft border is a few per cent


def load_mask_folder(folder: Path, samples: Sequence[Sample], size: int) -> NDArray[np.uint8]:
    """Precomputed masks uint8 [N,1,S,S] in the official layout, for training images.

    In an image's path "train" becomes "DISthresh", so that the mask of CATEGORY/train/good/000.png
    is CATEGORY/DISthresh/good/000.png; `folder` is this DISthresh. Raises DiffadError that names a
    mask which is missing, holds no foreground or cannot be decoded.
    """
    masks = []
    images: dict[Path, Path] = {}  # by their mask
    for sample in samples:
        same = in_any_form(folder / sample.image.parent.name) / sample.image.name
        path = next(filter(is_file, map(in_any_form, (same, same.with_suffix(".png")))), None)
        if path is None:
            raise DiffadError(f"{same}: no foreground mask for {sample.image}; add it")
        if (first := images.setdefault(path, sample.image)) != sample.image:
            told = f"is the foreground mask of {first} and {sample.image}"
            raise DiffadError(f"{path} {told}; give each its own, called as it is with its suffix")
        mask = marked(decode_image(path))
        if not mask.any():
            told = "every pixel is 0; mark the object in it"
            raise DiffadError(f"{path} holds no foreground, {told}")
        try:
            masks.append(resize_mask(mask, size))
        except DiffadError as error:
            raise DiffadError(f"{path}: {error}") from None
    return np.stack(masks)[:, None]


def marked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H,W] in {0,1}, of a mask [H,W,3]: 1 above half of the brightest pixel.

    Not above 0, as in a mask of defects: VisA's foregrounds are JPEG files, with noise in the dark.
    """
    values = pixels.max(axis=2)
    return (values > values.max() / 2).astype(np.uint8)


def read_foreign_mask(path: Path) -> NDArray[np.uint8]:
    """[H,W] in {0,1}; all 0 if it marks nothing. DiffadError if it is a photograph."""
    pixels = decode_image(path)
    values = pixels.max(axis=2) / max(int(pixels.max()), 1)
    grey = ((values > 0.25) & (values < 0.75)).mean()
    if grey > _MOST_GREY:
        raise DiffadError(
            f"{path} is no mask: {grey:.0%} of its pixels are neither dark nor bright; name the "
            "folder that holds the masks"
        )
    return marked(pixels)


def find_masks(folder: Path, category: str, samples: Sequence[Sample]) -> list[Path]:
    """The mask of each training image, by its name without suffix, wherever it lies in `folder`.

    `folder` holds the masks themselves or one folder a category, itself or one level deeper, in
    the official layout (CATEGORY/DISthresh/good) or that of TransFusion (CATEGORY/train/good).
    DiffadError that names what is missing.
    """
    if not is_folder(folder):
        raise DiffadError(f"{folder}: no such folder; --from names a folder of masks")
    _by_stem([sample.image for sample in samples], "training images")
    images = {sample.image.parent.resolve() for sample in samples}
    names = {GOOD, *(sample.image.parent.name for sample in samples), "."}
    for place in _places(folder, category, sorted(names, reverse=True)):
        if place.resolve() in images:  # a dataset without masks
            continue
        found = _by_stem(image_files(place), f"masks in {place}")
        absent = [sample for sample in samples if nfc(sample.image.stem) not in found]
        if len(absent) == len(samples):
            continue
        if absent:
            raise DiffadError(
                f"{place} lacks the masks of {len(absent)} of {len(samples)} training images, "
                f"such as {absent[0].image}; add them, or make masks with another --method"
            )
        return [found[nfc(sample.image.stem)] for sample in samples]
    tried = f"{category}/{OFFICIAL_FOLDER}/{GOOD}, {category}/train/{GOOD} and the folder itself"
    raise DiffadError(
        f"{folder} holds no mask named like a training image, such as {samples[0].image.stem}.png "
        f"(looked into {tried}); name the folder that does"
    )


def _places(folder: Path, category: str, names: Sequence[str]) -> Iterator[Path]:
    """Folders that may hold the masks of a category, the most certain ones first."""
    deeper = [folder / name for name in subfolders(folder)]
    for base in (*(in_any_form(one / category) for one in (folder, *deeper)), folder):
        for kind in _FOLDERS:
            places = (in_any_form(base / kind / name) for name in names)
            yield from filter(is_folder, places)


def _by_stem(files: Sequence[Path], what: str) -> dict[str, Path]:
    """Image files by name without suffix; DiffadError if two have one name."""
    found = {nfc(file.stem): file for file in files}
    if len(found) != len(files):
        counts = Counter(nfc(file.stem) for file in files)
        first = min((stem for stem, count in counts.items() if count > 1), key=natural_key)
        raise DiffadError(f"{what}: two are named {first}; a mask is found by its name, keep one")
    return found
