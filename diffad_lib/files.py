"""Writing files so that a reader sees the old one or the new one, never half of one."""

import contextlib
import errno
import io
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from diffad_lib.errors import DiffadError

try:
    import fcntl
except ImportError:  # here, because every command imports this module first
    sys.exit("diffad needs Linux, macOS or WSL")


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
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


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


_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF)


@contextlib.contextmanager
def exclusive(path: Path, meaning: str) -> Iterator[None]:
    """Keep other processes out while the block runs; `path` is a file or folder that exists.

    The lock ends with the process. DiffadError with `meaning` if another process holds it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DiffadError(f"{path} is locked: {meaning}") from None
        except OSError as error:  # NFS, FUSE and Lustre may have no locks
            if error.errno not in _NO_LOCKS:
                raise
            print(
                f"{path}: this file system has no locks ({error.strerror}); start one run at a "
                "time there",
                file=sys.stderr,
            )
        yield
    finally:
        os.close(handle)


def is_utf8(text: str | Path) -> bool:
    """False for a name on disk in another encoding: it cannot be written into a record."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed `write_atomically` left in a folder where no other process writes."""
    for leftover in folder.glob(".*-*"):
        leftover.unlink(missing_ok=True)


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
