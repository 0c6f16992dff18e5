"""A sample, what a reader found, and the parts that the readers of all layouts share."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffad_lib.files import is_file

IMAGE_SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm",
}  # fmt: skip
OTHER_SUFFIXES = {
    ".heic", ".heif", ".avif", ".gif", ".jp2", ".tga", ".exr", ".psd", ".dng", ".cr2", ".nef",
}  # fmt: skip
GOOD = "good"  # the name of the folder of normal images
_NORMAL_WORDS = {
    "good", "goods", "ok", "normal", "normals", "pass", "passed", "nondefective",
    "양품", "정상",
}  # fmt: skip
_NORMAL_NAMES = {"no defect", "no defects", "defect free", "non defective", "no anomaly"}
_MASK_FOLDERS = {"masks", "mask", "gt", "groundtruth", "annotations", "labels"}

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
    problems: list[str] = field(default_factory=list)  # one line each, naming the file


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts "2.png" before "10.png", the same on every machine."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, without hidden ones, in natural order; [] if absent."""
    return [path.name for path in _visible(folder) if path.is_dir()]


def image_files(folder: Path) -> list[Path]:
    """Image files in `folder`, without hidden ones, in natural order; [] if absent."""
    return [path for path in _visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def _words(name: str) -> list[str]:
    """The words of a name, in small letters: "0_OK-parts2" has "ok" and "parts"."""
    return re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", name.lower()))


def _sounds_normal(name: str) -> bool:
    """True for names such as OK, normal_1 or defect-free, but not for not_ok."""
    words = _words(name)
    if " ".join(words) in _NORMAL_NAMES:
        return True
    return bool(_NORMAL_WORDS & {*words}) and not {"no", "not", "non", "un", "bad"} & {*words}


def _holds_images(folder: Path) -> bool:
    """Whether an image lies in the folder or in one below it."""
    return bool(image_files(folder)) or any(
        _holds_images(folder / name) for name in subfolders(folder)
    )


def _visible(folder: Path) -> list[Path]:
    paths = folder.iterdir() if folder.is_dir() else ()
    visible = (path for path in paths if not path.name.startswith("."))
    return sorted(visible, key=lambda path: natural_key(path.name))


def add_normal(folder: Path, split: Split, scan: Scan) -> None:
    """Adds the images of a folder of normal images; that it holds none is a problem."""
    images = image_files(folder)
    if not images:
        scan.problems.append(f"{folder} holds no PNG, JPEG, BMP, TIFF or WebP image")
    scan.samples += [Sample(image, None, 0, GOOD, split) for image in images]


def add_defects(folder: Path, has_masks: bool, scan: Scan) -> None:
    """Adds test/DEFECT and ground_truth/DEFECT of the category in `folder`.

    With masks, an image without a mask and a mask without an image are problems. A mask is named
    like its image, with "_mask" appended (MVTec AD, MPDD) or not (VisA rearranged).
    """
    defects = [name for name in subfolders(folder / "test") if name != GOOD]
    truths = subfolders(folder / "ground_truth") if has_masks else []
    for defect in sorted({*defects, *truths} - {GOOD}, key=natural_key):
        images = _by_stem(folder / "test" / defect, scan)
        truth = folder / "ground_truth" / defect
        masks = _by_stem(truth, scan, ending="_mask") if has_masks else {}
        for stem in [stem for stem in masks if stem not in images]:
            scan.problems.append(f"{masks[stem]} is a mask without an image in test/{defect}")
        for stem, image in images.items():
            if has_masks and stem not in masks:
                scan.problems.append(f"{image} has no mask in ground_truth/{defect}")
            else:
                scan.samples.append(Sample(image, masks.get(stem), 1, defect, "test"))


def scan_tree(folder: Path) -> Scan:
    """Reads train/good, test/DEFECT and ground_truth/DEFECT: MVTec AD, MPDD, VisA rearranged."""
    scan = Scan()
    add_unread(folder, folder / "train" / GOOD, scan)
    add_normal(folder / "train" / GOOD, "train", scan)
    add_normal(folder / "test" / GOOD, "test", scan)
    add_defects(folder, has_masks=True, scan=scan)
    return scan


def add_unread(folder: Path, normal: Path, scan: Scan) -> None:
    """Reports what has no place in the tree; `normal`: where the training images were read from.

    Nobody should find out from a metric that a file had no effect, or another one than meant.
    """
    tests = [folder / "test" / name for name in subfolders(folder / "test")]
    for place in tests:
        if place.name != GOOD and _sounds_normal(place.name):
            scan.problems.append(
                f"{place} would be read as defects; rename it to good if it is not"
            )
        scan.problems += [
            f"{file} would be read as an image; move masks into ground_truth/{place.name}"
            for file in image_files(place)
            if file.stem.endswith("_mask")
        ]
    truths = [folder / "ground_truth" / name for name in subfolders(folder / "ground_truth")]
    for place in (normal, *tests, *truths):
        scan.problems += [
            f"{file} is not read; convert it to PNG"
            for file in _visible(place)
            if file.suffix.lower() in OTHER_SUFFIXES
        ]
        scan.problems += [
            f"{place / name} is not read: move its images up into {place.name}"
            for name in subfolders(place)
            if place != folder and _holds_images(place / name)
        ]
    scan.problems += [
        f"{folder / name} is not read: masks belong in ground_truth"
        for name in subfolders(folder)
        if " ".join(_words(name)) in _MASK_FOLDERS and _holds_images(folder / name)
    ]
    for place in (folder, folder / "train", folder / "test"):
        if place != normal:
            scan.problems += [
                f"{file} is not read: move it into train/good, test/good or test/DEFECT"
                for file in image_files(place)
            ]
    scan.problems += [
        f"{folder / 'train' / name} is not read: training images belong in train/good"
        for name in subfolders(folder / "train")
        if name != GOOD
    ]
    if image_files(folder / "ground_truth" / GOOD):
        scan.problems.append(f"{folder / 'ground_truth' / GOOD} holds masks of normal images")


def add_listed(sample: Sample, where: str, listed: set[Path], scan: Scan) -> None:
    """Adds a sample named at `where`; that a file is absent or `listed` already is a problem."""
    files = [sample.image] if sample.mask is None else [sample.image, sample.mask]
    problems = [
        f"{where} names {file}, which does not exist" for file in files if not is_file(file)
    ]
    problems += [f"{where} names {file} a second time" for file in files if file in listed]
    listed.update(files)
    scan.problems += problems
    if not problems:
        scan.samples.append(sample)


def add_unlisted(folders: Iterable[Path], listed: set[Path], source: Path, scan: Scan) -> None:
    """Reports every image file in `folders` that the list file `source` does not name."""
    files = (file for folder in folders for file in image_files(folder))
    scan.problems += [f"{file} is not listed in {source}" for file in files if file not in listed]


def _by_stem(folder: Path, scan: Scan, ending: str = "") -> dict[str, Path]:
    """Image files of a folder by name without suffix and ending; two of one stem are a problem."""
    found: dict[str, Path] = {}
    for path in image_files(folder):
        stem = path.stem.removesuffix(ending)
        if stem in found:
            scan.problems.append(f"{path} has the same stem as {found[stem].name}; keep one")
        else:
            found[stem] = path
    return found
