"""Headless runs: check, execute notebook 08 with papermill, leave a complete run folder."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import papermill
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from diffad_lib.errors import DiffadError
from diffad_lib.files import exclusive
from diffad_lib.plans import Budget
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import check_inputs
from diffad_lib.runs.facts import project_root
from diffad_lib.runs.folder import check_same_settings, settings_of
from diffad_lib.runs.record import RECORD_NAME, Record, read_record

RUN_NOTEBOOK = "08_train_and_evaluate.ipynb"
_BUSY = "another process runs a notebook in it; wait for its end or choose another --runs-dir"
# Without these, glibc gives the memory of freed tensors back to the system and asks for it again
# in every training step, which then takes 2 to 18 % longer (docs/recipes.md).
_KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # bytes; the highest that glibc before 2.35 takes
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}
_SOCKET_BYTES = 90  # of its folder; the whole path may have 103 on macOS, 107 on Linux


def run(config: RunConfig, stream: TextIO | None = None) -> Record:
    """Execute notebook 08 for a configuration and return its record.

    `stream` gets what the notebook prints (default: standard output). A run that is complete is
    not repeated; one that was interrupted goes on from its checkpoint. On failure the notebook
    with its traceback stays as `notebook.failed.ipynb`, and a DiffadError tells why.
    """
    folder = config.run_folder.absolute()
    output, record = folder / "notebook.ipynb", folder / RECORD_NAME
    check_same_settings(config)
    # A process killed between the record and the end of the notebook leaves both.
    if record.exists() and not _partial(output).exists():
        return read_record(record)
    check_inputs(config)
    notebook = project_root() / "notebooks" / RUN_NOTEBOOK
    if not notebook.exists():
        raise DiffadError(f"{notebook}: not found; run diffad from a checkout of the project")
    with occupied(folder):
        execute(notebook, output, parameters(config), stream)
    return read_record(record)


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Make a folder and keep other processes out; DiffadError if it is unwritable or in use."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder, _BUSY):
            yield
    except OSError as error:
        raise _unwritable(folder, error) from error


def parameters(config: RunConfig) -> dict[str, Any]:
    """The parameters cell of notebook 08 for a configuration, as literals."""
    values, limit = settings_of(config), config.training.max_train_seconds
    who = {key: values[key] for key in RunConfig.model_fields if key not in Budget.model_fields}
    return who | {"max_train_seconds": limit}


def execute(
    notebook: Path, output: Path, values: dict[str, Any], stream: TextIO | None = None
) -> None:
    """Execute a notebook with papermill; `output` appears only when every cell has run.

    The caller has `occupied` its folder. DiffadError: one raised in a cell, or the cell and error.
    """
    try:
        _execute(notebook, output, values, stream or sys.stdout)
    except OSError as error:
        with contextlib.suppress(OSError):  # the one on hand says what is wrong
            _partial(output).unlink()
        raise _unwritable(output.parent, error) from error


def _unwritable(folder: Path, error: OSError) -> DiffadError:
    return DiffadError(
        f"{folder}: cannot be written ({error.strerror or error}); "
        "free some space or choose another --runs-dir"
    )


def _execute(notebook: Path, output: Path, values: dict[str, Any], stream: TextIO) -> None:
    partial = _partial(output)
    for name, value in _KEEP_FREED_MEMORY.items():
        os.environ.setdefault(name, value)  # the kernel inherits them
    try:
        with tempfile.TemporaryDirectory(prefix="diffad-") as sockets, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # papermill warns of formats that it then upgrades
            logging.getLogger("papermill").setLevel(logging.CRITICAL)  # errors become one line
            papermill.execute_notebook(
                notebook,
                partial,
                parameters=values,
                kernel_name="python3",
                progress_bar=False,
                stdout_file=stream,
                stderr_file=sys.stderr,
                config=_local_kernel(Path(sockets)),
            )
    except PapermillExecutionError as error:
        failed = failed_notebook(output)
        partial.replace(failed)
        if error.ename == "DiffadError":
            raise DiffadError(error.evalue) from error
        first_line = next(iter(str(error.evalue).splitlines()), "no message")
        raise DiffadError(
            f"{failed}: cell {error.exec_count} failed with {error.ename}: {first_line}"
        ) from error
    except RuntimeError as error:  # for a kernel that died, in the run or at its start
        partial.replace(failed_notebook(output))
        raise DiffadError(
            f"{output.parent}: the process that computes died, most often for lack of memory; "
            "lower batch_size or image_size with --set"
        ) from error
    failed_notebook(output).unlink(missing_ok=True)
    partial.replace(output)


def failed_notebook(output: Path) -> Path:
    """Where a notebook stays that failed: with the cells that ran and the traceback."""
    return output.with_suffix(".failed.ipynb")


def _local_kernel(sockets: Path) -> Config:
    """A kernel that is reached through sockets in a folder of its own.

    So no port is opened, and runs that start at the same moment cannot take each other's. What
    IPython would write into the home folder goes there too: that may be full or read-only.
    """
    if len(os.fsencode(sockets)) > _SOCKET_BYTES:
        raise DiffadError(f"{sockets}: too long a path for a socket; set TMPDIR to a short one")
    return Config(
        {
            "KernelManager": {
                "transport": "ipc",
                "ip": str(sockets / "kernel"),
                "connection_file": str(sockets / "kernel.json"),
            },
            # A busy kernel would log the interrupt that nbclient sends before it shuts it down.
            "NotebookClient": {
                "extra_arguments": ["--log-level=CRITICAL", f"--ipython-dir={sockets}"]
            },
        }
    )


def _partial(output: Path) -> Path:
    """Where papermill writes a notebook while its cells run."""
    return output.with_name(f".{output.name}.partial.ipynb")
