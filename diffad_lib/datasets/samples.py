"""A sample, what a reader found, and the parts that the readers of all layouts share."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from diffad_lib.datasets.decode import decode_mask
from diffad_lib.datasets.folders import (
    image_files,
    is_folder,
    is_image,
    kept_below,
    natural_key,
    subfolders,
)
from diffad_lib.datasets.names import (
    GOOD,
    is_good_name,
    is_mask_folder,
    masked_folder,
    masks_among,
    nfc,
    sounds_good,
)
from diffad_lib.errors import DiffadError

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


def add_normal(folder: Path, split: Split, scan: Scan) -> None:
    """Adds the images of a folder of normal images; that it holds none is a problem."""
    images = image_files(folder)
    if not images:
        told = f"{folder} holds no PNG, JPEG, BMP, TIFF or WebP image"
        near = folder if split == "test" or is_folder(folder) else folder.parent
        if found := next(filter(is_image, kept_below(near) if is_folder(near) else ()), None):
            told += f"; those in {found.parent} are not read, move normal ones into {folder.name}"
        scan.problems.append(told)
    if split == "train":
        scan.problems += masks_among(images, "ground_truth")
    scan.samples += [Sample(image, None, 0, GOOD, split) for image in images]


def add_tests(folder: Path, has_masks: bool, scan: Scan) -> None:
    """Adds test/ and ground_truth/ of the category in `folder`: normal images and defects.

    The folder of normal images has one of its usual names. With masks, an image without a mask and
    a mask without an image are problems. A mask is named like its image, with "_mask" appended
    (MVTec AD, MPDD) or not (VisA rearranged).
    """
    tests = subfolders(folder / "test")
    truth = folder / "ground_truth"
    truths = subfolders(truth) if has_masks else []
    for name in filter(is_good_name, tests):
        add_normal(folder / "test" / name, "test", scan)
        if name != GOOD:
            scan.notes.append(f"test/{name} is read as normal images; rename it if they are not")
    for name in tests:
        place = folder / "test" / name
        if is_mask_folder(name):
            scan.problems.append(f"{place} would be read as defects; move masks into ground_truth")
        elif name not in truths and (other := masked_folder(name, tests)):
            scan.problems.append(
                f"{place} would be read as defects; move masks into ground_truth/{other}, or "
                "rename it to a name of the defect"
            )
        elif sounds_good(name) and not is_good_name(name):
            scan.problems.append(
                f"{place} would be read as defects; rename it to good, or to a name of the defect"
            )
        scan.problems += masks_among(image_files(place), f"ground_truth/{name}")
    if not is_folder(truth) and (truth.is_symlink() or truth.exists()):
        scan.problems.append(f"{truth} is no folder, so there are no masks; mend or remove it")
    for name in filter(is_good_name, truths):
        _add_empty_masks(truth / name, scan)
    # Case counts only where two folders differ in nothing else.
    is_unique = all(len({*map(_folded, names)}) == len(names) for names in (tests, truths))
    form = _folded if is_unique else nfc
    named = {form(name): name for name in truths}
    for name in tests:
        if not is_good_name(name):
            _add_defect(folder, name, named.pop(form(name), name), scan, has_masks)
    for name in named.values():
        if not is_good_name(name):
            _add_defect(folder, name, name, scan, has_masks)


def _folded(name: str) -> str:
    return nfc(name).casefold()


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
    """Adds test/DEFECT with its masks, whose folder may have its name in another form."""
    images = image_files(folder / "test" / defect)
    named = _by_stem(images, scan)  # also without masks, as one file may be the mask of another
    if not has_masks:
        scan.samples += [Sample(image, None, 1, defect, "test") for image in images]
        return
    truth = folder / "ground_truth" / truth_name
    masks = _by_stem(image_files(truth), scan, ending="_mask")
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
    """Files by name without suffix and ending; two of one stem are a problem."""
    found: dict[str, Path] = {}
    for path in paths:
        stem = nfc(path.stem).removesuffix(ending)
        if stem in found:
            scan.problems.append(
                f"{path} has the same stem as {found[stem].name}, so what is its mask is not "
                "certain; keep one, and masks in ground_truth only"
            )
        else:
            found[stem] = path
    return found
