"""Safe unpacking of archives: nothing outside the target, nothing half-written in it."""

import errno
import shutil
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from diffad_lib.datasets.members import CHUNK, DAMAGE, plain_files, refused
from diffad_lib.errors import DiffadError

UNPACKED_SHARE = 1.2  # bytes on disk for a byte of archive; images hardly compress further
LEAST_FREE = 10**9  # bytes of the disk that are left to others

MOST_SHARE, MOST_BYTES = 20, 10**9  # more than this share of the archive and this is a bomb
MOST_ENTRIES = 200_000  # files and folders; the largest dataset has 22 thousand
_TEMPORARY = ".unpacking"
# What names do that contradict each other or that the file system does not take.
_DAMAGED_NAMES = (
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ENAMETOOLONG,
    errno.EINVAL,
)


def unpack(archive: Path, target: Path, wanted: Collection[str]) -> list[str]:
    """Unpacks a tar or zip archive so that `wanted` entries lie directly in `target`.

    Folders that wrap the wanted entries are left out, and a wanted X that is a nested X.zip is
    unpacked too. What lies beside them, such as a licence, is kept, but for hidden files. Each
    entry is renamed into `target` from a hidden folder, so it is there whole or not at all. What
    is there already stays; its names are returned. One process at a time.

    Raises DiffadError that names the archive if it is damaged, holds a link, a device, a name that
    leads outside or names that differ in case only, becomes more than 20 times as long and 1 GB, or
    holds none of the wanted entries, and if there is too little disk space.
    """
    target.mkdir(parents=True, exist_ok=True)
    require_space(target, UNPACKED_SHARE * archive.stat().st_size, f"unpack {archive.name}")
    temporary = target / _TEMPORARY  # in the target, which may be a link to another disk
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    try:
        temporary.mkdir()
        content = _content(archive, temporary, wanted)
        entries = sorted(content.iterdir())
        kept = [entry.name for entry in entries if (target / entry.name).exists()]
        for entry in entries:
            if entry.name not in kept:
                entry.rename(target / entry.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return kept


def require_space(folder: Path, needed: float, purpose: str) -> None:
    """Raises DiffadError if the disk of `folder` lacks `needed` bytes and LEAST_FREE more."""
    free = shutil.disk_usage(folder).free
    if free < (needed := needed + LEAST_FREE):
        raise DiffadError(
            f"{folder}: {needed / 1e9:.1f} GB are needed to {purpose}, {free / 1e9:.1f} GB are "
            "free; free some space or choose another --data-root"
        )


def _content(archive: Path, folder: Path, wanted: Collection[str]) -> Path:
    """Extracts an archive into `folder`; returns the folder in it that holds wanted entries."""
    left = MOST_SHARE * archive.stat().st_size + MOST_BYTES
    try:
        left -= _extract(archive, folder, left)
        content = _without_wrappers(folder, wanted)
        for nested in sorted(content.glob("*.zip")):
            if nested.stem in wanted:
                left -= _replace_by_content(nested, left)
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, *_DAMAGED_NAMES):
            raise  # the disk's; bz2 and gzip raise an OSError without a number for damage
        raise DiffadError(
            f"{archive} is damaged or not a plain tar or zip archive ({type(error).__name__}); "
            "delete it and fetch it again, or unpack it by hand"
        ) from error
    if not any((content / name).exists() for name in wanted):
        names = ", ".join(sorted(wanted)[:3])
        raise DiffadError(f"{archive} holds no folder {names}, ...; it is another archive")
    return content


def _without_wrappers(folder: Path, wanted: Collection[str]) -> Path:
    """The folder that holds a wanted entry, below folders that hold only one folder."""
    entries = list(folder.iterdir())
    folders = [entry for entry in entries if entry.is_dir()]
    if len(folders) != 1 or any(entry.stem in wanted for entry in entries):
        return folder
    return _without_wrappers(folders[0], wanted)


def _replace_by_content(archive: Path, most: int) -> int:
    """Replaces X.zip by a folder X: the folder X that it holds, or all that it holds.

    Returns its bytes.
    """
    inside = archive.with_name(f".{archive.stem}")
    inside.mkdir()
    written = _extract(archive, inside, most)
    wrapped = inside / archive.stem
    (wrapped if wrapped.is_dir() else inside).rename(archive.with_suffix(""))
    shutil.rmtree(inside, ignore_errors=True)
    archive.unlink()
    return written


def _extract(archive: Path, folder: Path, most: int) -> int:
    """Writes the files of an archive below `folder`, with default permissions; returns their bytes.

    Raises what `plain_files` does, and DiffadError when the disk gets full.
    """
    written = 0
    spelled: dict[str, str] = {}
    for name, source in plain_files(archive, most):
        _note_names(archive, PurePosixPath(name), spelled)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with source, path.open("wb") as target:
            while chunk := source.read(CHUNK):
                require_space(folder, 0, f"unpack {archive.name}")
                written += target.write(chunk)
    return written


def _note_names(archive: Path, name: PurePosixPath, spelled: dict[str, str]) -> None:
    """Adds a file and its folders to `spelled`: each path by its form without upper case.

    Raises DiffadError if one differs in case only from an earlier one, since some disks merge them,
    and if they are too many.
    """
    for path in (str(name), *map(str, name.parents)):
        if spelled.setdefault(path.casefold(), path) != path:
            raise refused(archive, f"its members {spelled[path.casefold()]!r} and {path!r} are one")
    if len(spelled) > MOST_ENTRIES:
        raise refused(archive, f"it has more than {MOST_ENTRIES} files and folders")
