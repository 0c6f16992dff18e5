"""A real sweep: four runs killed at three moments, then started with a broken category beside."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import layout_factory as factory
from course_files import ROOT
from diffad_lib.checkpoint import CHECKPOINT_NAME
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.job import job_name, log_of, marker
from diffad_lib.runs.matrix import LISTS, matrix
from diffad_lib.runs.record import read_record
from diffad_lib.runs.sweep import FINISHED, GOES_ON, standing, sweep_folder
from small import KILLABLE_STEPS, SHORT_RUN, run_here
from started import DIFFAD, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("sweep"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(not importlib.util.find_spec("snakemake"), reason="no Snakemake"),
]

ODD = "큰 {병}; touch hacked"
FINE, BROKEN = ("bottle", ODD), "cable"
SECONDS = 400  # at most, for what takes 25 s on an idle machine
SETTINGS = {**SHORT_RUN, "steps": KILLABLE_STEPS}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place whose name a shell, a format string and a terminal may take otherwise."""
    root = tmp_path_factory.mktemp("sweep") / "한 {x} $(touch hacked) 'q"
    for category in FINE:
        factory.make_mvtec(root / "data", category)
    (root / "place").mkdir()
    return root


def configs_of(root: Path, runs: str) -> list[RunConfig]:
    lists = (["mvtec"], ["all"], ["autoencoder"], ["mini"], ["0", "1"])
    given = dict(zip(LISTS, lists, strict=True))
    places = {"data_root": root / "data", "runs_dir": root / runs}
    return matrix(given, overrides=SETTINGS, **places)


def start(root: Path, *more: str) -> subprocess.Popen:
    """`diffad sweep` with two jobs at a time on one thread each, whatever machine this is."""
    line = [
        *(*DIFFAD, "sweep"),
        *("--dataset", "mvtec", "--category", "all", "--method", "autoencoder", "--seed", "0,1"),
        *("--data-root", str(root / "data"), "--runs-dir", str(root / "runs"), "--jobs", "2"),
        *(part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")),
        *more,
    ]
    own = {"OMP_NUM_THREADS": "1", "DIFFAD_CACHE": str(root / "cache")}
    return subprocess.Popen(
        line,
        cwd=root / "place",
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(root: Path) -> Iterator[psutil.Process]:
    """Snakemake and all that came of it, also of a sweep that was killed before."""
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):  # it has ended, or is somebody else's
            continue
        if environment.get("DIFFAD_CACHE") == str(root / "cache"):
            yield process


def kill(root: Path, process: subprocess.Popen, which: Callable[[psutil.Process], bool]) -> None:
    """Kill a sweep and those of `processes_of` that are meant, also those that start meanwhile."""
    process.kill()
    process.communicate()
    while victims := [*filter(which, processes_of(root))]:
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        psutil.wait_procs(victims, timeout=20)


def every(process: psutil.Process) -> bool:
    return True


def is_snakemake(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):  # it has ended since
        return "snakemake" in process.cmdline()
    return False


@pytest.fixture(scope="module")
def survived(root: Path) -> SimpleNamespace:
    """The sweep killed three times and started a fourth time: what that one told, and more.

    Only that one finds the broken category, which costs every start two jobs that are tried again.
    """
    folder, configs = sweep_folder(root / "runs"), configs_of(root, "runs")

    process = start(root)  # killed with all jobs, as soon as one has started
    until(lambda: [*folder.glob("jobs/*.log")], process, SECONDS)
    kill(root, process, every)
    assert not [*folder.glob("done/*")]

    process = start(root)  # killed with all jobs while they train
    until(lambda: [*(root / "runs").rglob(CHECKPOINT_NAME)], process, SECONDS)
    kill(root, process, every)
    assert GOES_ON in {standing(config).state for config in configs}

    process = start(root)  # killed without its jobs when the first run is finished
    until(lambda: [*folder.glob("done/*")], process, SECONDS)
    kill(root, process, is_snakemake)
    finished = [one for one in configs if marker(folder, job_name(one)).exists()]
    before = {one: (one.run_folder / "record.json").stat().st_mtime_ns for one in finished}
    broken = factory.make_mvtec(root / "data", BROKEN)
    (broken / "ground_truth" / "crack" / "001_mask.png").unlink()
    output, errors = start(root).communicate(timeout=600)
    return SimpleNamespace(folder=folder, before=before, output=output, errors=errors)


def test_a_sweep_that_is_killed_ends_as_one_that_is_not(
    root: Path, survived: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs, before = configs_of(root, "runs"), survived.before
    fine = [config for config in configs if config.category != BROKEN]
    assert (len(configs), len(fine)) == (6, 4) and before
    assert {standing(config).state for config in fine} == {FINISHED}
    assert {one: (one.run_folder / "record.json").stat().st_mtime_ns for one in before} == before
    logs = [log_of(survived.folder, job_name(config)).read_text() for config in fine]
    assert [text.count("record.json written") for text in logs] == [1] * 4  # nothing twice
    assert any(read_record(one.run_folder / "record.json").training.resumed_from for one in fine)

    monkeypatch.setenv("DIFFAD_CACHE", str(root / "cache"))
    for config, unbroken in zip(configs, configs_of(root, "unbroken"), strict=True):
        if config.category == BROKEN:
            continue
        expected, found = run_here(unbroken), read_record(config.run_folder / "record.json")
        assert found.images == expected.images and found.metrics == expected.metrics
        assert found.data == expected.data and found.resumed_under == []
        assert found.training.steps == expected.training.steps == 200
        first, second = (one.run_folder / "detector.safetensors" for one in (config, unbroken))
        assert first.read_bytes() == second.read_bytes()


def test_a_broken_category_does_not_stop_the_others_and_is_told(
    root: Path, survived: SimpleNamespace
) -> None:
    assert survived.errors == "error: 2 of 6 runs failed; see the lines above\n"
    failed = [line for line in survived.output.splitlines() if "FAILED" in line]
    assert len(failed) == 2
    for line in failed:
        assert line.startswith(f"mvtec/{BROKEN} autoencoder mini seed ") and "001_mask" in line
        assert Path(line.split("; log: ")[1]).exists()
    assert "4 of 6 runs are finished" in (survived.folder / "index.html").read_text()
    assert not [*root.rglob("hacked")] and not [*(root / "place").iterdir()]


def test_a_sweep_that_is_interrupted_ends_its_jobs_and_one_that_is_complete_starts_none(
    root: Path, survived: SimpleNamespace
) -> None:
    shutil.rmtree(root / "data" / "mvtec" / BROKEN)
    folder = survived.folder
    victim = configs_of(root, "runs")[0]
    shutil.rmtree(victim.run_folder)
    logs = {path: path.read_text() for path in folder.glob("jobs/*.log")}
    process = start(root)
    until(lambda: (victim.run_folder / CHECKPOINT_NAME).exists(), process, SECONDS)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0 and "ending all jobs" in output
    assert [*processes_of(root)] == [] and standing(victim).state == GOES_ON
    assert "interrupted" in (folder / "jobs" / f"{job_name(victim)}.error").read_text()
    process = start(root)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0 and errors == ""
    assert "4 runs: 3 finished, 1 from a checkpoint" in output and output.count("[") == 1
    log = folder / "jobs" / f"{job_name(victim)}.log"
    assert "resumed from step" in log.read_text()
    assert {path: path.read_text() for path in logs if path != log} == {
        path: text for path, text in logs.items() if path != log
    }


def test_snakemake_reads_the_profile_for_slurm(root: Path) -> None:
    """Its own dry run needs no sbatch; without the plug-in all but the executor is checked."""
    folder = root / "slurm"
    folder.mkdir()
    content = '{"jobs": ["a-1", "b-2"], "threads": 1, "resources": {}}'
    (folder / "sweep.json").write_text(content)
    has_plugin = importlib.util.find_spec("snakemake_executor_plugin_slurm")
    line = [sys.executable, "-m", "snakemake", "--dry-run", "--directory", str(folder)]
    line += ["--snakefile", str(ROOT / "workflow" / "Snakefile")]
    line += ["--profile", str(ROOT / "workflow" / "profiles" / "slurm")]
    line += ["--cores", "8"]  # or it scales the threads down to this machine
    line += [] if has_plugin else ["--executor", "local"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    assert "gpu=1" in told and "runtime=1440" in told and "mem_mb=32000" in told
    assert "threads: 4" in told and "a-1" in told
