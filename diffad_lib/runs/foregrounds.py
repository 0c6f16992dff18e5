"""`diffad foregrounds`: masks of a category's training images, written whole and looked at."""

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm import tqdm

from diffad_lib import plots
from diffad_lib.datasets.decode import decode_image, resize_image
from diffad_lib.datasets.images import reading_threads
from diffad_lib.datasets.layouts import list_samples
from diffad_lib.datasets.samples import Sample
from diffad_lib.errors import DiffadError, nearest
from diffad_lib.files import unwritable, write_atomically
from diffad_lib.mini import exact_foregrounds, is_mini
from diffad_lib.runs.data import data_root
from diffad_lib.synthesis import FOREGROUND_METHODS
from diffad_lib.synthesis.foreground import (
    PLAUSIBLE_SHARE,
    automatic_mask,
    grabcut_mask,
    is_plausible,
    isnet_finder,
    otsu_mask,
    random_regions,
)
from diffad_lib.synthesis.mask_folder import find_masks, read_foreign_mask

_FOLDER = "folder"  # the method that reads masks which are there
_DRAWN = "random-region"  # the one that does not look at the image
_TILE, _COLUMNS, _MOST_TILES = 192, 8, 48  # of the contact sheet
_OUTLINE = (255, 40, 40)
_SHEETS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
_LOSSY = (".jpg", ".jpeg")

Mask = NDArray[np.uint8]  # [H,W] in {0,1}
Find = Callable[[int, NDArray[np.uint8]], Mask]  # from the number of an image and [H,W,3]


def _by_number(find: Callable[[NDArray[np.uint8]], Mask]) -> Find:
    return lambda _, image: find(image)


def _one_at_a_time(find: Callable[[NDArray[np.uint8]], Mask]) -> Find:
    """For a network, which takes much memory and all cores for one image."""
    lock = threading.Lock()

    def locked(_: int, image: NDArray[np.uint8]) -> Mask:
        with lock:
            return find(image)

    return locked


def _random_region(seed: int, number: int, image: NDArray[np.uint8]) -> Mask:
    drawn = int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])
    generator = torch.Generator().manual_seed(drawn)
    height, width = image.shape[:2]
    return random_regions(1, height, width, generator)[0, 0].numpy().astype(np.uint8)


_MAKERS: Mapping[str, Callable[[int], Find]] = {
    "auto": lambda _: _by_number(automatic_mask),
    "otsu": lambda _: _by_number(otsu_mask),
    "grabcut": lambda _: _by_number(grabcut_mask),
    "is-net": lambda _: _one_at_a_time(isnet_finder()),
    _DRAWN: lambda seed: partial(_random_region, seed),
}


@dataclass(frozen=True)
class Images:
    """The category whose training images get masks; root None: the mini data."""

    dataset: str
    category: str
    root: Path | None = None

    def samples(self) -> list[Sample]:
        """Normal training images; DiffadError as `list_samples`, or if there are none."""
        samples = list_samples(self.dataset, self.category, data_root(self.root))
        train = [sample for sample in samples if sample.split == "train"]
        if not train:
            raise DiffadError(f"{self.dataset}/{self.category} has no training images; add them")
        return train

    def exact_masks(self) -> Callable[[Path], Mask] | None:
        """What knows the exact mask of an image: of the mini data only."""
        root = data_root(self.root)
        return exact_foregrounds(root, self.dataset) if is_mini(root) else None


@dataclass(frozen=True)
class Source:
    """Where masks come from; folder: of the method that reads one; seed: of random regions."""

    method: str
    folder: Path | None = None
    seed: int = 0

    def finder(
        self, samples: Sequence[Sample], category: str
    ) -> tuple[Find, Callable[[float], bool]]:
        """What finds a mask, and whether from its share the whole image counts in its place.

        Of masks that a method finds an implausible one is replaced; of those that somebody made,
        only an empty one; of random regions none. DiffadError for an unknown method.
        """
        if self.method not in FOREGROUND_METHODS:
            hint = nearest(self.method, FOREGROUND_METHODS)
            raise DiffadError(f'--method "{self.method}" is not known; {hint}')
        if (self.method == _FOLDER) != (self.folder is not None):
            raise DiffadError(f"--from names the folder of --method {_FOLDER}; give both or none")
        if self.folder is not None:
            paths = find_masks(self.folder, category, samples)
            return lambda number, _: read_foreign_mask(paths[number]), lambda share: share == 0
        find = _MAKERS[self.method](self.seed)
        if self.method == _DRAWN:
            return find, lambda _: False
        return find, lambda share: not is_plausible(share)


@dataclass(frozen=True)
class Looked:
    """What is known of one mask."""

    name: str  # FOLDER/FILE of the image
    share: float  # of the image that it marks, as it was found
    tile: NDArray[np.uint8]  # [3,S,S]: the image, the mask outlined, the rest darkened
    overlap: float | None  # intersection over union with the exact mask, where that is known
    replaced: bool = False  # the whole image counts in its place

    @property
    def fault(self) -> str | None:
        """Why it looks wrong."""
        low, high = PLAUSIBLE_SHARE
        if not self.share:
            return "empty"
        if self.share < low:
            return f"tiny (below {low:.0%} of the image)"
        return f"full (above {high:.0%} of the image)" if self.share > high else None


@dataclass(frozen=True)
class Foregrounds:
    """The masks that were written, in the order of the images."""

    masks: list[Looked]

    @property
    def faults(self) -> dict[str, list[str]]:
        """Names of the masks that look wrong, by what is wrong."""
        found: dict[str, list[str]] = {}
        for one in self.masks:
            if one.fault:
                found.setdefault(one.fault, []).append(one.name)
        return found

    def lines(self) -> list[str]:
        """What a person is told."""
        shares = np.array([one.share for one in self.masks])
        low, middle, high = shares.min(), np.median(shares), shares.max()
        told = f"{len(shares)} masks mark {low:.1%} to {high:.1%} of the image, median {middle:.1%}"
        lines = [told]
        for fault, names in self.faults.items():
            lines.append(f"{fault}: {len(names)} of {len(shares)}: {', '.join(names)}")
        if replaced := sum(one.replaced for one in self.masks):
            lines.append(f"in place of {replaced} of them the whole image counts")
        known = [one for one in self.masks if one.overlap is not None]
        if known:
            worst = min(known, key=lambda one: one.overlap or 0.0)
            mean = np.mean([one.overlap or 0.0 for one in known])
            lines.append(
                f"intersection over union with the exact masks: mean {mean:.3f}, lowest "
                f"{worst.overlap:.3f} ({worst.name})"
            )
        return lines


def write_foregrounds(
    images: Images, source: Source, to: Path, sheet: Path | None = None
) -> Foregrounds:
    """Write the masks of a category's training images into the folder `to`, all or none.

    sheet: a contact sheet goes there. DiffadError for a folder that is not empty, for masks that
    are not there, and one that names an image which cannot be read.
    """
    _check_place(to)
    if sheet and sheet.suffix.lower() not in _SHEETS:
        raise DiffadError(f"{sheet}: a sheet ends with {', '.join(_SHEETS)}; rename it")
    samples = images.samples()
    find, counts_whole = source.finder(samples, images.category)
    exact = images.exact_masks()
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as scratch:
            built = Path(scratch, to.name)
            built.mkdir()

            def make(number: int) -> Looked:
                image = decode_image(samples[number].image)
                mask = find(number, image)
                looked = _looked(samples[number], image, mask, exact)
                looked = replace(looked, replaced=counts_whole(looked.share))
                _write(built, samples[number], np.ones_like(mask) if looked.replaced else mask)
                return looked

            with reading_threads() as threads:
                made = threads.map(make, range(len(samples)))
                found = Foregrounds([*tqdm(made, "masks", len(samples), disable=None)])
            if sheet:
                write_atomically(sheet, partial(contact_sheet(found).savefig, dpi=150))
            built.rename(to)
    except OSError as error:
        raise unwritable(to, error) from error
    return found


def _check_place(to: Path) -> None:
    """DiffadError unless a folder is absent or empty."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DiffadError(f"{to}: is there already; move it away or name another folder with --to")


def _looked(
    sample: Sample,
    image: NDArray[np.uint8],
    mask: Mask,
    exact: Callable[[Path], Mask] | None,
) -> Looked:
    overlap = None
    if exact is not None:
        true = exact(sample.image)
        overlap = float((true & mask).sum() / max((true | mask).sum(), 1))
    small, allowed = resize_image(image, _TILE), resize_image(mask.astype(np.float32), _TILE) > 0.5
    tile = np.where(allowed[..., None], small, small // 2)
    outlines, _ = cv2.findContours(
        allowed.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(tile, outlines, -1, _OUTLINE, 1)
    name = f"{sample.image.parent.name}/{sample.image.name}"
    return Looked(name, float(mask.mean()), tile.transpose(2, 0, 1), overlap)


def _write(folder: Path, sample: Sample, mask: Mask) -> None:
    """Named as its image, where the official code looks for it; JPEG for a JPEG, else PNG."""
    is_lossy = sample.image.suffix.lower() in _LOSSY
    name = sample.image.name if is_lossy else f"{sample.image.stem}.png"
    path = folder / sample.image.parent.name / name
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        raise DiffadError(f"{sample.image}: another training image has its name; rename one")
    options = [cv2.IMWRITE_JPEG_QUALITY, 100] if is_lossy else []
    path.write_bytes(cv2.imencode(path.suffix, 255 * mask, options)[1].tobytes())


def contact_sheet(found: Foregrounds) -> Figure:
    """Images with their masks outlined: the doubtful ones first, then others evenly.

    A title is the name, the share of the image, and an exclamation mark where it looks wrong.
    """
    order = sorted(found.masks, key=lambda one: one.fault is None)
    doubtful = sum(one.fault is not None for one in order)
    first = min(doubtful, _MOST_TILES // 2)
    rest = order[doubtful:] or order[first:]
    count = min(len(rest), _MOST_TILES - first)
    rows = np.linspace(0, len(rest) - 1, count).astype(int)
    shown = [*order[:first], *(rest[row] for row in rows)]
    titles = [f"{one.name}\n{'! ' if one.fault else ''}{one.share:.0%}" for one in shown]
    return plots.image_grid([one.tile for one in shown], titles, _COLUMNS)
