"""Everything that lies in the folder of a category, and what it counts as."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from diffad_lib.datasets.dataset import CategoryInfo
from diffad_lib.datasets.folders import files_below, is_image, natural_key
from diffad_lib.datasets.names import GOOD, is_good_name, is_leftover, is_mask_folder
from diffad_lib.datasets.samples import Sample, Scan, Split

NOT_READ, LEFTOVER = "not read", "leftover of a program"
_BAD_WORDS = {"bad", "ng", "nok", "defect", "defective", "anomaly", "anomalous", "faulty"}
_PICTURES = {
    ".heic", ".heif", ".avif", ".gif", ".jp2", ".tga", ".exr", ".psd", ".dng", ".cr2", ".nef",
}  # fmt: skip
_DOCUMENTS = {".txt", ".md", ".csv", ".json", ".pdf"}  # beside the folders of a category
_TREE = ("train", "test")
_NAMED_GROUPS = 3  # in the line of a run
_MOST_UNREAD = 200  # entries that are not read; a link may lead to a whole disk
_MOST_FILES = 200_000

Part = tuple[Split, int]  # the images of a split with one label
PARTS: dict[Part, str] = {
    ("train", 0): "train good",
    ("train", 1): "train defect",
    ("test", 0): "test good",
    ("test", 1): "test defect",
}


@dataclass(frozen=True)
class Entry:
    """Files of one folder that count as the same."""

    folder: str  # below the category's
    files: int
    counts_as: str
    why: str = ""  # of files that are not read: their suffix, and what to do; or how they are


def take_inventory(folder: Path, scan: Scan) -> list[Entry]:
    """All files below the folder of a category, in natural order of their folders."""
    known = {sample.image: _meaning(sample) for sample in scan.samples}
    known |= {sample.mask: "mask" for sample in scan.samples if sample.mask}
    known |= scan.others
    is_tree = all(
        sample.image.parent == folder or sample.image.relative_to(folder).parts[0] in _TREE
        for sample in scan.samples
    )
    real = {os.path.realpath(path): path for path in known}
    groups: Counter[tuple[str, str, str]] = Counter()
    for path in islice(files_below(folder), _MOST_FILES):
        place = path.relative_to(folder)
        counts_as, why = known.get(path), ""
        if counts_as is None and (same := real.get(os.path.realpath(path))):
            counts_as, way = known[same], os.path.relpath(same.parent, folder)
            why = "" if way == str(place.parent) else f"(read as {way})"
        elif counts_as is None:
            is_left = any(map(is_leftover, place.parts))
            counts_as = LEFTOVER if is_left else NOT_READ
            why = "" if is_left else _why(PurePosixPath(place.as_posix()), is_tree)
        groups[place.parent.as_posix(), counts_as, why] += 1
    found = [Entry(where, count, meaning, why) for (where, meaning, why), count in groups.items()]
    found.sort(key=lambda one: (natural_key(one.folder), one.counts_as, one.why))
    unread = [one for one in found if one.counts_as == NOT_READ]
    if len(unread) > _MOST_UNREAD:
        files = sum(one.files for one in unread[_MOST_UNREAD:])
        left_out = {*unread[_MOST_UNREAD:]}
        found = [one for one in found if one not in left_out]
        found.append(Entry(".", files, NOT_READ, f"and more, in {len(left_out)} further groups"))
    return found


def _meaning(sample: Sample) -> str:
    part = PARTS[sample.split, sample.label]
    return f"{part}: {sample.defect}" if sample.label else part


def _why(place: PurePosixPath, is_tree: bool) -> str:
    """Why a file is not read, its path given below the category's folder."""
    suffix = place.suffix.lower()
    if suffix in _PICTURES:
        return f"{suffix}: convert it to PNG"
    if not is_image(place):
        return f"{suffix}: no image" if suffix else "no image"
    if not is_tree:
        return f"{suffix}: no list names it"
    if any(map(is_mask_folder, place.parts[1:-1])):
        return f"{suffix}: masks belong in ground_truth/DEFECT"
    match place.parts[:-1]:
        case ("test" | "ground_truth", _):
            return f"{suffix}: a problem, see there"
        case ("test" | "ground_truth" as top, name, _, *_):
            return f"{suffix}: move it up into {top}/{name}"
        case ("train", name, _, *_) if is_good_name(name):
            return f"{suffix}: move it up into train/{name}"
        case ("train", *_):
            return f"{suffix}: training images belong in train/{GOOD}"
        case ("ground_truth", *_):
            return f"{suffix}: masks belong in ground_truth/DEFECT, called like their image"
        case (top, *_) if is_mask_folder(top):
            return f"{suffix}: masks belong in ground_truth"
    return f"{suffix}: images belong in train/{GOOD}, test/{GOOD} or test/DEFECT"


def inventory_lines(inventory: Sequence[Entry]) -> list[str]:
    """A line for each entry, in columns, for a terminal."""
    widths = [max((len(one.folder) for one in inventory), default=0)]
    widths.append(max((len(str(one.files)) for one in inventory), default=0))
    return [
        f"  {one.folder:{widths[0]}}  {one.files:{widths[1]}}  {one.counts_as} {one.why}".rstrip()
        for one in inventory
    ]


def unread_line(
    inventory: Sequence[Entry], hint: str = " (`diffad data verify` lists all)"
) -> list[str]:
    """One line on what is not read, for a run; none if that is nothing, or papers beside it."""
    found = [one for one in inventory if one.counts_as == NOT_READ and not _is_paper(one)]
    if not found:
        return []
    files = sum(one.files for one in found)
    told = [f"{one.folder} {one.files} {one.why}" for one in found[:_NAMED_GROUPS]]
    more = f"; {len(found) - _NAMED_GROUPS} more groups" if len(found) > _NAMED_GROUPS else ""
    verb = "file is" if files == 1 else "files are"
    return [f"{files} {verb} not read: {'; '.join(told)}{more}{hint}"]


def _is_paper(entry: Entry) -> bool:
    """Such as the licence and the read-me in a category of MVTec AD."""
    return entry.folder == "." and entry.why.removesuffix(": no image") in _DOCUMENTS


def count_parts(samples: Iterable[Sample]) -> Counter[Part]:
    """How many images a split has with each label."""
    return Counter((sample.split, sample.label) for sample in samples)


def other_counts(counts: Counter[Part], info: CategoryInfo | None) -> list[str]:
    """A line for each part that has another number of images than the catalog says."""
    official = official_counts(info)
    return [
        f"{part}: {counts[key]} images, the catalog says {official[part]}"
        for key, part in PARTS.items()
        if part in official and counts[key] != official[part]
    ]


def official_counts(info: CategoryInfo | None) -> dict[str, int]:
    """The catalog's images of each part; {} for a category that it lacks."""
    if info is None:
        return {}
    official = (info.train_good, info.train_defect, info.test_good, info.test_defect)
    return dict(zip(PARTS.values(), official, strict=True))


def one_sided_line(samples: Iterable[Sample]) -> list[str]:
    """One line on a test set that has no normal or no defective image."""
    labels = {sample.label for sample in samples if sample.split == "test"}
    if len(labels) != 1:
        return []
    if labels == {0}:
        return ["the test set has no defective image: all metrics are undefined"]
    return ["the test set has no normal image: image metrics are undefined"]


def named_bad_line(samples: Iterable[Sample]) -> list[str]:
    """One line on training images that are called like defective ones."""
    train = [sample.image for sample in samples if (sample.split, sample.label) == ("train", 0)]
    found = [image for image in train if _BAD_WORDS & {*re.findall("[a-z]+", image.stem.lower())}]
    if not found or len(found) == len(train):
        return []
    return [f"training images whose names say that they are bad: {found[0]} ({len(found)})"]


def twice_line(test: Mapping[str, str]) -> list[str]:
    """One line on test images that are the same file; test: digests of the images by path."""
    first: dict[str, str] = {}
    found = [
        (path, first[digest])
        for path, digest in test.items()
        if first.setdefault(digest, path) != path
    ]
    if not found:
        return []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"test images that are there twice: {found[0][0]} is {found[0][1]}{more}"]


def copies(known: Mapping[str, str], images: Mapping[str, str]) -> list[tuple[str, str]]:
    """Images that are known ones, each with that one; both: digests of the images by path."""
    by_digest = {digest: path for path, digest in known.items()}
    return [(path, by_digest[digest]) for path, digest in images.items() if digest in by_digest]


def copies_line(train: Mapping[str, str], test: Mapping[str, str]) -> list[str]:
    """One line on test images that are training images; both as in `copies`."""
    if not (found := copies(train, test)):
        return []
    told = ", ".join(f"{one} (training image {other})" for one, other in found[:_NAMED_GROUPS])
    more = f" and {len(found) - _NAMED_GROUPS} more" if len(found) > _NAMED_GROUPS else ""
    return [f"copies of training images among the test images: {told}{more}"]
