"""The process that computes a headless run: this interpreter, and settings of this project only."""

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from traitlets import Dict, Unicode
from traitlets.config import Config

from diffad_lib.errors import DiffadError
from diffad_lib.files import exclusive, unwritable
from diffad_lib.runs.facts import import_path
from diffad_lib.runs.fonts import matplotlibrc

_PREFIX, _LOCK = "diffad-", "lock"
_YOUNG = 60.0  # seconds in which a new folder gets its lock
_SOCKET_BYTES = 90  # of its folder; the whole path may have 103 on macOS, 107 on Linux
# Figures go into the notebook, whatever backend a batch script or a container asks for.
_INLINE = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MPLSTYLE": "",
    "PYTHONWARNINGS": "",
}
# Without these, glibc gives the memory of freed tensors back to the system and asks for it again
# in every training step, which then takes 2 to 18 % longer (docs/recipes.md).
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # bytes; the highest that glibc before 2.35 takes
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}


class OwnKernel(AsyncKernelManager):
    """A kernel in which no kernelspec, no matplotlibrc, no start-up file and no folder that
    happens to be the current one has a say."""

    folder = Unicode(help="where its matplotlibrc lies").tag(config=True)
    speed = Dict(help="environment variables, unless the user sets them").tag(config=True)

    @property
    def kernel_spec(self) -> KernelSpec:
        """This interpreter; an environment variable of the user's wins in what is speed only."""
        speed = {name: os.environ.get(name, text) for name, text in self.speed.items()}
        settings = {
            "MATPLOTLIBRC": str(_matplotlibrc(self.folder)),
            "PYTHONPATH": import_path(),
            # As an option it would take the current folder out of the imports (application.py).
            "IPYTHONDIR": self.folder,
        }
        # -P: no package of the current folder is taken for one of Python's. ipykernel_launcher
        # would take the first folder of PYTHONPATH for it where both are the checkout.
        return KernelSpec(
            argv=[sys.executable, "-P", "-m", "ipykernel", "-f", "{connection_file}"],
            env=_INLINE | settings | speed,
            display_name="Python 3",
            language="python",
        )


@contextlib.contextmanager
def kernel_folder() -> Iterator[Path]:
    """A folder for `kernel_config`. It goes with the block; those of killed processes go first."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)  # another process may be removing it
    with contextlib.ExitStack() as stack:
        try:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX))
            stack.enter_context(exclusive(Path(name, _LOCK), "another process took it"))
        except OSError as error:
            place = Path(os.environ.get("TMPDIR", "/tmp"))
            raise unwritable(place, error, "set TMPDIR to another folder") from error
        yield Path(name)


def _is_left(folder: Path) -> bool:
    """Whether the process that made a folder here has ended; False if that cannot be known."""
    try:
        found = folder.lstat()
        if found.st_uid != os.getuid() or time.time() - found.st_mtime < _YOUNG:
            return False
        with (folder / _LOCK).open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # no lock, it is held, or this file system has none
        return False
    return True


def _matplotlibrc(folder: Path | str) -> Path:
    return Path(folder, "matplotlibrc")


def kernel_config(folder: Path, threads: int | None = None) -> Config:
    """A kernel that keeps its sockets, its connection file and IPython's files in `folder`.

    So no port is opened, and runs that start at the same moment cannot take each other's; the home
    folder may be full or read-only. Raises DiffadError if the path is too long for a socket.
    """
    if len(os.fsencode(folder)) > _SOCKET_BYTES:
        raise DiffadError(f"{folder}: too long a path for a socket; set TMPDIR to a short one")
    speed = KEEP_FREED_MEMORY | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    rc = _matplotlibrc(folder)
    rc.write_text(matplotlibrc(), encoding="utf-8")
    return Config(
        {
            "OwnKernel": {
                "transport": "ipc",
                "ip": str(folder / "kernel"),
                "connection_file": str(folder / "kernel.json"),
                "folder": str(folder),
                "speed": speed,
            },
            "NotebookClient": {
                "kernel_manager_class": OwnKernel,
                "extra_arguments": [
                    # A busy kernel would log the interrupt that nbclient sends before the end.
                    "--log-level=CRITICAL",
                    "--IPKernelApp.ignore_cwd=True",
                    "--IPKernelApp.exec_PYTHONSTARTUP=False",
                    # Matplotlib takes one of the current folder before that in MATPLOTLIBRC.
                    f"--IPKernelApp.exec_lines=__import__('matplotlib').rc_file({str(rc)!r})",
                ],
            },
        }
    )
