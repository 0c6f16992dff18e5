"""Headless runs: check, execute notebook 08 with papermill, leave a complete run folder."""

import contextlib
import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import papermill
from papermill.exceptions import PapermillExecutionError

from diffad_lib.errors import OUT_OF_MEMORY, DiffadError, InUse, shown, shown_lines
from diffad_lib.files import unwritable
from diffad_lib.plans import Budget
from diffad_lib.runs.config import OWN_OPTIONS, RunConfig, build_config, parse_overrides
from diffad_lib.runs.data import check_inputs, what_is_read
from diffad_lib.runs.facts import differences, git_state, package_versions, project_root
from diffad_lib.runs.folder import check_same_settings, occupied, put_aside, settings_of
from diffad_lib.runs.given import check_given, check_same_weights
from diffad_lib.runs.kernel import kernel_config, kernel_folder
from diffad_lib.runs.launch import train_together
from diffad_lib.runs.record import RECORD_NAME, Data, Record, read_record
from diffad_lib.weights import DETECTOR_NAME, WEIGHTS_NAME, check_weights

RUN_NOTEBOOK = "08_train_and_evaluate.ipynb"


def run(
    config: RunConfig,
    stream: TextIO | None = None,
    again: bool = False,
    threads: int | None = None,
) -> Record:
    """Execute notebook 08 for a configuration and return its record.

    `stream` gets what the notebook prints (default: standard output). A run that is complete is
    not repeated if all that it read is still the same; one that was interrupted goes on from its
    checkpoint. `again` puts either aside, to a folder beside it, and begins anew. On failure the
    notebook with its traceback stays as `notebook.failed.ipynb`, and a DiffadError tells why.
    `threads`: see `execute`.
    """
    folder = config.run_folder.absolute()
    if again:
        put_aside(config)
    check_same_settings(config)
    if not is_complete(folder):
        check_given(config)
        check_inputs(config)
        notebook = project_root() / "notebooks" / RUN_NOTEBOOK
        if not notebook.exists():
            raise DiffadError(f"{notebook}: not found; run diffad from a checkout of the project")
        with occupied(folder):
            if not is_complete(folder):  # another process may have completed it since
                execute(notebook, executed_notebook(folder), parameters(config), stream, threads)
                return read_record(folder / RECORD_NAME)
    return _finished(config, read_record(folder / RECORD_NAME), stream or sys.stdout)


def join(config: RunConfig, again: bool = False) -> None:
    """Take part in the training of a run that another machine executes; writes nothing here."""
    from diffad_lib.runs.experiment import make_fabric, precision_of  # here: slow to import

    if again or not is_complete(config.run_folder):  # if the folder is seen from here
        check_inputs(config)
        train_together(config, precision_of(make_fabric(config)))
    print("the training is at its end; node 0 evaluates and writes")


def executed_notebook(folder: Path) -> Path:
    """Where a run leaves its notebook."""
    return folder / "notebook.ipynb"


def is_complete(folder: Path) -> bool:
    """A process killed between the record and the end of the notebook leaves parts of both."""
    return (folder / RECORD_NAME).exists() and not _partial(executed_notebook(folder)).exists()


def _finished(config: RunConfig, record: Record, stream: TextIO) -> Record:
    """The record, if the run would read the same files; DiffadError that names one that changed."""
    when = _when(config, record)
    for name in (WEIGHTS_NAME, DETECTOR_NAME):
        path = config.run_folder / name
        if not path.is_file() or not path.stat().st_size:
            raise DiffadError(f"{when}, but {name} is missing or empty; run it with --again")
    try:
        check_weights(config.run_folder)
    except DiffadError as error:
        raise DiffadError(f"{when}, but {error} (--again runs it anew)") from error
    check_same_weights(config, record)
    check_same_data(config, record)
    same = "with the same data" if record.data else "(its record lacks what it read)"
    print(shown(f"{when} {same}; nothing was run (--again runs it anew)"), file=stream)
    code = differences(record.git | record.versions, git_state() | package_versions())
    if code:
        print(shown(f"since then: {'; '.join(code)}"), file=stream)
    return record


def _when(config: RunConfig, record: Record) -> str:
    return f"{config.run_folder}: finished on {record.finished}"


def check_same_data(
    config: RunConfig, record: Record, read: Callable[[RunConfig], Data] = what_is_read
) -> None:
    """DiffadError if a finished run would read other files today; it names the first."""
    when = _when(config, record)
    try:
        changed = record.data and record.data.difference(read(config))
    except DiffadError as error:
        raise DiffadError(f"{when}, but what it read cannot be compared: {error}") from error
    if changed:
        raise DiffadError(
            f"{when} with other data: {changed}; restore them, or run it anew with --again "
            "(the old run is kept beside it)"
        )


def parameters(config: RunConfig) -> dict[str, Any]:
    """The parameters cell of notebook 08 for a configuration, as literals."""
    values = settings_of(config)
    who = {key: values[key] for key in RunConfig.model_fields if key not in Budget.model_fields}
    return who | {key: values["training"][key] for key in OWN_OPTIONS}


def configured(values: Mapping[str, Any]) -> RunConfig:
    """The configuration whose `parameters` these are."""
    return build_config(**{**values, "overrides": parse_overrides(values["overrides"])})


def execute(
    notebook: Path,
    output: Path,
    values: dict[str, Any],
    stream: TextIO | None = None,
    threads: int | None = None,
) -> None:
    """Execute a notebook with papermill; `output` appears only when every cell has run.

    The caller has `occupied` its folder. threads: of the kernel, unless OMP_NUM_THREADS says
    otherwise; None: as many as PyTorch takes. DiffadError: one raised in a cell, or the cell and
    error.
    """
    try:
        _execute(notebook, output, values, stream or sys.stdout, threads)
    except OSError as error:
        with contextlib.suppress(OSError):  # the one on hand says what is wrong
            _partial(output).unlink()
        raise unwritable(output.parent, error, "choose another --runs-dir") from error


class _Shown(io.TextIOBase):
    """Where papermill writes what a notebook prints: names in it cannot command a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(shown_lines(text))

    def flush(self) -> None:
        self._stream.flush()


def _execute(
    notebook: Path, output: Path, values: dict[str, Any], stream: TextIO, threads: int | None
) -> None:
    partial = _partial(output)
    try:
        with kernel_folder() as folder, _silent_papermill(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # papermill warns of formats that it then upgrades
            papermill.execute_notebook(
                _literally(notebook),
                _literally(partial),
                parameters=values,
                kernel_name="python3",
                progress_bar=False,
                stdout_file=_Shown(stream),
                stderr_file=_Shown(sys.stderr),
                config=kernel_config(folder, threads),
            )
    except PapermillExecutionError as error:
        failed = failed_notebook(output)
        partial.replace(failed)
        for kind in (DiffadError, InUse):
            if error.ename == kind.__name__:
                raise kind(error.evalue) from error
        if error.ename == "OutOfMemoryError":
            raise DiffadError(f"{failed}: {OUT_OF_MEMORY}") from error
        lines = (line.strip() for line in str(error.evalue).splitlines())
        first_line = next((line for line in lines if line), "no message")
        raise DiffadError(
            f"{failed}: cell {error.exec_count} failed with {error.ename}: {first_line}; "
            "that is an error of the program: please report it with that notebook"
        ) from error
    except RuntimeError as error:
        partial.replace(failed_notebook(output))
        if "kernel died" not in str(error).lower():
            raise
        raise DiffadError(
            f"{output.parent}: the process that computes died without a word; if the machine is "
            "short of memory, lower batch_size or image_size with --set"
        ) from error
    failed_notebook(output).unlink(missing_ok=True)
    partial.replace(output)


@contextlib.contextmanager
def _silent_papermill() -> Iterator[None]:
    """Its errors become one line elsewhere. Other threads may run it at the same time."""
    names, here = ("papermill", "papermill.translators"), threading.get_ident()
    logs = [logging.getLogger(name) for name in names]  # those that warn or tell of errors

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != here

    for log in logs:
        log.addFilter(is_of_others)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(is_of_others)


def failed_notebook(output: Path) -> Path:
    """Where a notebook stays that failed: with the cells that ran and the traceback."""
    return output.with_suffix(".failed.ipynb")


def _literally(path: Path) -> str:
    """For papermill, which fills in parameters where a path has braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _partial(output: Path) -> Path:
    """Where papermill writes a notebook while its cells run."""
    return output.with_name(f".{output.name}.partial.ipynb")
