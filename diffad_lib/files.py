"""Writing files so that a reader sees the old one or the new one, never half of one."""

import contextlib
import errno
import fcntl
import io
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from diffad_lib.errors import DiffadError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary_path)` beside `path`, then rename it onto `path`.

    DiffadError that names `path` if it cannot be written; an existing file stays as it was.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Until then a power cut may take the new name back, and what was removed after it is gone."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems cannot do that for a folder
        if error.errno not in _UNSUPPORTED:
            raise
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


# What file systems answer that have no locks, or no fsync of a folder.
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_UNSUPPORTED |= {errno.EBADF, errno.EINVAL}


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

    DiffadError with `meaning` if another process holds it.
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
        raise DiffadError(f"{path.parent} is locked: {meaning}") from None
    except OSError as error:  # NFS, FUSE and Lustre may have no locks
        if error.errno not in _UNSUPPORTED:
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


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove what a killed `write_atomically` of these names left; nobody else may write there."""
    for name in map(Path, names):
        ours = re.compile(rf"\.{re.escape(name.stem)}-\w{{8}}{re.escape(name.suffix)}")
        for leftover in folder.iterdir():
            if ours.fullmatch(leftover.name) and leftover.is_file():
                leftover.unlink()


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
