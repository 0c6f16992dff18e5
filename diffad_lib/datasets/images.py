"""The images of a split as one array: decoded once, resized once, cached by content."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from diffad_lib.datasets.cache import (
    cache_folder,
    entry_path,
    load_entry,
    remove_unused,
    write_entry,
)
from diffad_lib.datasets.decode import check_name, decode_pair, resize_image, resize_linearly
from diffad_lib.datasets.regions import resize_regions, whole_regions
from diffad_lib.datasets.samples import Sample
from diffad_lib.errors import DiffadError
from diffad_lib.files import read_bytes

RULES = 4  # raise it when other pixels are computed, so that no old cache is used
_SAFE_NANOSECONDS = 2 * 10**9  # after which another change gives a file another time

Digests = dict[Path, str]  # hexadecimal BLAKE2b of files
ImageRule = Literal["area", "linear"]  # how an image shrinks
MaskRule = Literal["half", "whole"]  # how much of a resized pixel has to be marked
_Regions = NDArray[np.uint16]
_ResizeRegions = Callable[[NDArray[np.uint8], int], _Regions]
_Load = Callable[[Sample], tuple[NDArray[np.uint8], _Regions]]


@dataclass(frozen=True)
class ImageStack:
    """Images of one size with their masks, read-only arrays in the order of `samples`."""

    images: NDArray[np.uint8]  # [N,3,H,W] RGB
    regions: NDArray[np.uint16]  # [N,1,H,W]: 0 normal, 1, 2, … regions of the mask as it lies there
    samples: tuple[Sample, ...]
    fingerprint: str  # identity of the files and labels
    files: dict[str, str]  # a short digest of every file, by its path below the common folder

    @cached_property
    def masks(self) -> NDArray[np.uint8]:
        """uint8 [N,1,H,W] in {0,1}; all zero where a sample has no mask file."""
        return (self.regions > 0).astype(np.uint8)


def load_split(
    samples: Sequence[Sample],
    size: int,
    cache_dir: Path | None = None,
    mask_rule: MaskRule = "half",
    image_rule: ImageRule = "area",
) -> ImageStack:
    """The samples at size × size pixels, from the cache or decoded into it.

    The cache is keyed by the contents of the files, `size` and the rules: it can be shared by
    processes and deleted at any time. mask_rule: `resize_regions` or `whole_regions` of masks.
    image_rule: `resize_image` or `resize_linearly`.
    cache_dir None: environment variable DIFFAD_CACHE, else ~/.cache/diffad.
    DiffadError for a file that cannot be used or that changes meanwhile, an empty list, a cache
    that cannot be written.
    """
    if not samples:
        raise DiffadError("there is no image to load: the list of samples is empty")
    folder = cache_folder(cache_dir)
    digests = file_digests(_files(samples), folder)
    total, files = _identity(samples, digests)
    has_masks = any(sample.mask for sample in samples)
    rules: list[str] = [mask_rule] if has_masks and mask_rule != "half" else []
    rules += [image_rule] if image_rule != "area" else []
    path = entry_path(folder, ".u8", RULES, *rules, size, total)
    content = load_entry(path)
    if content is None:
        resize = resize_regions if mask_rule == "half" else whole_regions
        _build(path, samples, lambda one: _load(one, size, image_rule, resize, digests), size)
        content = load_entry(path)
    if content is None:
        raise DiffadError(f"{path} cannot be used as soon as it is written; set DIFFAD_CACHE")
    count, border = len(samples), 2 * len(samples) * size * size
    return ImageStack(
        images=content[border:].reshape(count, 3, size, size),
        regions=content[:border].view(np.uint16).reshape(count, 1, size, size),
        samples=tuple(samples),
        fingerprint=total,
        files=files,
    )


def fingerprint(
    samples: Sequence[Sample], cache_dir: Path | None = None
) -> tuple[str, dict[str, str]]:
    """Hexadecimal BLAKE2b over file names, labels and contents; and a digest of every file.

    Independent of where the dataset lies. DiffadError for an unreadable file or a non-UTF-8 name.
    """
    return _identity(samples, file_digests(_files(samples), cache_folder(cache_dir)))


def image_digests(samples: Sequence[Sample], files: dict[str, str]) -> dict[str, str]:
    """Of the digests of a split's files by path those of its images, without the masks."""
    base = _common_folder(_files(samples))
    names = (sample.image.relative_to(base).as_posix() for sample in samples)
    return {name: files[name] for name in names}


def _identity(samples: Sequence[Sample], digests: Digests) -> tuple[str, dict[str, str]]:
    base = _common_folder(digests)
    total = hashlib.blake2b(digest_size=16)
    for sample in samples:
        fields = [sample.split, sample.defect, str(sample.label)]
        for file in (sample.image, sample.mask):
            fields += [file.relative_to(base).as_posix(), digests[file]] if file else ["", ""]
        total.update(("\t".join(fields) + "\n").encode())
    short = {path.relative_to(base).as_posix(): digest[:16] for path, digest in digests.items()}
    return total.hexdigest(), short


def _files(samples: Sequence[Sample]) -> list[Path]:
    return [sample.image for sample in samples] + [s.mask for s in samples if s.mask]


def _common_folder(files: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in files]))


def file_digests(files: Sequence[Path], folder: Path) -> Digests:
    """The digest of every file; one that is known not to have changed is not read again.

    As for git, a file with the size, the times and the inode of the last call did not change. What
    is known is kept in the cache `folder`. DiffadError for an unreadable file or a non-UTF-8 name.
    """
    if not files:
        return {}
    for path in files:
        check_name(path)
    base = _common_folder(files)
    table = entry_path(folder, ".files", base.absolute())
    content = load_entry(table)
    known = {} if content is None else json.loads(content.tobytes())
    names = [path.relative_to(base).as_posix() for path in files]
    now = time.time_ns()
    states = [_state(path) for path in files]
    there = list(zip(files, names, states, strict=True))
    changed = [path for path, name, state in there if known.get(name, [])[:-1] != state]
    with reading_threads() as threads:
        read = dict(zip(changed, threads.map(_file_digest, changed), strict=True))
    digests = {path: read.get(path) or known[name][-1] for path, name, _ in there}
    found = {
        name: [*state, digests[path]]
        for path, name, state in there
        if now - max(state[1:3]) > _SAFE_NANOSECONDS
    }
    if found != known:
        with contextlib.suppress(DiffadError):  # it costs time only, and load_split tells
            write_entry(table, lambda file: file.write(json.dumps(found).encode()))
    return digests


def _state(path: Path) -> list[int]:
    """What tells that a file did not change: size, the two times, inode, device."""
    try:
        told = path.stat()
    except OSError as error:
        raise DiffadError(f"{path} cannot be read: {error.strerror}") from None
    return [told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino, told.st_dev]


def _file_digest(path: Path) -> str:
    return content_digest(read_bytes(path))


def content_digest(data: bytes) -> str:
    """The digest of a file that holds these bytes."""
    return hashlib.blake2b(data).hexdigest()


def reading_threads() -> ThreadPoolExecutor:
    """Threads that read images: reading, hashing and OpenCV release the interpreter lock."""
    return ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))


def _build(path: Path, samples: Sequence[Sample], load: _Load, size: int) -> None:
    """Decodes the samples into the file; a killed build leaves nothing that is used."""
    remove_unused(path.parent)
    try:
        write_entry(path, lambda file: _write(file, samples, load, size))
    except DiffadError as error:
        if isinstance(error.__cause__, OSError):  # the cache, not an image
            raise DiffadError(f"{error}: set DIFFAD_CACHE") from error.__cause__
        raise


def _write(file: BinaryIO, samples: Sequence[Sample], load: _Load, size: int) -> None:
    """All regions, then all images. Plain writes, because a memory map on a full disk crashes."""
    pixels = size * size
    with reading_threads() as threads:
        pairs = threads.map(load, samples)
        for index, (image, regions) in enumerate(pairs):
            file.seek(index * 2 * pixels)
            file.write(regions.tobytes())
            file.seek((2 * len(samples) + 3 * index) * pixels)
            file.write(image.tobytes())


def _load(
    sample: Sample, size: int, image_rule: ImageRule, resize: _ResizeRegions, digests: Digests
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    def read(path: Path) -> bytes:
        data = read_bytes(path)
        if content_digest(data) != digests[path]:
            told = "start again, after `diffad cache clear` if it did not"
            raise DiffadError(f"{path} changed while it was read; {told}")
        return data

    image, mask = decode_pair(sample.image, sample.mask, read)
    resized = (resize_image if image_rule == "area" else resize_linearly)(image, size)  # [H,W,3]
    try:
        regions = resize(mask, size)
    except DiffadError as error:
        raise DiffadError(f"{sample.mask}: {error}") from None
    return np.ascontiguousarray(resized.transpose(2, 0, 1)), regions
