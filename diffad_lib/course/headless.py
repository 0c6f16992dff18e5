"""`diffad course`: the mini data, every chapter, every method on two categories, one page."""

import io
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from diffad_lib.course.chapters import Card, label, read_cards
from diffad_lib.course.pages import failure, first_picture, write_notebook_page
from diffad_lib.course.summary import JobResult, write_summary
from diffad_lib.errors import DiffadError, shown, shown_lines
from diffad_lib.mini import find_category, make_mini
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import MINI_ROOT
from diffad_lib.runs.device import cores
from diffad_lib.runs.facts import project_root
from diffad_lib.runs.folder import occupied
from diffad_lib.runs.notebook import RUN_NOTEBOOK, execute, executed_notebook, failed_notebook, run
from diffad_lib.runs.record import Record
from diffad_lib.runs.tables import metrics_table

CATEGORIES = ("weave", "bracket")  # of the mini data: a texture and an object
METHODS = ("autoencoder", "draem", "diffusionad")
MOST_WORKERS = 4  # notebooks at a time; each takes up to 1 GB of memory


@dataclass(frozen=True)
class Job:
    """A notebook to execute: `output` is where it lies afterwards, `page` its web page."""

    title: str
    output: Path
    page: Path
    execute: Callable[[], Record | None]  # gives the record if it is a run


def run_course(runs_dir: Path) -> None:
    """Run the whole course headless, and leave `runs_dir`/course/index.html.

    That is every chapter, then notebook 08 for every method on two categories; a run that is
    complete is not repeated. A notebook that fails does not keep the others from running.

    Raises DiffadError that names the notebooks that failed; the page then has their tracebacks.
    """
    started = time.monotonic()
    print(f"mini data: {MINI_ROOT}", flush=True)
    make_mini(MINI_ROOT)
    folder = runs_dir / "course"
    cards = read_cards(project_root())
    chapters = {path: card for path, card in cards.items() if path.name != RUN_NOTEBOOK}
    configs = [
        build_config(find_category(name).dataset, name, method, runs_dir=runs_dir)
        for name in CATEGORIES
        for method in METHODS
    ]
    # Small networks gain little from a second core: a notebook on each is faster.
    workers = min(MOST_WORKERS, cores())
    threads = cores() // workers
    jobs = [
        *(chapter_job(path, card, folder, threads) for path, card in chapters.items()),
        *(run_job(config, folder, threads) for config in configs),
    ]
    page = folder / "index.html"
    with occupied(folder):
        outcomes = run_jobs(jobs, [path.stem for path in chapters], workers)
        write_summary(page, outcomes)
    Console().print(metrics_table(o.record for o in outcomes if o.record))
    print(f"{time.monotonic() - started:.0f} s in all; the page with everything: {page}")
    if failed := [outcome.title for outcome in outcomes if outcome.error]:
        raise DiffadError(f"failed: {', '.join(failed)}; see {page}")


def chapter_job(notebook: Path, card: Card, folder: Path, threads: int | None = None) -> Job:
    """Executes a chapter of the course with its own parameters; threads: see `execute`."""
    output = folder / notebook.name
    return Job(
        label(notebook, card),
        output,
        output.with_suffix(".html"),
        lambda: execute(notebook, output, {}, io.StringIO(), threads),
    )


def run_job(config: RunConfig, folder: Path, threads: int | None = None) -> Job:
    """Executes notebook 08 for a configuration; threads: see `execute`."""
    return Job(
        f"08 · {config.dataset}/{config.category} {config.method}",
        executed_notebook(config.run_folder),
        folder / f"08_{config.dataset}_{config.category}_{config.method}.html",
        lambda: run(config, io.StringIO(), threads=threads),
    )


def run_jobs(jobs: Iterable[Job], linked: Iterable[str], workers: int = 1) -> list[JobResult]:
    """Execute the jobs, `workers` at a time, with a line before and after each.

    The outcomes are in the order of the jobs. An interrupt ends the kernels of those that run.
    """
    started = time.monotonic()
    jobs, linked, finished = list(jobs), list(linked), []

    def say(text: str) -> None:
        print(text + "\n", end="", flush=True)  # at once, or the lines of two threads mix

    def done(number: int, job: Job) -> JobResult:
        place = f"[{number}/{len(jobs)}] {job.title}"
        say(f"{place} ...")
        outcome = _outcome(job, linked)
        finished.append(job)
        if outcome.error:
            say(f"{place}: FAILED: {shown(outcome.error)}\n{shown_lines(outcome.details)}")
        else:
            left = (time.monotonic() - started) / len(finished) * (len(jobs) - len(finished))
            say(f"{place}: {outcome.seconds:.0f} s; about {left:.0f} s left")
        return outcome

    with ThreadPoolExecutor(workers) as threads:
        outcomes = threads.map(done, range(1, len(jobs) + 1), jobs)
        try:
            return list(outcomes)
        except KeyboardInterrupt:
            for kernel in psutil.Process().children(recursive=True):
                kernel.kill()
            raise


def _outcome(job: Job, linked: list[str]) -> JobResult:
    """What came of a job; an error of the program is told too, so that the others still run."""
    started = time.monotonic()
    before = {path: _changed(path) for path in (job.output, failed_notebook(job.output))}
    record, error, details = _attempt(job.execute)
    seconds = time.monotonic() - started
    notebook = failed_notebook(job.output) if error else job.output
    picture = None
    if notebook.exists():
        executed = _changed(notebook) != before[notebook]  # now, and not by somebody else
        seen, page_error, page_details = _attempt(lambda: _page(job, notebook, linked, executed))
        failed_cell, picture = seen or ("", None)
        error, details = error or page_error, details or failed_cell or page_details
    return JobResult(job.title, job.page, picture, seconds, record, error, details)


def _page(job: Job, notebook: Path, linked: list[str], executed: bool) -> tuple[str, str | None]:
    """Write the web page; the cell that failed and the first picture."""
    write_notebook_page(notebook, job.page, linked, trusted=executed)
    return failure(notebook), first_picture(notebook)


def _attempt(act: Callable[[], Any]) -> tuple[Any, str, str]:
    """What a call gives, or None, why it failed and a traceback: the other notebooks still run."""
    try:
        return act(), "", ""
    except DiffadError as problem:
        return None, str(problem), ""
    except Exception as problem:
        told = f"{type(problem).__name__}: {problem}; that is an error of the program"
        return None, f"{told}: please report it", traceback.format_exc()


def _changed(path: Path) -> int | None:
    """When a file was written, in ns; None if it is absent."""
    return path.stat().st_mtime_ns if path.exists() else None
