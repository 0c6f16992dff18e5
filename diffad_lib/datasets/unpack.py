"""Safe unpacking of archives: nothing outside the target, nothing half-written in it."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tqdm import tqdm

from diffad_lib.errors import DiffadError

UNPACKED_SHARE = 1.2  # bytes on disk for a byte of archive; images hardly compress further

_TEMPORARY = ".unpacking"
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    RuntimeError,  # zipfile's, for encryption and unknown compression
)


def unpack(archive: Path, target: Path, wanted: Collection[str]) -> list[str]:
    """Unpacks a tar or zip archive so that `wanted` entries lie directly in `target`.

    Folders that wrap the wanted entries are left out, and a wanted X that is a nested X.zip is
    unpacked too. Each entry is renamed into `target` from a hidden folder, so it is there whole or
    not at all. What is there already stays; its names are returned. One process at a time.

    Raises DiffadError that names the archive if it is damaged, holds a link, a device or a name
    that leads outside, or none of the wanted entries, and if there is too little disk space.
    """
    target.mkdir(parents=True, exist_ok=True)
    require_space(target, UNPACKED_SHARE * archive.stat().st_size, f"unpack {archive.name}")
    temporary = target / _TEMPORARY  # in the target, which may be a link to another disk
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    try:
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
    """Raises DiffadError if the disk of `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiffadError(
            f"{folder}: {needed / 1e9:.1f} GB are needed to {purpose}, {free / 1e9:.1f} GB are "
            "free; free some space or choose another --data-root"
        )


def _content(archive: Path, folder: Path, wanted: Collection[str]) -> Path:
    """Extracts an archive into `folder`; returns the folder in it that holds wanted entries."""
    try:
        _extract(archive, folder)
        content = _without_wrappers(folder, wanted)
        for nested in sorted(content.glob("*.zip")):
            if nested.stem in wanted:
                _replace_by_content(nested)
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
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


def _replace_by_content(archive: Path) -> None:
    """Replaces X.zip by a folder X: the folder X that it holds, or all that it holds."""
    inside = archive.with_name(f".{archive.stem}")
    _extract(archive, inside)
    wrapped = inside / archive.stem
    (wrapped if wrapped.is_dir() else inside).rename(archive.with_suffix(""))
    shutil.rmtree(inside, ignore_errors=True)
    archive.unlink()


def _extract(archive: Path, folder: Path) -> None:
    """Writes the plain files of an archive below `folder`, with default permissions."""
    folder.mkdir()
    files = _zip_files if zipfile.is_zipfile(archive) else _tar_files
    for name, source in files(archive):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)


def _zip_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as opened:
        for info in tqdm(opened.infolist(), f"unpacking {archive.name}", unit=" files"):
            _require_safe(archive, info.filename, not stat.S_ISLNK(info.external_attr >> 16))
            # __MACOSX/ is what the zip tool of macOS adds.
            if not info.is_dir() and not info.filename.startswith("__MACOSX/"):
                yield info.filename, opened.open(info)


def _tar_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    size = archive.stat().st_size
    with (
        archive.open("rb") as raw,
        tqdm.wrapattr(raw, "read", size, desc=f"unpacking {archive.name}") as file,
        tarfile.open(fileobj=file) as opened,
    ):
        for member in opened:
            _require_safe(archive, member.name, member.isfile() or member.isdir())
            if (content := opened.extractfile(member)) is not None:  # None of a folder
                yield member.name, content
        while opened.fileobj.read(1 << 20):  # to the end, where gzip has its checksum
            pass


def _require_safe(archive: Path, name: str, is_plain: bool) -> None:
    """Raises DiffadError at a member that is not a file or folder, or leads outside."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    leads_out = any(path.anchor or ".." in path.parts for path in paths)
    if leads_out or not is_plain:
        why = "leads outside its folder" if leads_out else "is a link or a device"
        raise DiffadError(
            f"{archive}: its member {name!r} {why}, so nothing was unpacked; "
            "do not use this archive, fetch it again from the authors of the dataset"
        )
