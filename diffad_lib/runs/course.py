"""`diffad course`: the mini data, every chapter, every method on two categories, one page."""

import io
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from rich.console import Console

from diffad_lib.datasets.mini import make_mini
from diffad_lib.errors import DiffadError
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import MINI_ROOT
from diffad_lib.runs.notebook import execute, failed_notebook, run
from diffad_lib.runs.page import failure, first_picture, write_notebook_page
from diffad_lib.runs.record import project_root
from diffad_lib.runs.summary import Outcome, metrics_table, write_summary

CATEGORIES = (("mvtec", "weave"), ("mpdd", "bracket"))  # a texture and an object
METHODS = ("autoencoder", "draem", "diffusionad")


@dataclass(frozen=True)
class Job:
    """A notebook to execute: `output` is where it lies afterwards, `page` its web page."""

    title: str
    output: Path
    page: Path
    execute: Callable[[], dict[str, Any] | None]  # gives the record if it is a run


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
    chapters = sorted((project_root() / "notebooks").glob("0[0-7]_*.ipynb"))
    configs = [
        build_config(*category, method, runs_dir=runs_dir)
        for category in CATEGORIES
        for method in METHODS
    ]
    jobs = [
        *(chapter_job(path, folder) for path in chapters),
        *(run_job(config, folder) for config in configs),
    ]
    outcomes = list(run_jobs(jobs, [path.stem for path in chapters]))
    page = folder / "index.html"
    write_summary(page, outcomes)
    Console().print(metrics_table(o.record for o in outcomes if o.record))
    print(f"{time.monotonic() - started:.0f} s in all; the page with everything: {page}")
    if failed := [outcome.title for outcome in outcomes if outcome.error]:
        raise DiffadError(f"failed: {', '.join(failed)}; see {page}")


def chapter_job(notebook: Path, folder: Path) -> Job:
    """Executes a chapter of the course with its own parameters."""
    card = nbformat.read(notebook, as_version=4).metadata.diffad
    output = folder / notebook.name
    return Job(
        f"{notebook.name[:2]} · {card.title}",
        output,
        output.with_suffix(".html"),
        lambda: execute(notebook, output, {}, io.StringIO()),
    )


def run_job(config: RunConfig, folder: Path) -> Job:
    """Executes notebook 08 for a configuration."""
    return Job(
        f"08 · {config.dataset}/{config.category} {config.method}",
        config.run_folder / "notebook.ipynb",
        folder / f"08_{config.dataset}_{config.category}_{config.method}.html",
        lambda: run(config, io.StringIO()),
    )


def run_jobs(jobs: Iterable[Job], linked: Iterable[str]) -> Iterator[Outcome]:
    """Execute the jobs in order, with a line before and after each."""
    started = time.monotonic()
    jobs, linked = list(jobs), list(linked)
    for number, job in enumerate(jobs, start=1):
        place = f"[{number}/{len(jobs)}] {job.title}"
        print(f"{place} ...", flush=True)
        before = time.monotonic()
        record, error = None, ""
        try:
            record = job.execute()
        except DiffadError as problem:
            error = str(problem)
        seconds = time.monotonic() - before
        left = (time.monotonic() - started) / number * (len(jobs) - number)
        notebook = failed_notebook(job.output) if error else job.output
        details, picture = "", None
        if notebook.exists():
            write_notebook_page(notebook, job.page, linked)
            details, picture = failure(notebook), first_picture(notebook)
        if error:
            print(f"{place}: FAILED: {error}\n{details}", flush=True)
        else:
            print(f"{place}: {seconds:.0f} s; about {left:.0f} s left", flush=True)
        yield Outcome(job.title, job.page, picture, seconds, record, error, details)
