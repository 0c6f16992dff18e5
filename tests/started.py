"""The command line as tests start it, in this process or in one of its own."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

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
