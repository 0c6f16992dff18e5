"""Counts what is in a dataset's folder against the catalog and names every bad file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffad_lib.datasets.catalog import find_dataset
from diffad_lib.datasets.dataset import CategoryInfo
from diffad_lib.datasets.decode import decode_pair, format_size, mask_doubt
from diffad_lib.datasets.images import reading_threads
from diffad_lib.datasets.layouts import list_categories, scan_category
from diffad_lib.datasets.samples import Sample, Split
from diffad_lib.errors import DiffadError


@dataclass(frozen=True)
class Report:
    """Lines for a person. ok: something is there and nothing wrong; what is absent is not wrong."""

    lines: tuple[str, ...]
    ok: bool


def verify(dataset: str, data_root: Path) -> Report:
    """Reads and decodes every file of a dataset, official or own ("custom").

    Reported are counts that differ from the catalog's and each file that is missing, unreadable,
    unlabelled, of another size than its mask or (where the dataset has one size) its category, and
    each mask that marks no pixel or looks inverted. Raises DiffadError if the dataset is unknown or
    not there.
    """
    info = find_dataset(dataset)
    official = info.categories
    present = list_categories(dataset, data_root)
    lines: list[str] = []
    wrong = 0
    for category in present:
        scan = scan_category(dataset, category, data_root)
        counts = Counter((sample.split, sample.label) for sample in scan.samples)
        problems = [
            *_count_problems(counts, official.get(category)),
            *scan.problems,
            *_file_problems(scan.samples, one_size=info.one_size),
        ]
        wrong += len(problems)
        note = "" if not official or category in official else " (not in the catalog)"
        lines.append(f"{category}: {_count_line(counts)}{note}")
        lines += [f"  {problem}" for problem in problems]
    absent = [category for category in official if category not in present]
    if absent:
        lines.append(f"absent: {', '.join(absent)}")
    lines.append(
        f"{dataset}: {len(present)} found, {len(absent)} absent, "
        f"{wrong} problem{'' if wrong == 1 else 's'} in {data_root}"
    )
    return Report(tuple(lines), ok=bool(present) and wrong == 0)


Part = tuple[Split, int]  # the images of a split with one label

_PARTS: dict[Part, str] = {
    ("train", 0): "train good",
    ("train", 1): "train defect",
    ("test", 0): "test good",
    ("test", 1): "test defect",
}


def _count_line(counts: Counter[Part]) -> str:
    return ", ".join(f"{counts[key]} {part}" for key, part in _PARTS.items() if counts[key])


def _count_problems(counts: Counter[Part], info: CategoryInfo | None) -> list[str]:
    if info is None:
        return []
    official = (info.train_good, info.train_defect, info.test_good, info.test_defect)
    return [
        f"{part}: {counts[key]} images, the catalog says {expected}"
        for (key, part), expected in zip(_PARTS.items(), official, strict=True)
        if counts[key] != expected
    ]


def _file_problems(samples: Sequence[Sample], one_size: bool) -> list[str]:
    with reading_threads() as threads:
        found = list(threads.map(_inspect, samples))
    problems = [problem for _, problem in found if problem]
    sizes = Counter(size for size, _ in found if size)
    if one_size and sizes:
        usual = sizes.most_common(1)[0][0]
        problems += [
            f"{sample.image} is {size} pixels, the others are {usual}"
            for sample, (size, _) in zip(samples, found, strict=True)
            if size not in (None, usual)
        ]
    return problems


def _inspect(sample: Sample) -> tuple[str | None, str | None]:
    """Size of the image as "width×height", and the problem of the image or its mask."""
    try:
        image, mask = decode_pair(sample.image, sample.mask)
    except DiffadError as error:
        return None, str(error)
    if sample.mask is None:
        return format_size(image), None
    doubt = mask_doubt(mask) if mask.any() else "marks no pixel"
    return format_size(image), doubt and f"{sample.mask} {doubt}"
