"""Sweeps: which runs of a matrix are finished, and Snakemake, which starts the others."""

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from diffad_lib.checkpoint import checkpoint_step, checkpoints
from diffad_lib.errors import DiffadError, lacks, one_line, shown
from diffad_lib.files import drop_lock, take_lock, unwritable, write_json, write_text
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import foreground_folder, what_is_read
from diffad_lib.runs.device import cores, usable_gpus
from diffad_lib.runs.facts import import_path, project_root
from diffad_lib.runs.folder import check_same_settings
from diffad_lib.runs.job import GPUS, error_of, job_name, log_of, marker, write_job
from diffad_lib.runs.notebook import check_same_data, is_complete
from diffad_lib.runs.record import RECORD_NAME, Data, Record, read_record
from diffad_lib.runs.tables import add_row, plain_table

LOCAL = "local"
MOST_JOBS = 4  # at a time on a CPU, unless more are asked for; each takes up to 1 GB and more
FINISHED, GOES_ON, NEW, REFUSED = "finished", "goes on", "new", "refused"
_LOCK = ".lock"
_BUSY = "another sweep goes on in it; wait for its end, or: kill -INT -- -$(cat {}/snakemake.pid)"
_NOT_STARTED = "it was not started"
_KILLED = "it was killed, or its time was over; if memory was short, lower --jobs"
_POLL = 0.5  # seconds between two looks at the markers


@dataclass(frozen=True)
class Standing:
    """Where a run stands before a sweep: FINISHED, GOES_ON, NEW or REFUSED, and more on it."""

    config: RunConfig
    state: str
    note: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether a sweep has to run it."""
        return self.state in (NEW, GOES_ON)


def standings(configs: Sequence[RunConfig]) -> list[Standing]:
    """`standing` of each run; what several runs read is looked through once."""
    seen: dict[Any, Data] = {}

    def read(config: RunConfig) -> Data:
        options = config.data_root, config.textures, foreground_folder(config)
        key = config.dataset, config.category, *options
        if key not in seen:
            seen[key] = what_is_read(config)
        return seen[key]

    return [standing(config, read) for config in configs]


def standing(config: RunConfig, read: Callable[[RunConfig], Data] = what_is_read) -> Standing:
    """What a sweep would find in a run folder; decodes no image and starts nothing.

    REFUSED if it holds a run with other settings, or one that read other files.
    """
    folder = config.run_folder
    try:
        check_same_settings(config)
        if is_complete(folder):
            check_same_data(config, read_record(folder / RECORD_NAME), read)
            return Standing(config, FINISHED)
    except DiffadError as error:
        return Standing(config, REFUSED, str(error))
    if found := checkpoints(folder):
        step = checkpoint_step(folder)
        from_step = f"from step {step}" if step is not None else f"from {found[0].name}"
        return Standing(config, GOES_ON, from_step)
    return Standing(config, NEW)


def plan_table(standings: Sequence[Standing]) -> Table:
    """One row a run: what it is and where it stands."""
    table = plain_table()
    for heading in ("category", "method", "budget", "seed", "state"):
        table.add_column(heading)
    for one in standings:
        config = one.config
        place = f"{config.dataset}/{config.category}"
        state = f"{one.state} {one.note}".strip()
        add_row(table, (place, config.method, config.budget, str(config.seed), state))
    return table


def in_sum(standings: Sequence[Standing]) -> str:
    """How many runs stand where."""
    counts = Counter(one.state for one in standings)
    told = [f"{counts[state]} {name}" for state, name in _IN_WORDS.items() if counts[state]]
    return f"{_runs(len(standings))}: {', '.join(told)}"


_IN_WORDS = {
    FINISHED: "finished",
    GOES_ON: "from a checkpoint",
    NEW: "new",
    REFUSED: "refused, as their folders hold runs with other settings or other data",
}


def title(config: RunConfig) -> str:
    """A run in one line, for a person; variants and settings are the same for a whole sweep."""
    place = f"{config.dataset}/{config.category} {config.method}"
    return shown(f"{place} {config.budget} seed {config.seed}")


@dataclass(frozen=True)
class Outcome:
    """What came of a job of a sweep: its record, or why there is none."""

    config: RunConfig
    log: Path
    record: Record | None
    error: str = ""


@dataclass(frozen=True)
class _How:
    """How jobs share the machine: what the rule gets, options of Snakemake, their environment."""

    rule: dict[str, Any]
    options: list[str]
    environment: dict[str, str]


def _how(config: RunConfig, profile: str, at_a_time: int | None) -> _How:
    ours = project_root() / "workflow" / "profiles"
    folder = ours / profile if (ours / profile).is_dir() else Path(profile).absolute()
    if not (folder / "config.yaml").is_file():
        known = ", ".join(sorted(path.name for path in ours.iterdir()))
        raise DiffadError(f"--profile {profile}: {folder} has no config.yaml; ours are {known}")
    options = ["--profile", str(folder)]
    if folder != ours / LOCAL:
        options += ["--jobs", str(at_a_time)] if at_a_time else []
        return _How({"threads": 1, "resources": {}}, options, {})
    gpus, available = visible_gpus(config), cores()
    jobs = min(at_a_time or len(gpus) or MOST_JOBS, len(gpus) or available)
    threads = max(1, available // jobs)
    options += ["--cores", str(jobs * threads), "--resources", f"gpu={len(gpus)}"]
    resources = {"gpu": 1} if gpus else {}
    return _How({"threads": threads, "resources": resources}, options, {GPUS: ",".join(gpus)})


def visible_gpus(config: RunConfig) -> list[str]:
    """Names, as in CUDA_VISIBLE_DEVICES, of the GPUs that runs may use; none on another device."""
    count = usable_gpus() if config.training.device in ("auto", "cuda") else 0
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return [name.strip() for name in names][:count] if any(names) else [*map(str, range(count))]


def sweep_folder(runs_dir: Path) -> Path:
    """Where sweeps keep jobs, logs and markers: one folder for all of a runs folder."""
    return runs_dir / "sweep"


def sweep(
    configs: Sequence[RunConfig], profile: str = LOCAL, at_a_time: int | None = None
) -> list[Outcome]:
    """Let Snakemake start what is not finished, and wait for the end of it.

    profile: a folder of workflow/profiles/, or the path of another one. at_a_time: jobs (default:
    the GPUs, or up to MOST_JOBS on a CPU; with another profile what it says). DiffadError if
    Snakemake is not installed, another sweep of the runs folder goes on, or Snakemake itself fails.
    """
    if importlib.util.find_spec("snakemake") is None:
        raise lacks("a sweep (but not its --dry-run)", "Snakemake", "sweep")
    folder = sweep_folder(configs[0].runs_dir).absolute()
    how = _how(configs[0], profile, at_a_time)
    try:
        for name in ("jobs", "done"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder / _LOCK, _BUSY.format(shlex.quote(str(folder))))
    except OSError as error:
        raise unwritable(folder, error, "choose another --runs-dir") from error
    try:
        return _sweep(folder, {job_name(config): config for config in configs}, how, lock)
    finally:
        drop_lock(folder / _LOCK, lock)


def _sweep(folder: Path, jobs: Mapping[str, RunConfig], how: _How, lock: int) -> list[Outcome]:
    before = {name: _size(log_of(folder, name)) for name in jobs}
    for (name, config), one in zip(jobs.items(), standings([*jobs.values()]), strict=True):
        write_job(folder, config)
        error_of(folder, name).unlink(missing_ok=True)
        # It was removed or put aside since, or its data changed: then the job tells which file.
        if one.state != FINISHED:
            marker(folder, name).unlink(missing_ok=True)
    write_json(folder / "sweep.json", {"jobs": [*jobs], **how.rule})
    code = _snakemake(folder, jobs, how, lock)
    outcomes = [_outcome(folder, name, config, before[name]) for name, config in jobs.items()]
    if code and all(one.error == _NOT_STARTED for one in outcomes if one.error):
        log = _snakemake_log(folder)
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no message")
        raise DiffadError(f"Snakemake ended with code {code}: {one_line(last)}; see {log}")
    return outcomes


def _snakemake_log(folder: Path) -> Path:
    return folder / "snakemake.log"


def _snakemake(folder: Path, jobs: Mapping[str, RunConfig], how: _How, lock: int) -> int:
    """Run Snakemake and tell of every job that ends; its exit code.

    It holds our lock too, so that a second one cannot start while this one outlives its command.
    An interrupt ends it and all jobs, which can go on from their checkpoints.
    """
    command = [sys.executable, "-P", "-m", "snakemake", "--nolock", "--directory", str(folder)]
    command += ["--snakefile", str(project_root() / "workflow" / "Snakefile"), *how.options]
    environment = os.environ | how.environment | {"PYTHONPATH": import_path()}
    # A script that starts us with & has it ignored, and so would have Snakemake and the jobs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with (
        _snakemake_log(folder).open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            process_group=0, pass_fds=[lock],
        ) as process,
    ):  # fmt: skip
        try:
            write_text(folder / "snakemake.pid", f"{process.pid}\n")
            _tell(folder, jobs, process)
        except BaseException:
            print("ending all jobs; the same command goes on from their checkpoints", flush=True)
            os.killpg(process.pid, signal.SIGINT)
            process.wait()
            raise
        return process.returncode


def _tell(folder: Path, jobs: Mapping[str, RunConfig], process: subprocess.Popen) -> None:
    """Print a line for each job that ends or fails, until Snakemake ends."""
    done = {name for name in jobs if marker(folder, name).exists()}
    failed: set[str] = set()
    while True:
        is_over = process.poll() is not None
        for name in [name for name in jobs if name not in done]:
            if marker(folder, name).exists():
                done.add(name)
                print(f"[{len(done)}/{len(jobs)}] {title(jobs[name])}: finished", flush=True)
            elif name not in failed and error_of(folder, name).exists():
                failed.add(name)
                print(f"{title(jobs[name])}: failed, see the end", flush=True)
        if is_over:
            return
        time.sleep(_POLL)


def _outcome(folder: Path, name: str, config: RunConfig, log_size: int) -> Outcome:
    """log_size: of its log before the sweep."""
    log, failed = log_of(folder, name), error_of(folder, name)
    try:
        if marker(folder, name).exists():
            return Outcome(config, log, read_record(config.run_folder / RECORD_NAME))
    except DiffadError as error:
        return Outcome(config, log, None, str(error))
    if failed.exists():
        return Outcome(config, log, None, one_line(failed.read_text(encoding="utf-8")))
    if _size(log) > log_size:
        return Outcome(config, log, None, _KILLED)
    return Outcome(config, _snakemake_log(folder), None, _NOT_STARTED)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
