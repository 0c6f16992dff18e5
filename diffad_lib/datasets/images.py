"""The images of a split as one memory map: decoded once, resized once, cached by content."""

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffad_lib.datasets.decode import check_name, decode_pair, resize_image, resize_regions
from diffad_lib.datasets.samples import Sample
from diffad_lib.errors import DiffadError
from diffad_lib.files import write_atomically

RULES = 2  # raise it when decode.py computes other pixels, so that no old cache is used
_STALE_SECONDS = 24 * 3600  # no build takes a day


@dataclass(frozen=True)
class ImageStack:
    """Images of one size with their masks, read-only memory maps in the order of `samples`."""

    images: np.memmap  # uint8 [N,3,H,W] RGB
    regions: np.memmap  # uint16 [N,1,H,W]: 0 normal, 1, 2, … regions of the mask as it lies there
    samples: tuple[Sample, ...]
    fingerprint: str  # identity of the files and labels
    files: dict[str, str]  # a short digest of every file, by its path below the common folder

    @cached_property
    def masks(self) -> NDArray[np.uint8]:
        """uint8 [N,1,H,W] in {0,1}; all zero where a sample has no mask file."""
        return (self.regions > 0).astype(np.uint8)


def load_split(samples: Sequence[Sample], size: int, cache_dir: Path | None = None) -> ImageStack:
    """The samples at size × size pixels, from the cache or decoded into it.

    The cache is keyed by the contents of the files and by `size`: it can be shared by processes and
    deleted at any time. cache_dir None: environment variable DIFFAD_CACHE, else ~/.cache/diffad.
    DiffadError for a file that cannot be used, an empty list, a cache that cannot be written.
    """
    if not samples:
        raise DiffadError("there is no image to load: the list of samples is empty")
    digest, files = fingerprint(samples)
    folder = Path(cache_dir or os.environ.get("DIFFAD_CACHE") or "~/.cache/diffad").expanduser()
    key = hashlib.blake2b(f"{RULES} {size} {digest}".encode(), digest_size=16).hexdigest()
    path = folder / f"{key}.u8"
    count, pixels = len(samples), size * size
    if not _has_bytes(path, count * 5 * pixels):
        _build(path, samples, size)
    return ImageStack(
        images=np.memmap(path, np.uint8, "r", 0, (count, 3, size, size)),
        regions=np.memmap(path, np.uint16, "r", count * 3 * pixels, (count, 1, size, size)),
        samples=tuple(samples),
        fingerprint=digest,
        files=files,
    )


def fingerprint(samples: Sequence[Sample]) -> tuple[str, dict[str, str]]:
    """Hexadecimal BLAKE2b over file names, labels and contents; and a digest of every file.

    Independent of where the dataset lies. DiffadError for an unreadable file or a non-UTF-8 name.
    """
    files = [sample.image for sample in samples]
    files += [sample.mask for sample in samples if sample.mask]
    for path in files:
        check_name(path)
    base = os.path.commonpath([path.parent for path in files])
    with reading_threads() as threads:
        digests = dict(zip(files, threads.map(_file_digest, files), strict=True))
    total = hashlib.blake2b(digest_size=16)
    for sample in samples:
        fields = [sample.split, sample.defect, str(sample.label)]
        for file in (sample.image, sample.mask):
            fields += [file.relative_to(base).as_posix(), digests[file]] if file else ["", ""]
        total.update(("\t".join(fields) + "\n").encode())
    short = {path.relative_to(base).as_posix(): digests[path][:16] for path in files}
    return total.hexdigest(), short


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError as error:
        raise DiffadError(f"{path} cannot be read: {error.strerror}") from None


def reading_threads() -> ThreadPoolExecutor:
    """Threads that read images: reading, hashing and OpenCV release the interpreter lock."""
    return ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))


def _has_bytes(path: Path, count: int) -> bool:
    try:
        return path.stat().st_size == count
    except OSError:  # absent, or in a folder that writing will complain about
        return False


def _build(path: Path, samples: Sequence[Sample], size: int) -> None:
    """Decodes the samples into the file; a killed build leaves nothing that is used."""
    for leftover in path.parent.glob(".*-*.u8"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                leftover.unlink()
    try:
        write_atomically(path, lambda temporary: _write(temporary, samples, size))
    except DiffadError as error:
        if isinstance(error.__cause__, OSError):  # the cache, not an image
            raise DiffadError(f"{error}: set DIFFAD_CACHE") from error.__cause__
        raise


def _write(path: Path, samples: Sequence[Sample], size: int) -> None:
    """All images, then all regions. Plain writes, because a memory map on a full disk crashes."""
    pixels = size * size
    with path.open("wb") as file, reading_threads() as threads:
        pairs = threads.map(lambda sample: _load(sample, size), samples)
        for index, (image, regions) in enumerate(pairs):
            file.seek(index * 3 * pixels)
            file.write(image.tobytes())
            file.seek((3 * len(samples) + 2 * index) * pixels)
            file.write(regions.tobytes())


def _load(sample: Sample, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    image, mask = decode_pair(sample.image, sample.mask)
    resized = resize_image(image, size)  # [H,W,3]
    try:
        regions = resize_regions(mask, size)
    except DiffadError as error:
        raise DiffadError(f"{sample.mask}: {error}") from None
    return np.ascontiguousarray(resized.transpose(2, 0, 1)), regions
