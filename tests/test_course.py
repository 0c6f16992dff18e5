"""`diffad course`: a failing notebook is reported and does not stop the others."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_files import COURSE, ROOT
from diffad_lib.course import headless as course
from diffad_lib.course.chapters import read_cards
from diffad_lib.course.headless import Job, chapter_job, run_jobs
from diffad_lib.errors import DiffadError
from diffad_lib.runs.record import Record
from started import until

pytestmark = pytest.mark.slow

SOURCES = {
    "00_good": ["print(6 * 7)"],
    "01_wrong": ["first = 1", "print(undefined_name)", "print('not reached')"],
    "02_refused": [
        "from diffad_lib.errors import DiffadError",
        "raise DiffadError('data/x: missing; make it')",
    ],
    "03_good": ["print('<b>still run</b>')"],
}
CARD = {
    "objectives": ["a", "b", "c"],
    "objectives_ko": ["a", "b", "c"],
    "minutes": 1,
    "exercises": [],
    "writes": [],
    "other_parameters": {"seed": 1},
}
RECORD = Record.model_validate(
    {
        "config": {"dataset": "mvtec", "category": "weave", "method": "draem"},
        "seconds": {"train": 1.0, "total": 2.0},
        "metrics": {
            name: {"value": 0.75, "low": 0.7, "high": 0.8}
            for name in ("image_auroc", "pixel_auroc", "pixel_ap")
        }
        | {"aupro": {"value": None, "low": None, "high": None}},
    }
)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of four small notebooks; the run of notebook 08 is played."""
    for stem, sources in SOURCES.items():
        notebook = new_notebook(
            cells=[new_markdown_cell("[on](03_good.ipynb)"), *map(new_code_cell, sources)],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3"},
                "diffad": CARD | {"title": f"A & {stem}"},
            },
        )
        path = tmp_path / "notebooks" / f"{stem}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
    monkeypatch.setattr(course, "project_root", lambda: tmp_path)
    monkeypatch.setattr(course, "make_mini", lambda root: None)
    monkeypatch.setattr(course, "CATEGORIES", ("weave",))
    monkeypatch.setattr(course, "METHODS", ("draem",))
    monkeypatch.setattr(course, "run", lambda *_, **__: RECORD)
    return tmp_path


def test_the_course_runs_every_notebook_and_reports_those_that_fail(checkout, capsys):
    with pytest.raises(DiffadError, match=r"failed: 01 · A & 01_wrong, 02 · A & 02_refused; see"):
        course.run_course(checkout / "runs")
    printed = capsys.readouterr().out
    assert "[1/5] 00 · A & 00_good: " in printed and "s left" in printed
    assert "[2/5] 01 · A & 01_wrong: FAILED" in printed
    assert "cell [2]\nprint(undefined_name)" in printed and "NameError" in printed
    assert "[3/5] 02 · A & 02_refused: FAILED: data/x: missing; make it" in printed
    assert "[5/5] 08 · mvtec/weave draem: " in printed and "0.750" in printed

    folder = checkout / "runs" / "course"
    assert {path.name for path in folder.iterdir()} == {
        *("00_good.ipynb", "01_wrong.failed.ipynb", "02_refused.failed.ipynb", "03_good.ipynb"),
        *("00_good.html", "01_wrong.html", "02_refused.html", "03_good.html", "index.html"),
    }
    assert "42" in (folder / "00_good.html").read_text(encoding="utf-8")
    assert 'href="03_good.html"' in (folder / "00_good.html").read_text(encoding="utf-8")
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "<a href='00_good.html'>00 · A &amp; 00_good</a></td><td>ok</td>" in page
    assert "<a href='01_wrong.html'>01 · A &amp; 01_wrong</a></td><td>failed</td>" in page
    assert "print(undefined_name)" in page and "NameError" in page
    assert "<td>0.750\n0.70–0.80</td>" in page and "<td>undefined</td>" in page
    assert "\x1b" not in page


def job(notebook: Path, folder: Path) -> Job:
    return chapter_job(notebook, read_cards(notebook.parents[1])[notebook], folder)


def test_an_error_of_the_program_in_one_job_does_not_end_the_course(tmp_path, capsys):
    def fail() -> None:
        raise KeyError("unforeseen")

    def broken_page() -> None:
        (tmp_path / "b.ipynb").write_text("no notebook")

    def job_of(name: str, execute) -> Job:
        return Job(name, tmp_path / f"{name}.ipynb", tmp_path / f"{name}.html", execute)

    jobs = [job_of("a", fail), job_of("b", broken_page), job_of("c", lambda: RECORD)]
    first, second, third = run_jobs(jobs, [])
    assert first.error.startswith("KeyError: ") and "report" in first.error
    assert "in fail" in first.details and "KeyError: 'unforeseen'" in first.details
    assert second.error and "Traceback" in second.details
    assert third.record == RECORD and not third.error
    assert "in fail" in capsys.readouterr().out


def test_the_course_leaves_the_environment_and_gives_kernels_their_threads(checkout, monkeypatch):
    given, before = [], dict(os.environ)
    monkeypatch.setattr(course, "run", lambda *_, threads: given.append(threads) or RECORD)
    monkeypatch.setattr(course, "execute", lambda *arguments: given.append(arguments[4]))
    monkeypatch.setattr(course, "cores", lambda: 10)
    course.run_course(checkout / "runs")
    assert given == [10 // 4] * 5 and dict(os.environ) == before


def test_a_notebook_that_is_mended_leaves_no_failure_behind(checkout):
    notebook = checkout / "notebooks" / "01_wrong.ipynb"
    folder = checkout / "out"
    folder.mkdir()
    (outcome,) = run_jobs([job(notebook, folder)], [])
    assert "undefined_name" in outcome.error and outcome.details
    mended = nbformat.read(notebook, as_version=4)
    mended.cells[2].source = "undefined_name = 1"
    nbformat.write(mended, notebook)
    (outcome,) = run_jobs([job(notebook, folder)], [])
    assert not outcome.error and not outcome.details
    assert {path.name for path in folder.iterdir()} == {"01_wrong.ipynb", "01_wrong.html"}


def test_a_home_folder_that_cannot_be_written_is_no_obstacle(checkout, monkeypatch, capfd):
    home = checkout / "home"
    home.touch()
    monkeypatch.setenv("HOME", str(home))
    notebook = checkout / "notebooks" / "00_good.ipynb"
    (outcome,) = run_jobs([job(notebook, checkout)], [])
    assert not outcome.error
    assert str(home) not in capfd.readouterr().err


def test_jobs_run_side_by_side_and_keep_their_order(tmp_path):
    together = threading.Barrier(2, timeout=30)
    jobs = [
        Job(title, tmp_path / title, tmp_path / f"{title}.html", lambda: {"at": together.wait()})
        for title in ("a", "b", "c", "d")
    ]
    outcomes = run_jobs(jobs, [], workers=2)
    assert [outcome.title for outcome in outcomes] == ["a", "b", "c", "d"]
    assert sorted(outcome.record["at"] for outcome in outcomes) == [0, 0, 1, 1]


def foreign(path):
    """A notebook with a script, as it may lie in a folder of runs that somebody else made."""
    html = nbformat.v4.new_output("display_data", {"text/html": "<script>alert(1)</script>"})
    nbformat.write(new_notebook(cells=[new_code_cell("1", outputs=[html])]), path)


@pytest.mark.parametrize("executed", [True, False])
def test_scripts_of_a_notebook_that_was_not_executed_now_are_left_out(tmp_path, executed):
    output, page = tmp_path / "a.ipynb", tmp_path / "a.html"
    foreign(output)
    os.utime(output, (0, 0))  # a disk may not tell apart two times of the same millisecond

    def run():
        if executed:
            output.unlink()
            foreign(output)

    (outcome,) = run_jobs([Job("a", output, page, run)], [])
    assert not outcome.error
    assert ("<script>alert" in page.read_text(encoding="utf-8")) == executed


def test_an_old_failure_is_not_shown_with_its_scripts(tmp_path):
    output, page = tmp_path / "a.ipynb", tmp_path / "a.html"
    foreign(tmp_path / "a.failed.ipynb")

    def refuse():
        raise DiffadError("in use")

    (outcome,) = run_jobs([Job("a", output, page, refuse)], [])
    assert outcome.error == "in use"
    assert "<script>alert" not in page.read_text(encoding="utf-8")


def test_an_error_of_the_program_does_not_keep_the_others_from_running(tmp_path, capsys):
    (tmp_path / "damaged.ipynb").write_text("{")

    def fail():
        raise KeyError("surprise")

    jobs = [
        Job("a", tmp_path / "a.ipynb", tmp_path / "a.html", fail),
        Job("b", tmp_path / "damaged.ipynb", tmp_path / "b.html", lambda: None),
        Job("c", tmp_path / "c.ipynb", tmp_path / "c.html", lambda: None),
    ]
    first, second, third = run_jobs(jobs, [])
    assert first.error.startswith("KeyError: 'surprise'; that is an error of the program")
    assert "in fail" in first.details and "Traceback" in capsys.readouterr().out
    assert "NotJSONError" in second.error and not third.error


def test_braces_in_the_folder_of_the_runs_are_no_obstacle(checkout):
    folder = checkout / "{client} {"
    folder.mkdir()
    (outcome,) = run_jobs([job(checkout / "notebooks" / "00_good.ipynb", folder)], [])
    assert not outcome.error
    assert {path.name for path in folder.iterdir()} == {"00_good.ipynb", "00_good.html"}


def test_an_interrupt_ends_the_kernels_and_starts_no_other(checkout):
    for stem in ("00_good", "03_good"):
        path = checkout / "notebooks" / f"{stem}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        started = f"open({str(checkout / stem)!r}, 'w').close()"
        notebook.cells[1].source = f"{started}; import time; time.sleep(300)"
        nbformat.write(notebook, path)
    program = (
        "import signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored under nohup
        "from diffad_lib.course.chapters import read_cards\n"
        "from diffad_lib.course.headless import chapter_job, run_jobs\n"
        "root, wanted = Path(sys.argv[1]), sys.argv[2:]\n"
        "cards = {p: c for p, c in read_cards(root).items() if str(p) in wanted}\n"
        "run_jobs([chapter_job(p, c, root) for p, c in cards.items()], [])"
    )
    notebooks = [str(checkout / "notebooks" / f"{stem}.ipynb") for stem in ("00_good", "03_good")]
    command = [sys.executable, "-c", program, str(checkout), *notebooks]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until((checkout / "00_good").exists, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and b"KeyboardInterrupt" in errors
    assert not (checkout / "03_good").exists()


def test_every_chapter_has_a_job(tmp_path):
    titles = [chapter_job(path, read_cards(ROOT)[path], tmp_path).title for path in COURSE]
    assert titles == sorted(titles) and all(" · " in title for title in titles)
