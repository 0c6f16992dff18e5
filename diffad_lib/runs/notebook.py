"""Headless runs: check, execute notebook 08 with papermill, leave a complete run folder."""

import logging
import sys
import warnings
from pathlib import Path
from typing import Any, TextIO

import papermill
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from diffad_lib.errors import DiffadError
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.record import RECORD_NAME, project_root, read_record

# Sockets in the file system: no open port, and no warning about one.
_LOCAL_KERNEL = Config({"KernelManager": {"transport": "ipc"}})
RUN_NOTEBOOK = "08_train_and_evaluate.ipynb"


def run(config: RunConfig, stream: TextIO | None = None) -> dict[str, Any]:
    """Execute notebook 08 for a configuration and return its record.

    `stream` gets what the notebook prints (default: standard output). A run that is complete is
    not repeated; one that was interrupted goes on from its checkpoint. On failure the notebook
    with its traceback stays in the run folder as `failed.ipynb`, and a DiffadError tells why.
    """
    folder = config.run_folder.absolute()
    if (folder / RECORD_NAME).exists():
        return _finished(config, folder)
    notebook = project_root() / "notebooks" / RUN_NOTEBOOK
    if not notebook.exists():
        raise DiffadError(f"{notebook}: not found; run diffad from a checkout of the project")
    execute(notebook, folder / "notebook.ipynb", parameters(config), stream)
    return read_record(folder / RECORD_NAME)


def parameters(config: RunConfig) -> dict[str, Any]:
    """The parameters cell of notebook 08 for a configuration, as literals."""
    absolute = {
        name: str(Path(value).absolute()) if (value := getattr(config, name)) is not None else None
        for name in ("data_root", "textures", "runs_dir")
    }
    return absolute | {
        "dataset": config.dataset,
        "category": config.category,
        "method": config.method,
        "budget": config.budget,
        "seed": config.seed,
        "variants": list(config.variants),
        "overrides": list(config.overrides),
        "max_train_seconds": config.max_train_seconds,
    }


def execute(
    notebook: Path, output: Path, values: dict[str, Any], stream: TextIO | None = None
) -> None:
    """Execute a notebook with papermill; `output` appears only when every cell has run.

    Raises DiffadError: the message of a DiffadError raised in a cell, or the cell and error.
    """
    stream = stream or sys.stdout
    partial = output.with_name(f".{output.name}.partial.ipynb")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # papermill warns of formats that it then upgrades
            logging.getLogger("papermill").setLevel(logging.ERROR)
            papermill.execute_notebook(
                notebook,
                partial,
                parameters=values,
                kernel_name="python3",
                progress_bar=False,
                stdout_file=stream,
                stderr_file=sys.stderr,
                config=_LOCAL_KERNEL,
            )
    except OSError as error:
        raise DiffadError(
            f"{output.parent}: cannot be written ({error.strerror or error}); "
            "free some space or choose another --runs-dir"
        ) from error
    except PapermillExecutionError as error:
        failed = output.with_name("failed.ipynb")
        partial.replace(failed)
        if error.ename == "DiffadError":
            raise DiffadError(error.evalue) from error
        raise DiffadError(
            f"{failed}: cell {error.exec_count} failed with {error.ename}: {error.evalue}"
        ) from error
    output.with_name("failed.ipynb").unlink(missing_ok=True)
    partial.replace(output)


def _finished(config: RunConfig, folder: Path) -> dict[str, Any]:
    """The record of a complete run with the same settings; an error if they differ."""
    record = read_record(folder / RECORD_NAME)
    wanted = config.model_dump(mode="json")
    differing = [
        key
        for key, value in wanted.items()
        if key != "runs_dir" and record["config"].get(key) != value
    ]
    if differing:
        key = differing[0]
        raise DiffadError(
            f"{folder}: holds a run with another {key} "
            f"({record['config'].get(key)!r}, now {wanted[key]!r}); "
            "move it away or choose another --runs-dir"
        )
    return record
