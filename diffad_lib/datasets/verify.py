"""Counts what is in a dataset's folder against the catalog and names every bad file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffad_lib.datasets.catalog import find_dataset
from diffad_lib.datasets.decode import decode_pair, format_size, mask_doubt
from diffad_lib.datasets.doubts import Look, look_at, look_lines, shape_line, turned_line
from diffad_lib.datasets.images import fingerprint, image_digests, reading_threads
from diffad_lib.datasets.inventory import (
    NOT_READ,
    PARTS,
    copies_line,
    count_parts,
    inventory_lines,
    named_bad_line,
    one_sided_line,
    other_counts,
    take_inventory,
    twice_line,
)
from diffad_lib.datasets.layouts import (
    category_folder,
    list_categories,
    list_others,
    scan_folder,
)
from diffad_lib.datasets.samples import Sample
from diffad_lib.errors import DiffadError


@dataclass(frozen=True)
class Report:
    """Lines for a person. ok: something is there and nothing wrong; what is absent is not wrong."""

    lines: tuple[str, ...]
    ok: bool


Inspected = tuple[str | None, str | None, Look | None]
"""Size of an image as "width×height", the problem of the image or its mask, and a look at it."""


def verify(dataset: str, data_root: Path) -> Report:
    """Reads and decodes every file of a dataset, official or own ("custom").

    Of each category everything that lies there is listed with what it counts as. Problems are
    counts that differ from the catalog's and each file that is missing, unreadable, unlabelled, of
    another size than its mask or (where the dataset has one size) its category, and each mask that
    marks no pixel or looks inverted. Notes are what a run says and goes on: names taken as those of
    normal images, test images that are copies of training images. Raises DiffadError if the dataset
    is unknown or not there.
    """
    info = find_dataset(dataset)
    official = info.categories
    present = list_categories(dataset, data_root)
    lines: list[str] = []
    wrong = unread = 0
    for category in present:
        folder = category_folder(dataset, category, data_root)
        scan = scan_folder(dataset, folder)
        counts = count_parts(scan.samples)
        with reading_threads() as threads:
            found = list(threads.map(_inspect, scan.samples))
        problems = [
            *other_counts(counts, official.get(category)),
            *scan.problems,
            *_file_problems(scan.samples, found, one_size=info.one_size),
        ]
        looks = [(one, look) for one, (*_, look) in zip(scan.samples, found, strict=True) if look]
        readable = [one for one, _ in looks]
        wrong += len(problems)
        rest = "" if not official or category in official else " (not in the catalog)"
        parts = ", ".join(f"{counts[key]} {part}" for key, part in PARTS.items() if counts[key])
        lines.append(f"{category}: {parts or 'no image'}{rest}")
        inventory = take_inventory(folder, scan)
        unread += sum(one.files for one in inventory if one.counts_as == NOT_READ)
        lines += inventory_lines(inventory)
        notes = [*scan.notes, *one_sided_line(scan.samples), *named_bad_line(scan.samples)]
        notes += [*_doubts(readable), *look_lines(looks)]
        lines += [f"  note: {note}" for note in notes]
        lines += [f"  problem: {problem}" for problem in problems]
    for name in list_others(dataset, data_root):
        lines.append(f"{name}: no category, it shows neither images nor a folder train; not read")
    absent = [category for category in official if category not in present]
    if absent:
        lines.append(f"absent: {', '.join(absent)}")
    not_read = f", {unread} file{'' if unread == 1 else 's'} not read" if unread else ""
    lines.append(
        f"{dataset}: {len(present)} found, {len(absent)} absent, "
        f"{wrong} problem{'' if wrong == 1 else 's'}{not_read} in {data_root}"
    )
    return Report(tuple(lines), ok=bool(present) and wrong == 0)


def _doubts(samples: Sequence[Sample]) -> list[str]:
    """Notes on what can be told of readable files only."""
    splits = [[one for one in samples if one.split == split] for split in ("train", "test")]
    train, test = (image_digests(split, fingerprint(split)[1]) if split else {} for split in splits)
    return [
        *copies_line(train, test),
        *twice_line(test),
        *turned_line(samples),
        *shape_line(samples),
    ]


def _file_problems(
    samples: Sequence[Sample], found: Sequence[Inspected], one_size: bool
) -> list[str]:
    problems = [problem for _, problem, _ in found if problem]
    sizes = Counter(size for size, _, _ in found if size)
    if one_size and sizes:
        usual = sizes.most_common(1)[0][0]
        problems += [
            f"{sample.image} is {size} pixels, the others are {usual}"
            for sample, (size, _, _) in zip(samples, found, strict=True)
            if size not in (None, usual)
        ]
    return problems


def _inspect(sample: Sample) -> Inspected:
    try:
        image, mask = decode_pair(sample.image, sample.mask)
    except DiffadError as error:
        return None, str(error), None
    doubt = mask_doubt(mask) if sample.mask else None
    return format_size(image), doubt and f"{sample.mask} {doubt}", look_at(image)
