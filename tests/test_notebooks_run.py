"""The course notebooks executed: nbval with their parameters, papermill with others."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from course_files import (
    FOLDER,
    NOT_COMPARED,
    ROOT,
    SOLUTIONS,
    code_cells,
    course_notebook,
    printed,
    read,
    tags,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Texts that differ from machine to machine: versions of packages, and times.
SANITIZE = {
    r"(?m)^([a-z-]+) \d+\.\d+\.\d\S*$": r"\1 VERSION",
    r"\b\d+(\.\d+)? (s|ms|seconds)\b": "TIME",
}


def run(folder: Path, *module_and_options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *module_and_options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def nbval(scratch: Path, *notebooks: Path) -> subprocess.CompletedProcess[str]:
    patterns = scratch / "sanitize.cfg"
    sections = [
        f"[{number}]\nregex: {pattern}\nreplace: {text}\n"
        for number, (pattern, text) in enumerate(SANITIZE.items())
    ]
    patterns.write_text("".join(sections), encoding="utf-8")
    options = ("--nbval", "--nbval-current-env", f"--nbval-sanitize-with={patterns}")
    return run(ROOT, "pytest", *options, "-p", "no:cacheprovider", *map(str, notebooks))


@course_notebook
def test_stored_outputs_are_what_the_cells_give(path, tmp_path):
    done = nbval(tmp_path, path)
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_give_their_stored_outputs(path, tmp_path):
    done = nbval(tmp_path, path)
    assert done.returncode == 0, done.stdout[-5000:]


@course_notebook
def test_a_number_is_compared(path):
    assert first_compared(read(path)) is not None


def test_a_changed_number_is_noticed(tmp_path):
    """A notebook up to its first number that is compared, with another digit there."""
    changed = read(FOLDER / "06_anomaly_synthesis.ipynb")
    number = first_compared(changed)
    changed.cells = changed.cells[: number + 1]
    output, place = first_digit(changed.cells[number])
    digit = str((int(output.text[place]) + 1) % 10)
    output.text = output.text[:place] + digit + output.text[place + 1 :]
    nbformat.write(changed, tmp_path / "changed.ipynb")
    done = nbval(tmp_path, tmp_path / "changed.ipynb")
    others = len(code_cells(changed)) - 1
    assert re.search(rf"1 failed(, {others} passed)? in", done.stdout)
    assert f"changed.ipynb::Cell {others}" in done.stdout


def first_compared(notebook: nbformat.NotebookNode) -> int | None:
    """The first cell with a number that nbval compares."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and not tags(cell) & NOT_COMPARED and first_digit(cell):
            return number
    return None


def first_digit(cell: nbformat.NotebookNode) -> tuple[nbformat.NotebookNode, int] | None:
    """The stream output of a cell and the place of a digit in it that no pattern covers."""
    for output in cell.outputs:
        if output.output_type == "stream":
            covered = [match.span() for p in SANITIZE for match in re.finditer(p, output.text)]
            for match in re.finditer(r"\d", output.text):
                if not any(start <= match.start() < end for start, end in covered):
                    return output, match.start()
    return None


@course_notebook
def test_papermill_runs_it_with_other_parameters(path, tmp_path):
    """From the checkout; nbval runs it from its own folder, with the parameters it has.

    Notebook 08 is run so by every test of a run (test_run.py).
    """
    other = read(path).metadata.diffad.other_parameters
    before = written()
    options = ("--no-progress-bar", "--log-level", "ERROR", "--parameters_yaml", json.dumps(other))
    source = str(path.relative_to(ROOT))
    done = run(ROOT, "papermill", source, str(tmp_path / "out.ipynb"), *options)
    assert done.returncode == 0, done.stderr[-5000:]
    assert written() == before
    assert everything_printed(tmp_path / "out.ipynb") != everything_printed(path)


def written() -> list[Path]:
    """What lies where a notebook may leave something in the checkout."""
    return sorted([*FOLDER.iterdir(), *(ROOT / "runs").rglob("*")])


def everything_printed(path: Path) -> str:
    return "".join(printed(cell) for cell in code_cells(read(path)))
