"""A sample, what a reader found, and the parts that the readers of all layouts share."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from diffad_lib.datasets.decode import decode_mask
from diffad_lib.datasets.names import (
    GOOD,
    MASK_WORDS,
    is_good_name,
    is_mask_folder,
    sounds_good,
)
from diffad_lib.errors import DiffadError

IMAGE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm",
}  # fmt: skip
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Sample:
    """One image with its label."""

    image: Path
    mask: Path | None  # None: normal, or a defect in an own folder without ground_truth
    label: int  # 0 normal, 1 defective
    defect: str  # "good" or the name that the layout gives to the defect
    split: Split


@dataclass
class Scan:
    """What a reader found in the folder of a category."""

    samples: list[Sample] = field(default_factory=list)  # also defective training images
    problems: list[str] = field(default_factory=list)  # one line each: no run without mending
    notes: list[str] = field(default_factory=list)  # one line each: a run says it and goes on
    others: dict[Path, str] = field(default_factory=dict)  # further files, and what they are


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts "2.png" before "10.png", the same on every machine."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, without hidden ones, in natural order; [] if absent."""
    return [path.name for path in _visible(folder) if path.is_dir()]


def image_files(folder: Path) -> list[Path]:
    """Image files in `folder`, without hidden ones, in natural order; [] if absent."""
    found = (path for path in _visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
    return [path for path in found if not path.is_dir()]


def images_below(folder: Path) -> list[Path]:
    """Image files in `folder` and its sub-folders, without hidden ones, in natural order.

    DiffadError if there is none, for masks among them, and as `files_below`.
    """
    if not folder.is_dir():
        what = "is a file" if folder.is_file() else "is not there"
        raise DiffadError(f"{folder} {what}; name a folder of pictures")
    files = {path: path.relative_to(folder).parts for path in files_below(folder)}
    found = [
        path
        for path, parts in files.items()
        if path.suffix.lower() in IMAGE_SUFFIXES and not any(one.startswith(".") for one in parts)
    ]
    if not found:
        raise DiffadError(f"{folder} holds no PNG, JPEG, BMP, TIFF or WebP image")
    found.sort(key=lambda path: [natural_key(part) for part in files[path]])
    masks = [path for path in found if any(map(is_mask_folder, files[path][:-1]))]
    problems = [f"{path} would be read as an image; move masks elsewhere" for path in masks]
    if problems := [*problems, *_masks_among(found, "another folder")]:
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


def _visible(folder: Path) -> list[Path]:
    try:
        paths = [*folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        _refuse(error)
    visible = (path for path in paths if not path.name.startswith("."))
    return sorted(visible, key=lambda path: natural_key(path.name))


def _refuse(error: OSError) -> NoReturn:
    told = f"{error.filename} cannot be read ({error.strerror})"
    raise DiffadError(f"{told}; give yourself the right to, or remove it") from error


def add_normal(folder: Path, split: Split, scan: Scan) -> None:
    """Adds the images of a folder of normal images; that it holds none is a problem."""
    images = image_files(folder)
    if not images:
        scan.problems.append(f"{folder} holds no PNG, JPEG, BMP, TIFF or WebP image")
    if split == "train":
        scan.problems += _masks_among(images, "ground_truth")
    scan.samples += [Sample(image, None, 0, GOOD, split) for image in images]


def add_tests(folder: Path, has_masks: bool, scan: Scan) -> None:
    """Adds test/ and ground_truth/ of the category in `folder`: normal images and defects.

    The folder of normal images has one of its usual names. With masks, an image without a mask and
    a mask without an image are problems. A mask is named like its image, with "_mask" appended
    (MVTec AD, MPDD) or not (VisA rearranged).
    """
    tests = subfolders(folder / "test")
    for name in filter(is_good_name, tests):
        add_normal(folder / "test" / name, "test", scan)
        if name != GOOD:
            scan.notes.append(f"test/{name} is read as normal images; rename it if they are not")
    for name in tests:
        place = folder / "test" / name
        if is_mask_folder(name):
            scan.problems.append(f"{place} would be read as defects; move masks into ground_truth")
        elif sounds_good(name) and not is_good_name(name):
            scan.problems.append(
                f"{place} would be read as defects; rename it to good, or to a name of the defect"
            )
        scan.problems += _masks_among(image_files(place), f"ground_truth/{name}")
    truth = folder / "ground_truth"
    if not truth.is_dir() and (truth.is_symlink() or truth.exists()):
        scan.problems.append(f"{truth} is no folder, so there are no masks; mend or remove it")
    truths = subfolders(truth) if has_masks else []
    for name in filter(is_good_name, truths):
        _add_empty_masks(truth / name, scan)
    named = {unicodedata.normalize("NFC", name): name for name in truths}
    for name in tests:
        if not is_good_name(name):
            _add_defect(
                folder, name, named.pop(unicodedata.normalize("NFC", name), name), scan, has_masks
            )
    for name in named.values():
        if not is_good_name(name):
            _add_defect(folder, name, name, scan, has_masks)


def _add_empty_masks(folder: Path, scan: Scan) -> None:
    """Masks of normal images: they have no effect if they mark nothing, else are a problem."""
    for path in image_files(folder):
        scan.others[path] = "mask of a normal image"
        try:
            if decode_mask(path).any():
                told = f"{path} marks pixels of a normal image; delete it or the marks"
                scan.problems.append(told)
        except DiffadError as error:
            scan.problems.append(str(error))


def _add_defect(folder: Path, defect: str, truth_name: str, scan: Scan, has_masks: bool) -> None:
    """Adds test/DEFECT with its masks, whose folder may have its name in another Unicode form."""
    images = image_files(folder / "test" / defect)
    if not has_masks:
        scan.samples += [Sample(image, None, 1, defect, "test") for image in images]
        return
    truth = folder / "ground_truth" / truth_name
    named, masks = _by_stem(images, scan), _by_stem(image_files(truth), scan, ending="_mask")
    for stem in sorted(masks.keys() - named.keys(), key=natural_key):
        scan.problems.append(
            f"{masks[stem]} is a mask without an image in test/{defect}; the mask of 000.png is "
            "called 000_mask.png or 000.png"
        )
    for stem, image in named.items():
        if stem in masks:
            scan.samples.append(Sample(image, masks[stem], 1, defect, "test"))
        else:
            scan.problems.append(
                f"{image} has no mask; put it at {truth / f'{image.stem}_mask.png'}"
            )


def _masks_among(images: list[Path], place: str) -> Iterator[str]:
    """Problems: images that are called as the mask of another one is, in any common way.

    Where all are called so, as pictures of a face mask may be, they are taken as images.
    """
    words = {image: re.findall(r"[0-9]+|[^\W\d_]+", image.stem.lower()) for image in images}
    plain = {tuple(found) for found in words.values() if not MASK_WORDS & {*found}}
    for image, found in words.items():
        rest = tuple(word for word in found if word not in MASK_WORDS)
        has_twin = any(rest[: len(other)] == other for other in plain if other)
        if len(rest) < len(found) and (has_twin or (plain and "mask" in found)):
            yield f"{image} would be read as an image; move masks into {place}"


def scan_tree(folder: Path) -> Scan:
    """Reads train/good, test/DEFECT and ground_truth/DEFECT: MVTec AD, MPDD, VisA rearranged."""
    scan = Scan()
    for place in training_folders(folder, scan):
        add_normal(place, "train", scan)
    if not any(map(is_good_name, subfolders(folder / "test"))):
        add_normal(folder / "test" / GOOD, "test", scan)
    add_tests(folder, has_masks=True, scan=scan)
    return scan


def training_folders(folder: Path, scan: Scan) -> list[Path]:
    """train/good of a category, and the folders in train/ with another usual name of it."""
    named = [name for name in subfolders(folder / "train") if is_good_name(name)]
    scan.notes += [f"train/{name} is read as train/good" for name in named if name != GOOD]
    return [folder / "train" / name for name in named or [GOOD]]


def add_listed(sample: Sample, where: str, listed: set[Path], scan: Scan, folder: Path) -> None:
    """Adds a sample named at `where`, a line of a list of the category in `folder`.

    That a file is absent, lies outside the folder or is `listed` already is a problem.
    """
    files = [sample.image] if sample.mask is None else [sample.image, sample.mask]
    problems = [
        f"{where} names {file}, which {fault}" for file in files if (fault := _fault(file, folder))
    ]
    problems += [f"{where} names {file} a second time" for file in files if file in listed]
    listed.update(files)
    scan.problems += problems
    if not problems:
        scan.samples.append(sample)


def _fault(file: Path, folder: Path) -> str | None:
    """What is wrong with the path of a listed file: a list may come from anybody."""
    hint = "; write / in place of \\" if "\\" in str(file) else ""
    try:
        if not file.is_relative_to(folder) or ".." in file.relative_to(folder).parts:
            return f"leads outside {folder}{hint}"
        if not file.is_file():
            return f"does not exist{hint}"
    except (OSError, ValueError) as error:  # a name that is too long, or with a zero byte
        return f"is no name of a file ({error})"
    return None


def add_unlisted(folders: Iterable[Path], listed: set[Path], source: Path, scan: Scan) -> None:
    """Reports every image file in `folders` that the list file `source` does not name."""
    files = (file for folder in folders for file in image_files(folder))
    scan.problems += [f"{file} is not listed in {source}" for file in files if file not in listed]


def _by_stem(paths: list[Path], scan: Scan, ending: str = "") -> dict[str, Path]:
    """Files by name without suffix and ending; two of one stem are a problem.

    Names are compared in one Unicode form: a folder copied from a Mac has another one.
    """
    found: dict[str, Path] = {}
    for path in paths:
        stem = unicodedata.normalize("NFC", path.stem).removesuffix(ending)
        if stem in found:
            scan.problems.append(
                f"{path} has the same stem as {found[stem].name}, so its mask is not certain; "
                "keep one"
            )
        else:
            found[stem] = path
    return found
