"""The course notebooks executed: nbval with their parameters, papermill with others."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

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
from diffad_lib.runs.kernel import KEEP_FREED_MEMORY
from diffad_lib.runs.notebook import execute

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Texts that differ from machine to machine: versions of packages, and times.
SANITIZE = {
    r"(?m)^([a-z-]+) \d+\.\d+\.\d\S*$": r"\1 VERSION",
    r"\b\d+(\.\d+)? (s|ms|seconds)\b": "TIME",
}


def run(folder: Path, *module_and_options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *module_and_options]
    environment = os.environ | KEEP_FREED_MEMORY | {"OMP_NUM_THREADS": "1"}
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
def test_solutions_give_their_stored_outputs(path):
    """They print and show nothing else, so that they need no kernel."""
    names = {"__name__": "__main__"}
    for cell in code_cells(read(path)):
        assert {output.output_type for output in cell.outputs} <= {"stream"}
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            exec(compile(cell.source, path.name, "exec"), names)
        assert sanitized(told.getvalue()) == sanitized(printed(cell)), cell.source


def sanitized(text: str) -> str:
    for pattern, name in SANITIZE.items():
        text = re.sub(pattern, name, text)
    return text


@course_notebook
def test_a_number_is_compared(path):
    assert any(is_compared(cell) for cell in code_cells(read(path)))


def test_a_changed_number_is_noticed_and_another_time_is_not(tmp_path):
    stored = {"print('auroc 0.913')": "auroc 0.923\n", "print('done in 3.2 s')": "done in 4 s\n"}
    cells = [
        new_code_cell(
            source,
            execution_count=count,
            outputs=[new_output("stream", name="stdout", text=text)],
        )
        for count, (source, text) in enumerate(stored.items(), start=1)
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "changed.ipynb")
    done = nbval(tmp_path, tmp_path / "changed.ipynb")
    assert "1 failed, 1 passed in" in done.stdout
    assert "changed.ipynb::Cell 0" in done.stdout


def is_compared(cell: nbformat.NotebookNode) -> bool:
    """Whether nbval compares a number that the cell prints."""
    texts = [output.text for output in cell.outputs if output.output_type == "stream"]
    is_told = any(char.isdigit() for text in texts for char in sanitized(text))
    return is_told and not tags(cell) & NOT_COMPARED


@course_notebook
def test_papermill_runs_it_with_other_parameters(path, tmp_path, monkeypatch):
    """From the checkout; nbval runs it from its own folder, with the parameters it has.

    Without the exercises, which have no parameters. Notebook 08 is run so by every test of a run
    (test_run.py), and chapter 09 by papermill's own command too (test_shipped_records.py).
    """
    notebook, before = read(path), written()
    (exercises,) = [
        n for n, cell in enumerate(notebook.cells) if cell.source.startswith("## Exercises")
    ]
    notebook.cells = notebook.cells[:exercises]
    source, output = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook, source)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    execute(source, output, dict(notebook.metadata.diffad.other_parameters), io.StringIO())
    assert written() == before
    assert everything_printed(output) != everything_printed(source)


def written() -> list[Path]:
    """What lies where a notebook may leave something in the checkout."""
    return sorted([*FOLDER.iterdir(), *(ROOT / "runs").rglob("*")])


def everything_printed(path: Path) -> str:
    return "".join(printed(cell) for cell in code_cells(read(path)))
