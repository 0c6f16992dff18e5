"""The learner's copy of the notebooks, and the command that opens it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from course_files import FOLDER, NOTEBOOKS, ROOT, SOLUTIONS
from diffad_lib.course import lab
from diffad_lib.course.lab import copy_notebooks, lab_command, open_lab

pytestmark = pytest.mark.filterwarnings("ignore:Jupyter is migrating")


@pytest.fixture(autouse=True)
def own_signatures(tmp_path, monkeypatch):
    for name in ("CONFIG", "DATA", "RUNTIME"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / "jupyter" / name))


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A chapter, its solutions, and a file of JupyterLab's that nobody wants copied."""
    for name in ("00_a.ipynb", "solutions/00_a.ipynb", ".ipynb_checkpoints/00_a.ipynb"):
        write(tmp_path / "notebooks" / name, "first")
    return tmp_path


def write(path: Path, text: str, python: str = "3.0.0") -> None:
    cell = nbformat.v4.new_code_cell(text, id="one")
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": "<b>a slider</b>"})]
    metadata = {"language_info": {"name": "python", "version": python}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=metadata), path)


def sources(folder: Path) -> dict[str, str]:
    paths = sorted(folder.rglob("*.ipynb"))
    return {str(p.relative_to(folder)): nbformat.read(p, 4).cells[0].source for p in paths}


def copied(checkout: Path) -> list[str]:
    """What stays older than the course, after the copies were brought up to date."""
    outdated = copy_notebooks(checkout / "notebooks", checkout / "work")
    return [str(path.relative_to(checkout / "work")) for path in outdated]


def test_chapters_and_solutions_are_copied(checkout):
    assert copied(checkout) == []
    assert sources(checkout / "work") == {"00_a.ipynb": "first", "solutions/00_a.ipynb": "first"}


def test_what_the_learner_changed_is_never_written_again(checkout):
    copied(checkout)
    write(checkout / "work" / "00_a.ipynb", "mine")
    assert copied(checkout) == []  # the course has nothing newer to tell of
    write(checkout / "notebooks" / "00_a.ipynb", "second")
    for _ in range(2):
        assert copied(checkout) == ["00_a.ipynb"]
        assert sources(checkout / "work")["00_a.ipynb"] == "mine"
    (checkout / "work" / "00_a.ipynb").unlink()
    assert copied(checkout) == []
    assert sources(checkout / "work")["00_a.ipynb"] == "second"


def test_a_file_that_was_there_before_is_the_learners(checkout):
    write(checkout / "work" / "00_a.ipynb", "mine")
    assert copied(checkout) == ["00_a.ipynb"]
    assert sources(checkout / "work")["00_a.ipynb"] == "mine"


def test_a_copy_that_was_only_read_follows_the_course(checkout):
    copied(checkout)
    before = (checkout / "work" / "solutions" / "00_a.ipynb").stat().st_mtime_ns
    write(checkout / "notebooks" / "00_a.ipynb", "second")
    assert copied(checkout) == []
    assert sources(checkout / "work")["00_a.ipynb"] == "second"
    # JupyterLab asks about a file that was written while it is open.
    assert (checkout / "work" / "solutions" / "00_a.ipynb").stat().st_mtime_ns == before


def test_a_copy_is_of_the_python_that_runs_it(checkout):
    copied(checkout)
    copy = nbformat.read(checkout / "work" / "00_a.ipynb", 4)
    assert copy.metadata.language_info.version == platform.python_version()


def test_jupyter_trusts_a_copy_but_not_what_the_learner_put_there(checkout):
    write(checkout / "work" / "solutions" / "00_a.ipynb", "from somewhere")
    copied(checkout)
    with NotebookNotary() as notary:
        trusted = {
            name: notary.check_signature(nbformat.read(checkout / "work" / name, 4))
            for name in sources(checkout / "work")
        }
    assert trusted == {"00_a.ipynb": True, "solutions/00_a.ipynb": False}


def test_the_copies_lie_beside_the_notebooks_and_git_ignores_them():
    """So that a link of theirs, such as ../docs/source_note.md, leads to the same file."""
    assert FOLDER.parent / "work" == ROOT / lab.COPIES
    assert f"/{lab.COPIES}/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_every_notebook_of_the_course_is_copied(tmp_path):
    assert copy_notebooks(FOLDER, tmp_path) == []
    names = [str(path.relative_to(FOLDER)) for path in (*NOTEBOOKS, *SOLUTIONS)]
    assert sorted(sources(tmp_path)) == sorted(names)


@pytest.mark.parametrize(("user", "expected"), [(0, True), (1000, False)])
def test_only_root_is_allowed_to_be_root(checkout, monkeypatch, user, expected):
    copied(checkout)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert ("--allow-root" in lab_command(checkout, [])) == expected


def test_lab_opens_the_first_copy_with_the_options_that_were_given(checkout, monkeypatch, diffad):
    started = []
    monkeypatch.setattr(lab, "project_root", lambda: checkout)
    monkeypatch.setattr(os, "execv", lambda program, command: started.append((program, command)))
    told = diffad("lab", "--no-browser", "--port", "8890")
    ((program, command),) = started
    assert not told.code and program == command[0] == sys.executable
    assert command[1:4] == ["-m", "jupyterlab", f"--ServerApp.root_dir={checkout}"]
    assert command[-4:] == [
        "--no-browser", "--port", "8890", str(checkout / "work" / "00_a.ipynb"),
    ]  # fmt: skip
    assert told.out == "work/: your copy of the notebooks; what you change there is kept\n"


def test_lab_names_the_copies_that_are_older_than_the_course(checkout, monkeypatch, capsys):
    write(checkout / "work" / "00_a.ipynb", "mine")
    monkeypatch.setattr(lab, "project_root", lambda: checkout)
    monkeypatch.setattr(os, "execv", lambda program, command: None)
    open_lab([])
    assert "delete yours for it): work/00_a.ipynb\n" in capsys.readouterr().out


def test_make_lab_passes_its_options_on():
    command = [
        "make",
        "--no-print-directory",
        "--dry-run",
        "lab",
        "OPTIONS=--no-browser --port 8890",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ".venv/bin/diffad lab --no-browser --port 8890"
