"""The folder of the cache: what lies in it is checked when it is read and removed when unused."""

import contextlib
import hashlib
import os
import re
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from diffad_lib.errors import DiffadError
from diffad_lib.files import write_atomically

_MOST_IN_MEMORY = 2**30  # bytes; every category of the four datasets at 256 px is smaller
_CHECKSUM = 4  # bytes at the end of an entry
_NAME = re.compile(r"\.?[0-9a-f]{32}(-\w+)?\.(u8|files)")  # hidden: of a build that goes on
_UNUSED_SECONDS = 30 * 24 * 3600
_STALE_SECONDS = 24 * 3600  # no build takes a day


def cache_folder(given: Path | None = None) -> Path:
    """`given`, else the environment variable DIFFAD_CACHE, else ~/.cache/diffad."""
    if given is not None:
        return given.absolute()
    named = os.environ.get("DIFFAD_CACHE") or "~/.cache/diffad"
    folder = Path(named).expanduser()
    if not folder.is_absolute():  # each working folder would have a cache of its own
        raise DiffadError(f"DIFFAD_CACHE={named} is not an absolute path; give one")
    return folder


def entry_path(folder: Path, suffix: str, *facts: object) -> Path:
    """Where the entry of these facts lies: every user has entries of their own."""
    told = "\t".join(map(str, (os.geteuid(), *facts)))
    name = hashlib.blake2b(os.fsencode(told), digest_size=16).hexdigest()
    return folder / f"{name}{suffix}"


def write_entry(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write(file)`, appends a checksum and gives the file its name.

    The checksum finds accidents. Whoever can write into the folder can write a fitting one of any
    kind, so the fastest serves: CRC-32, more than twice as fast as BLAKE2b.
    """

    def write_checked(temporary: Path) -> None:
        with temporary.open("w+b") as file:
            write(file)
            file.seek(0)
            checksum = 0
            while block := file.read(2**20):
                checksum = zlib.crc32(block, checksum)
            file.write(checksum.to_bytes(_CHECKSUM, "little"))

    write_atomically(path, write_checked)


def load_entry(path: Path) -> NDArray[np.uint8] | None:
    """The bytes of an entry, read-only; None if there is none or, with a line, no good one.

    An entry is in memory, so that a file that is cut off meanwhile cannot crash the process; from
    1 GB it is a memory map. A link and a file of another user are no good.
    """
    try:
        with _opened(path) as file:
            fault = _fault(os.fstat(file.fileno()))
            content = None if fault else _checked(file)
    except (FileNotFoundError, NotADirectoryError):  # the latter is for writing to tell
        return None
    except OSError as error:  # a link is ELOOP
        content, fault = None, error.strerror
    if content is None:
        told = fault or "it is damaged"
        print(f"{path} is not used ({told}); it is made again", file=sys.stderr)
    return content


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    # Without O_NONBLOCK a pipe of that name would hang.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb", buffering=0) as file:
        yield file


def _fault(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "it is no file"
    return None if status.st_uid == os.geteuid() else "it belongs to another user"


def _checked(file: BinaryIO) -> NDArray[np.uint8] | None:
    """The content without the checksum; None if they do not agree."""
    with contextlib.suppress(OSError):  # a read-only disk: then nothing is removed either
        os.utime(file.fileno())  # used today
    size = os.fstat(file.fileno()).st_size
    if size <= _CHECKSUM:
        return None
    if size < _MOST_IN_MEMORY:
        data = np.fromfile(file, np.uint8)
        data.flags.writeable = False
    else:
        data = np.memmap(file, np.uint8, "r")
    content = data[:-_CHECKSUM]
    is_good = zlib.crc32(content.data).to_bytes(_CHECKSUM, "little") == data[-_CHECKSUM:].tobytes()
    return content if is_good else None


def remove_unused(folder: Path, seconds: float = _UNUSED_SECONDS) -> tuple[int, int]:
    """Removes own entries that nobody used for so long, and what killed builds left.

    Returns how many files and bytes. Other files of the folder stay. What a process has loaded
    stays usable there. DiffadError if the folder refuses.
    """
    count = total = 0
    for path, status in _own_files(folder):
        most = _STALE_SECONDS if path.name.startswith(".") else seconds
        if time.time() - status.st_mtime >= most:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise DiffadError(f"{path} cannot be removed: {error.strerror}") from None
            count, total = count + 1, total + status.st_size
    return count, total


def cache_size(folder: Path) -> tuple[int, int]:
    """How many own files lie in the folder, and their bytes together."""
    sizes = [status.st_size for _, status in _own_files(folder)]
    return len(sizes), sum(sizes)


def _own_files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DiffadError(f"{folder} cannot be read: {error.strerror}; set DIFFAD_CACHE") from None
    for path in paths:
        if not _NAME.fullmatch(path.name):
            continue
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            status = path.lstat()
            if status.st_uid == os.geteuid() and not stat.S_ISDIR(status.st_mode):
                yield path, status
