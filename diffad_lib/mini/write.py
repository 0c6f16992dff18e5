"""Writes the mini data to disk, all of it or nothing, and mends what was damaged there."""

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from diffad_lib.datasets.cache import cache_folder
from diffad_lib.datasets.images import content_digest, file_digests
from diffad_lib.datasets.names import is_leftover
from diffad_lib.errors import DiffadError
from diffad_lib.files import json_object, read_bytes, unwritable, write_atomically, write_text
from diffad_lib.mini.categories import CATEGORIES, find_category
from diffad_lib.mini.official import IMAGE_FOLDERS, File, dagm_files, mvtec_files, visa_files
from diffad_lib.mini.picture import Mask, take_foreground

VERSION = 1  # to be raised with every change of a picture or a file
MARKER = "mini.json"  # in the root: version, seed, number of files and a digest of them all
_ADVICE = "delete it or choose another folder"

_LAYOUTS = {
    "mvtec": mvtec_files,
    "visa": visa_files,
    "dagm": dagm_files,
    "mpdd": mvtec_files,  # MPDD has the layout of MVTec AD
}


def make_mini(root: Path, seed: int = 0) -> None:
    """Make the mini data below `root`: mvtec/, visa/, dagm/ and mpdd/ in their official layouts.

    The same seed gives the same bytes. The set is built beside `root` and then renamed; one of the
    same seed and version is kept, and its files that are absent or not as they were made are made
    again. Raises DiffadError if `root` holds anything else, if `seed` is negative or if the disk
    refuses.
    """
    root = Path(root)
    if seed < 0:
        raise DiffadError(f"seed {seed} is negative; give 0 or more")
    if _is_there(root, seed):
        if not _is_whole(root):
            _mend(root, seed)
        return
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as scratch:
            built = Path(scratch, root.name)
            _build(built, seed)
            _move(built, root, seed)
    except OSError as error:
        raise unwritable(root, error) from error


def is_mini(root: Path) -> bool:
    """Whether a folder of datasets holds the mini data, which have other counts."""
    return (root / MARKER).is_file()


def exact_foregrounds(root: Path, dataset: str) -> Callable[[Path], Mask]:
    """Where the part is in a normal image of the mini data in `root`, as `take_foreground`."""
    seed = json_object(root / MARKER, _ADVICE)["seed"]

    def mask_of(image: Path) -> Mask:
        category, *parts = image.relative_to(root / dataset).with_suffix("").parts
        shot = "/".join(part for part in parts if part not in IMAGE_FOLDERS)
        return take_foreground(find_category(category), seed, shot)

    return mask_of


def _build(folder: Path, seed: int) -> None:
    # glibc returns freed blocks of this size to the kernel, page by page, until one much larger
    # was freed. Without this line a quarter of the time goes into page faults.
    np.empty(1 << 24, np.uint8)
    digests = {}
    for path, content in _shown(seed):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        digests[path] = content_digest(content)
    _mark(folder, seed, digests)


def _mend(root: Path, seed: int) -> None:
    told = "files are absent or not as they were made; these are made again"
    print(f"{root}: {told}", file=sys.stderr)
    digests = {}
    for path, content in _shown(seed):
        target = root / path
        if not target.is_file() or read_bytes(target) != content:
            write_atomically(target, partial(Path.write_bytes, data=content))
        digests[path] = content_digest(content)
    _mark(root, seed, digests)
    _is_whole(root)  # other files beside them are an error


def _shown(seed: int) -> Iterator[File]:
    yield from tqdm(_files(seed), desc="mini data", unit=" files", disable=None)


def _mark(folder: Path, seed: int, digests: Mapping[str, str]) -> None:
    marker = {"version": VERSION, "seed": seed, "files": len(digests), "digest": _total(digests)}
    write_text(folder / MARKER, json.dumps(marker) + "\n")


def _total(digests: Mapping[str, str]) -> str:
    """One digest of all files, by their paths below the root."""
    lines = sorted(f"{path}\t{digest}" for path, digest in digests.items())
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _files(seed: int) -> Iterator[File]:
    for dataset, files in _LAYOUTS.items():
        categories = [category for category in CATEGORIES if category.dataset == dataset]
        for path, content in files(categories, seed):
            yield f"{dataset}/{path}", content


def _move(built: Path, root: Path, seed: int) -> None:
    """Rename, unless another process was faster with the same set."""
    try:
        built.rename(root)  # also replaces an empty folder
    except OSError:
        if not _is_there(root, seed):
            raise
        shutil.rmtree(built)


def _is_there(root: Path, seed: int) -> bool:
    """True for this very set, False for nothing; anything else raises DiffadError."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
        version, made_with, _ = (marker[key] for key in ("version", "seed", "files"))
    except (OSError, ValueError, KeyError, TypeError):
        raise DiffadError(f"{root} holds something else than mini data; {_ADVICE}") from None
    if (version, made_with) != (VERSION, seed):
        raise DiffadError(
            f"{root} holds mini data of version {version} and seed {made_with}, not of version "
            f"{VERSION} and seed {seed}; {_ADVICE}"
        )
    return True


def _is_whole(root: Path) -> bool:
    """Whether every file is as it was made; only those are read that changed since the last call.

    DiffadError if there are other files beside them, but for what file managers leave.
    """
    marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
    paths = [
        path
        for path in root.rglob("*")
        if path.is_file()
        and path != root / MARKER
        and not any(map(is_leftover, path.relative_to(root).parts))
    ]
    if len(paths) > marker["files"]:
        raise DiffadError(f"{root} holds {len(paths)} files, not its {marker['files']}; {_ADVICE}")
    digests = file_digests(paths, cache_folder())
    found = {path.relative_to(root).as_posix(): digests[path] for path in paths}
    return bool(marker.get("digest") == _total(found))
