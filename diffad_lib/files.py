"""Files: only whole ones are read, and a reader sees the old one or the new one, never half."""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from diffad_lib.errors import DiffadError, InUse

try:
    import fcntl
except ImportError:  # here, because every command imports this module first
    sys.exit("diffad needs Linux, macOS or WSL")

_MOST_BYTES = 512 * 2**20  # of a file that is read into memory
_MOST_TEXT = 64 * 2**20
_HEAD = 2**16
_OTHER_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# What write_atomically calls a file until it is whole.
_TEMPORARY = re.compile(r"\..+-[0-9a-f]{16}(\.[^.]*)?")


def read_bytes(path: Path, most: int = _MOST_BYTES) -> bytes:
    """What a regular file holds, or one that a link leads to.

    DiffadError for anything else, such as a pipe that never ends, before it is opened; for more
    than `most` bytes; for a file that cannot be read or that grows or shrinks meanwhile.
    """
    try:
        status = path.stat()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            kind = _OTHER_KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise DiffadError(f"{path} is {kind}, not a file; remove it")
        if size > most:
            told = f"{size / 2**20:.0f} MB, more than the {most // 2**20} MB that are read"
            raise DiffadError(f"{path} has {told}; make it smaller")
        with path.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise DiffadError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) != size:
        raise DiffadError(f"{path} changed while it was read; start again")
    return data


def read_head(path: Path) -> bytes:
    """The first 64 KiB of a file; DiffadError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise DiffadError(f"{path} cannot be read: {error.strerror}") from None


def read_text(path: Path) -> str:
    """A text in UTF-8 of at most 64 MB, what is none marked with U+FFFD; else as `read_bytes`."""
    return read_bytes(path, _MOST_TEXT).decode("utf-8-sig", errors="replace")


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary_path)` beside `path`, then rename it onto `path`.

    DiffadError that names `path` if it cannot be written; an existing file stays as it was. Who may
    read the file is what the umask says.
    """
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        try:
            write(temporary)
            _to_disk(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error
    with contextlib.suppress(OSError):  # some file systems cannot; the file is there
        _to_disk(path.parent)  # or a power cut may undo the new name


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(
    path: Path, error: OSError, advice: str = "choose a folder you may write to"
) -> DiffadError:
    """What a person is told when `path` refuses: only a full disk is called full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"free some space or {advice}"
    return DiffadError(f"{path}: cannot be written ({error.strerror or error}); {advice}")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically. JSON has no NaN: it becomes null."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def json_object(path: Path, advice: str) -> dict[str, Any]:
    """The JSON object in a file; DiffadError with `advice` if there is none."""
    require_file(path, advice)
    try:
        # Refuses what is too deep.
        content = from_json(read_bytes(path, _MOST_TEXT), allow_inf_nan=False)
    except ValueError as error:
        raise DiffadError(f"{path}: cannot be read ({error}); {advice}") from None
    if not isinstance(content, dict):
        raise DiffadError(f"{path}: holds no JSON object; {advice}")
    return content


def require_file(path: Path, advice: str) -> None:
    """DiffadError with `advice` if there is nothing, or a folder, or a pipe that may never end."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DiffadError(f"{path}: not found; {advice}") from None
    except OSError as error:
        raise DiffadError(f"{path}: cannot be read ({error.strerror}); {advice}") from None
    if not stat.S_ISREG(mode):
        raise DiffadError(f"{path}: is not a file; {advice}")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_torch(path: Path, content: Any) -> None:
    """Write what `torch.load` reads, atomically. Takes the size of the file in memory."""
    import torch  # here, because the commands on data do without it and start faster

    # On a full disk torch.save to a file raises a RuntimeError that does not say so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF)


@contextlib.contextmanager
def exclusive(path: Path, meaning: str) -> Iterator[None]:
    """Keep other processes out while the block runs; the lock file stays. See `take_lock`."""
    handle = take_lock(path, meaning)
    try:
        yield
    finally:
        os.close(handle)


def take_lock(path: Path, meaning: str) -> int:
    """Make a lock file and hold it, at the latest until the process ends; returns its handle.

    InUse, a DiffadError, with `meaning` if another process holds it.
    """
    while True:
        # NFS locks a file that is open for writing only; a link could lead to any file.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            _lock(handle, path, meaning)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # of a file that the process before has removed meanwhile


def drop_lock(path: Path, handle: int) -> None:
    """Remove a lock file that `take_lock` made, then let others in."""
    path.unlink(missing_ok=True)
    os.close(handle)


def _lock(handle: int, path: Path, meaning: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUse(f"{path.parent} is locked: {meaning}") from None
    except OSError as error:  # NFS, FUSE and Lustre may have no locks
        if error.errno not in _NO_LOCKS:
            raise
        print(
            f"{path.parent}: this file system has no locks ({error.strerror}); start one run at a "
            "time there",
            file=sys.stderr,
        )


def is_utf8(text: str | Path) -> bool:
    """False for a name on disk in another encoding: it cannot be written into a record."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_too_long(text: str | Path) -> bool:
    """True for what no file system takes as a path, so that to look for it is an error."""
    encoded = str(text).encode()
    return len(encoded) > 3000 or max(map(len, encoded.split(b"/"))) > 255


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed `write_atomically` left in a folder where no other process writes."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
