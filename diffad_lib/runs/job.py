"""One run of a sweep: `python -m diffad_lib.runs.job NAME THREADS`, in the folder of sweeps.

Snakemake starts it, on this machine or another one. It leaves a marker when the run is finished.
"""

import contextlib
import hashlib
import json
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from diffad_lib.errors import DiffadError, InUse, one_line, shown, shown_lines
from diffad_lib.files import drop_lock, json_object, take_lock, write_json, write_text
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.folder import occupied
from diffad_lib.runs.notebook import configured, is_complete, parameters, run
from diffad_lib.runs.record import Record

GPUS = "DIFFAD_SWEEP_GPUS"  # names of the GPUs that the jobs share, one a job; unset: all see all
_POLL = 1.0  # seconds between two looks at a lock


def job_name(config: RunConfig) -> str:
    """Of the files of a run in the folder of sweeps: plain ASCII, one for each configuration.

    Snakemake and a shell see this name and no other one of the run's.
    """
    parts = config.dataset, config.category, config.method, config.budget, f"seed{config.seed}"
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(parts)).strip("._-")[:100]
    told = json.dumps(parameters(config), sort_keys=True).encode()
    return f"{plain}-{hashlib.blake2b(told, digest_size=6).hexdigest()}"


def marker(folder: Path, name: str) -> Path:
    """The file that says that a run was finished by a sweep."""
    return folder / "done" / name


def log_of(folder: Path, name: str) -> Path:
    """What the attempts at a run printed."""
    return folder / "jobs" / f"{name}.log"


def error_of(folder: Path, name: str) -> Path:
    """Why the last attempt failed, in one line; absent if it did not, or if it was killed."""
    return folder / "jobs" / f"{name}.error"


def write_job(folder: Path, config: RunConfig) -> None:
    """Leave what `main` reads: the run, and from where the relative paths in its settings count."""
    told = {"place": str(Path.cwd()), "parameters": parameters(config)}
    write_json(folder / "jobs" / f"{job_name(config)}.json", told)


def main() -> None:
    """Do one job in the current folder; exit code 0 if its run is finished."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder, name, threads = Path.cwd(), sys.argv[1], int(sys.argv[2])
    failed = error_of(folder, name)
    failed.unlink(missing_ok=True)
    print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {name}, threads: {threads}")
    try:
        told = json_object(folder / "jobs" / f"{name}.json", "start the sweep again")
        _go_to(told["place"])
        record = run_when_free(configured(told["parameters"]), threads)
        write_text(marker(folder, name), f"{record.finished}\n")
    except DiffadError as error:
        write_text(failed, one_line(error) + "\n")
        sys.exit(f"error: {shown(error)}")
    except KeyboardInterrupt:
        write_text(failed, "interrupted; it goes on from its checkpoint\n")
        sys.exit(130)
    except Exception as error:
        problem = f"{type(error).__name__}: {one_line(error)}; an error of the program, see the log"
        write_text(failed, problem + "\n")
        sys.exit(shown_lines(traceback.format_exc()))


def _go_to(place: str) -> None:
    try:
        os.chdir(place)
    except OSError as error:
        told = f"{place}: {error.strerror}; the sweep was started there"
        raise DiffadError(f"{told}, start it again from a folder that is there") from error


def run_when_free(config: RunConfig, threads: int | None = None) -> Record:
    """`run`, as soon as no other process works in the run folder.

    A killed sweep leaves jobs that go on. What they finish is then not repeated. One GPU is held
    meanwhile if GPUS names some, but not while this waits for such a job, which has its own.
    """
    while True:
        _wait_for(config)
        with contextlib.suppress(InUse), own_gpu():
            return run(config, threads=threads)
        time.sleep(_POLL)


def _wait_for(config: RunConfig) -> None:
    """Return when no other process runs in the folder; tell of the wait, once."""
    told = False
    while config.run_folder.exists() and not is_complete(config.run_folder):
        try:
            with occupied(config.run_folder):
                return
        except InUse as error:
            if not told:
                print(shown(f"waiting: {error}"))
            told = True
            time.sleep(_POLL)


@contextlib.contextmanager
def own_gpu() -> Iterator[str | None]:
    """Hold one of the GPUs in GPUS and let this process and its kernel see no other one.

    Snakemake counts GPUs, but does not say which is free. The lock lies outside of any runs folder,
    so that two sweeps on a machine do not meet on a GPU.
    """
    names = [name for name in os.environ.get(GPUS, "").split(",") if name]
    if not names:
        yield None
        return
    name, handle = _free_gpu(names)
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    print(f"computes on GPU {name}")
    try:
        yield name
    finally:
        drop_lock(gpu_lock(name), handle)


def _free_gpu(names: Iterable[str]) -> tuple[str, int]:
    """The first one that no other job holds, and the handle of its lock."""
    while True:
        for name in names:
            with contextlib.suppress(InUse):
                return name, take_lock(gpu_lock(name), "another run computes on this GPU")
        time.sleep(_POLL)


def gpu_lock(name: str) -> Path:
    """The lock file of a GPU, one for each user of the machine."""
    plain = re.sub(r"[^\w-]+", "_", name)
    return Path(tempfile.gettempdir(), f"diffad_gpu_{os.getuid()}_{plain}.lock")


if __name__ == "__main__":
    main()
