"""The command line as tests start it, in this process or in one of its own."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from diffad_lib.errors import InUse
from diffad_lib.runs.folder import occupied

DIFFAD = (sys.executable, "-c", "from diffad_lib.cli import main; main()")


class Told(NamedTuple):
    """What a command told."""

    code: int
    out: str
    err: str


Command = Callable[..., Told]  # the fixture `diffad`


def until(
    happened: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 120
) -> None:
    """Wait for what is to happen; a process that is to bring it about must not end before."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert process is None or process.poll() is None, process and process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_free(folder: Path) -> bool:
    """Whether no process works in a run folder.

    The locks tell it. A killed process is a zombie, or gone from a list, while one of its threads
    may still end and keep its files, and its locks, open.
    """
    with contextlib.suppress(InUse), occupied(folder):
        return True
    return False
