"""A sweep: the matrix of its runs, where each stands, and how jobs share folders and GPUs."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from papermill.exceptions import PapermillExecutionError

import layout_factory as factory
from diffad_lib.checkpoint import CHECKPOINT_NAME, checkpoint_step, save_checkpoint
from diffad_lib.datasets.catalog import find_dataset
from diffad_lib.errors import DiffadError, InUse
from diffad_lib.files import exclusive
from diffad_lib.runs import job, notebook, sweep
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import what_is_read
from diffad_lib.runs.folder import settings_of
from diffad_lib.runs.job import GPUS, job_name, own_gpu, run_when_free
from diffad_lib.runs.matrix import LISTS, absent, matrix
from diffad_lib.runs.notebook import configured, parameters
from diffad_lib.runs.record import Data, Record, read_record, write_record
from diffad_lib.runs.sweep import FINISHED, GOES_ON, NEW, REFUSED, Outcome, standing
from diffad_lib.runs.sweep_page import write_sweep_page
from started import Command, until

ODD = "큰 {병}, $(touch x) `y` <b>"
LOCKED = "is locked: another process runs a notebook"
METHODS = ["autoencoder", "diffusionad", "draem"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two datasets with two categories each, one of them in both."""
    root = tmp_path / "data"
    for category in ("bottle", ODD):
        factory.make_mvtec(root, category)
    for category in ("bottle", "metal_plate"):
        factory.make_mpdd(root, category)
    return root


def places(data: Path, dataset: str, category: str, method: str = "draem", **options) -> list[str]:
    given = {"budget": ["mini"], "seed": ["0"], "dataset": [dataset], "category": [category]}
    configs = matrix(given | {"method": [method]}, data_root=data, **options)
    return [f"{one.dataset}/{one.category}" for one in configs]


def test_all_is_what_is_there(data: Path) -> None:
    found = places(data, "all", "all")
    assert sorted(found) == sorted(
        ["mpdd/bottle", "mpdd/metal_plate", "mvtec/bottle", f"mvtec/{ODD}"]
    )


def test_a_category_is_taken_with_every_dataset_that_has_it(data: Path) -> None:
    assert places(data, "mvtec,mpdd", "bottle,metal_plate") == [
        "mvtec/bottle", "mpdd/bottle", "mpdd/metal_plate"
    ]  # fmt: skip


def test_a_name_with_a_comma_is_one_category_and_its_unicode_form_does_not_matter(
    data: Path,
) -> None:
    assert places(data, "mvtec", ODD) == [f"mvtec/{ODD}"]
    apart = unicodedata.normalize("NFD", ODD.split(",")[0]) + "," + ODD.split(",", 1)[1]
    (data / "mvtec" / ODD).rename(data / "mvtec" / apart)
    for given in (ODD, apart):
        assert places(data, "mvtec", given) == [f"mvtec/{ODD}"]
    assert places(data, "mvtec", "all") == ["mvtec/bottle", f"mvtec/{ODD}"]


def test_every_combination_is_there_once_and_the_first_seed_comes_first(data: Path) -> None:
    lists = (["mvtec"], ["bottle", "bottle"], ["all"], ["mini,laptop"], ["0,1", "0"])
    configs = matrix(dict(zip(LISTS, lists, strict=True)), overrides={"steps": 7}, data_root=data)
    found = [(one.seed, one.budget, one.method) for one in configs]
    expected = [(s, b, m) for s in (0, 1) for b in ("mini", "laptop") for m in METHODS]
    assert found == expected
    assert {one.training.steps for one in configs} == {7}
    assert len({one.run_folder for one in configs}) == len({*map(job_name, configs)}) == 12


def test_the_mini_data_are_made_where_no_data_are_given(
    monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    made = []
    monkeypatch.setattr("diffad_lib.runs.data.make_mini", made.append)
    monkeypatch.setattr("diffad_lib.runs.data.MINI_ROOT", data)
    given = {name: ["all"] for name in LISTS} | {"seed": ["3"], "budget": ["mini"]}
    assert len(matrix(given)) == 4 * len(METHODS) and made == [data]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"dataset": ["mvtek"]}, ['--dataset "mvtek"', 'did you mean "mvtec"?']),
        ({"dataset": ["visa"]}, ['no folder "visa"']),
        ({"category": ["botle"]}, ['--category "botle"', 'did you mean "bottle"?']),
        ({"category": ["all", "bottle"]}, ["--category all", "no other"]),
        ({"category": [","]}, ["--category is empty"]),
        ({"method": ["draem,dream"]}, ['--method "dream"']),
        ({"budget": ["labtop"]}, ["--budget", 'did you mean "laptop"?']),
        ({"seed": ["0,one"]}, ['--seed "one"']),
        ({"seed": ["all"]}, ["--seed all"]),
        ({"seed": ["-1"]}, ["seed: "]),
    ],
)
def test_a_value_that_is_not_there_is_named_before_anything_starts(
    data: Path, changes: dict, parts: list[str]
) -> None:
    given = {
        "dataset": ["mvtec"], "category": ["all"], "method": ["draem"], "budget": ["mini"],
        "seed": ["0"],
    }  # fmt: skip
    with pytest.raises(DiffadError) as error:
        matrix(given | changes, data_root=data)
    for part in parts:
        assert part in str(error.value)


def test_a_setting_that_one_of_the_methods_lacks_is_an_error(data: Path) -> None:
    with pytest.raises(DiffadError, match="no setting of method autoencoder"):
        places(data, "mvtec", "bottle", "all", overrides={"segmentation_width": 4})


def test_official_categories_that_are_absent_are_told(data: Path) -> None:
    configs = [build_config("mvtec", "bottle", "draem", data_root=data)] * 2
    (line,) = absent(configs)
    official = len(find_dataset("mvtec").categories)
    assert line.startswith(f"mvtec: {official - 1} of {official} official") and "zipper" in line
    assert absent([build_config("mvtec", "weave", "draem")]) == []


def config_of(root: Path, category: str = "bottle", **options) -> RunConfig:
    given = {"overrides": {"steps": 3, "device": "cpu"}, "data_root": root / "data"}
    return build_config("mvtec", category, "draem", **given | {"runs_dir": root / "runs"} | options)


def finish(config: RunConfig, data: Data | None = None) -> None:
    """Leave the record of a finished run."""
    seconds = {"train": 1.0, "total": 2.0}
    metrics = {"image_auroc": {"value": 0.5, "low": 0.25, "high": 0.75}}
    told = {"seconds": seconds, "metrics": metrics, "finished": "today", "data": data}
    record = Record(config=settings_of(config), **told)
    config.run_folder.mkdir(parents=True, exist_ok=True)
    write_record(config.run_folder / "record.json", record)


def test_a_job_is_named_in_plain_ascii_and_by_all_that_it_is(tmp_path: Path) -> None:
    config = config_of(tmp_path, ODD * 6)
    name = job_name(config)
    assert name.isascii() and not {*" {}$`/<>,;&"} & {*name} and len(name) < 130
    assert job_name(config_of(tmp_path, ODD * 6)) == name
    others = [{"seed": 1}, {"data_root": tmp_path}, {"overrides": {"steps": 4, "device": "cpu"}}]
    names = {job_name(config_of(tmp_path, ODD * 6, **one)) for one in others}
    assert len(names | {name}) == 4


def test_a_configuration_comes_back_from_its_job(tmp_path: Path) -> None:
    """Also settings that JSON and a shell would change."""
    overrides = {"lr_schedule": "cosine", "checkpoint_seconds": 0.5, "foreground_folder": ODD}
    config = config_of(tmp_path, ODD, overrides=overrides, max_train_seconds=3)
    job.write_job(tmp_path, config)
    path = tmp_path / "jobs" / f"{job_name(config)}.json"
    told = json.loads(path.read_text())["parameters"]
    assert settings_of(configured(told)) == settings_of(config)
    assert parameters(configured(parameters(config))) == parameters(config)


def test_relative_folders_of_a_job_count_from_where_its_sweep_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, folder, found = tmp_path / "place", tmp_path / "sweep", []
    place.mkdir()
    config = config_of(tmp_path, overrides={"foreground_folder": "masks"})

    def run(config: RunConfig, threads: int) -> SimpleNamespace:
        found.append(config.synthesis.foreground_folder.absolute())
        return SimpleNamespace(finished="today")

    monkeypatch.setattr(job, "run", run)
    monkeypatch.setattr(job.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["job", job_name(config), "1"])
    for start in (tmp_path, place):  # the sweep that was started last counts
        monkeypatch.chdir(start)
        job.write_job(folder, config)
        monkeypatch.chdir(folder)
        job.main()
        assert Path.cwd() == start and job.marker(folder, job_name(config)).is_file()
    assert found == [tmp_path / "masks", place / "masks"]
    monkeypatch.chdir(folder)
    place.rmdir()
    with pytest.raises(SystemExit, match=r"No such file.*; the sweep was started there, start"):
        job.main()


def test_where_a_run_stands(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert standing(config) == sweep.Standing(config, NEW)
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "config.json").write_text(json.dumps(settings_of(config)))
    assert standing(config).state == NEW  # it had begun, but has no checkpoint
    save_checkpoint(config.run_folder, {"state": {"step": 7}, "weights": torch.zeros(3)})
    assert standing(config) == sweep.Standing(config, GOES_ON, "from step 7")
    other = config_of(tmp_path, data_root=tmp_path)
    assert standing(other).state == REFUSED and "another data_root" in standing(other).note
    finish(config)
    assert standing(config) == sweep.Standing(config, FINISHED)
    partial = config.run_folder / ".notebook.ipynb.partial.ipynb"
    partial.touch()  # killed between the record and the end of the notebook
    assert standing(config).state == GOES_ON


def test_the_step_of_a_checkpoint_that_is_damaged_is_that_of_the_older_one(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, {"state": {"step": step}})
    assert checkpoint_step(tmp_path) == 2
    (tmp_path / CHECKPOINT_NAME).write_bytes(b"PK")
    assert checkpoint_step(tmp_path) == 1
    (tmp_path / "checkpoint.older.pt").write_bytes(b"")
    assert checkpoint_step(tmp_path) is None


def command(root: Path, *more: str) -> list[str]:
    return [
        "sweep", "--dataset", "mvtec", "--category", "all", "--method", "draem",
        "--seed", "0,1", "--data-root", str(root / "data"), "--runs-dir", str(root / "runs"),
        "--set", "steps=3", "--set", "device=cpu", *more,
    ]  # fmt: skip


def no_process(*arguments: object, **options: object) -> None:
    raise AssertionError("a process was started")


@pytest.mark.slow
def test_a_dry_run_starts_nothing_and_needs_no_snakemake(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diffad: Command
) -> None:
    monkeypatch.setattr(subprocess, "Popen", no_process)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    finish(config_of(tmp_path))
    before = sorted(tmp_path.rglob("*"))
    code, told, _ = diffad(*command(tmp_path, "--dry-run", "--device-tflops", "1"))
    assert code == 0 and "note: budget mini is for the drawn data" in told
    assert "4 runs: 1 finished, 3 new" in told and "13 of 15 official" not in told
    lines = [line for line in told.splitlines() if line.startswith("mvtec/")]
    lines, costs = lines[:4], lines[4:]  # of the three that are missing
    assert sorted(line.split()[-6] for line in costs) == ["1", "2"] and "in sum" in told
    states = [line.split()[-1] for line in lines]
    assert states == ["finished", "new", "new", "new"] and ODD in lines[1]
    assert sorted(tmp_path.rglob("*")) == before


def test_without_snakemake_one_line_tells_how_to_install_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diffad: Command
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told = diffad(*command(tmp_path))
    (line,) = told.err.splitlines()
    assert told.code == 1
    assert line.startswith("error: ") and "pip install -e '.[sweep]'" in line
    assert not (tmp_path / "runs").exists()


def test_a_second_sweep_of_a_runs_folder_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("snakemake")
    folder = tmp_path / "runs" / "sweep"
    folder.mkdir(parents=True)
    with (
        exclusive(folder / ".lock", "x"),
        pytest.raises(InUse, match=r"another sweep goes on .* kill -INT -- -\$\(cat "),
    ):
        sweep.sweep([config_of(tmp_path)])


def test_a_marker_goes_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folder that somebody removed is run again; one that is there is not."""
    pytest.importorskip("snakemake")
    there, gone = config_of(tmp_path), config_of(tmp_path, seed=1)
    finish(there)
    folder = sweep.sweep_folder(tmp_path / "runs")
    (folder / "done").mkdir(parents=True)
    for config in (there, gone):
        (folder / "done" / job_name(config)).touch()
    monkeypatch.setattr(sweep, "_snakemake", lambda *_: 0)
    first, second = sweep.sweep([there, gone])
    assert first.record == read_record(there.run_folder / "record.json") and not first.error
    assert second.record is None and second.error == "it was not started"


def test_a_finished_run_whose_data_changed_is_refused_by_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job is started, as that tells it; the old figures are not given for those of today."""
    pytest.importorskip("snakemake")
    images = factory.make_mvtec(tmp_path / "data") / "train" / "good"
    config = config_of(tmp_path)
    finish(config, what_is_read(config))
    made = sweep.sweep_folder(tmp_path / "runs") / "done" / job_name(config)
    made.parent.mkdir(parents=True)
    made.touch()
    monkeypatch.setattr(sweep, "_snakemake", lambda *_: 0)
    assert standing(config).state == FINISHED and not sweep.sweep([config])[0].error
    factory.write_noise(images / "000.png", seed=99)
    assert standing(config).state == REFUSED
    assert "finished on today with other data: train: 000.png is another" in standing(config).note
    assert sweep.sweep([config])[0].record is None and not made.exists()
    with pytest.raises(DiffadError, match=r"000\.png is another file.*--again"):
        notebook.check_same_data(config, read_record(config.run_folder / "record.json"))


def test_what_several_runs_read_is_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory.make_mvtec(tmp_path / "data")
    configs, seen = [config_of(tmp_path, seed=seed) for seed in range(3)], []
    data = what_is_read(configs[0])
    for config in configs:
        finish(config, data)
    monkeypatch.setattr(sweep, "what_is_read", lambda config: seen.append(config) or data)
    assert [one.state for one in sweep.standings(configs)] == [FINISHED] * 3
    assert seen == configs[:1]


def test_snakemake_that_fails_itself_is_told_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("snakemake")

    def fail(folder: Path, *_: object) -> int:
        (folder / "snakemake.log").write_text("usage\nerror: no such executor\n\n")
        return 2

    monkeypatch.setattr(sweep, "_snakemake", fail)
    with pytest.raises(DiffadError, match=r"ended with code 2: error: no such executor; see "):
        sweep.sweep([config_of(tmp_path)])


def test_a_job_that_ends_without_a_word_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("snakemake")
    config = config_of(tmp_path)

    def die(folder: Path, *_: object) -> int:
        job.log_of(folder, job_name(config)).write_text("--- started\n")
        return 1

    monkeypatch.setattr(sweep, "_snakemake", die)
    (outcome,) = sweep.sweep([config])
    assert "was killed" in outcome.error and outcome.log.exists()


@pytest.mark.parametrize(
    ("visible", "count", "device", "expected"),
    [
        (None, 2, "auto", ["0", "1"]),
        ("3, 1", 2, "cuda", ["3", "1"]),
        ("MIG-a", 1, "auto", ["MIG-a"]),
        (None, 2, "cpu", []),
        ("", 0, "auto", []),
    ],
)
def test_the_gpus_are_those_that_are_visible(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    count: int,
    device: str,
    expected: list[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert sweep.visible_gpus(config_of(tmp_path, overrides={"device": device})) == expected


@pytest.mark.parametrize(
    ("gpus", "cores", "asked", "at_a_time", "threads"),
    [
        (0, 2, None, 2, 1),
        (0, 64, None, 4, 16),
        (0, 64, 32, 32, 2),
        (0, 2, 8, 2, 1),
        (2, 16, None, 2, 8),
        (8, 16, 3, 3, 5),
        (2, 16, 8, 2, 8),
    ],
)
def test_jobs_share_the_cores_and_have_a_gpu_each(
    monkeypatch: pytest.MonkeyPatch,
    gpus: int,
    cores: int,
    asked: int | None,
    at_a_time: int,
    threads: int,
) -> None:
    names = [*map(str, range(gpus))]
    monkeypatch.setattr(sweep, "visible_gpus", lambda config: names)
    monkeypatch.setattr(sweep, "cores", lambda: cores)
    how = sweep._how(build_config("mvtec", "bottle", "draem"), "local", asked)
    assert how.rule == {"threads": threads, "resources": {"gpu": 1} if gpus else {}}
    assert how.options[-4:] == ["--cores", str(at_a_time * threads), "--resources", f"gpu={gpus}"]
    assert how.environment == {GPUS: ",".join(names)}


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert sweep.cores() == 3


def test_a_profile_is_ours_or_a_folder(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    how = sweep._how(config, "slurm", 7)
    assert how.options[0] == "--profile" and how.options[2:] == ["--jobs", "7"]
    assert how.rule["resources"] == how.environment == {}
    (tmp_path / "config.yaml").touch()
    assert sweep._how(config, str(tmp_path), None).options == ["--profile", str(tmp_path)]
    with pytest.raises(DiffadError, match=r"no config\.yaml; ours are local, slurm"):
        sweep._how(config, "slrum", None)


def test_each_job_has_a_gpu_of_its_own_and_waits_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(job, "_POLL", 0.01)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "none yet")
    monkeypatch.setenv(GPUS, "4,GPU-/x")
    taken: list[str | None] = []

    def third() -> None:
        with own_gpu() as name:
            taken.append(name)

    with own_gpu() as first:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == first == "4"
        with own_gpu() as second:
            assert os.environ["CUDA_VISIBLE_DEVICES"] == second == "GPU-/x"
            waiting = threading.Thread(target=third)
            waiting.start()
            time.sleep(0.1)
            assert taken == []
        waiting.join(timeout=10)
        assert taken == ["GPU-/x"]
    assert [*tmp_path.iterdir()] == []


def test_without_names_of_gpus_nothing_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    monkeypatch.setenv(GPUS, "")
    with own_gpu() as name:
        assert name is None and os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_a_job_waits_for_the_process_that_runs_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """It holds no GPU meanwhile, and starts when the folder is free; so after an InUse too."""
    monkeypatch.setattr(job, "_POLL", 0.01)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv(GPUS, "0")
    config, calls = config_of(tmp_path), []

    def run(config: RunConfig, threads: int | None) -> str:
        calls.append(threads)
        if len(calls) == 1:
            raise InUse("another one was faster")
        return "record"

    monkeypatch.setattr(job, "run", run)
    config.run_folder.mkdir(parents=True)
    got: list[Record] = []
    waiting = threading.Thread(target=lambda: got.append(run_when_free(config, 3)))
    with exclusive(config.run_folder / ".notebook.lock", "x"):
        waiting.start()
        shown: list[str] = []
        until(lambda: shown.append(capsys.readouterr().out) or LOCKED in "".join(shown))
        assert calls == [] and not job.gpu_lock("0").exists()
    waiting.join(timeout=60)
    assert got == ["record"] and calls == [3, 3]
    assert "".join([*shown, capsys.readouterr().out]).count(LOCKED) == 1


def test_a_folder_in_use_is_told_as_such_from_the_kernel_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object, **options: object) -> None:
        (tmp_path / ".n.ipynb.partial.ipynb").touch()
        raise PapermillExecutionError(0, 1, "", "InUse", f"{tmp_path} is locked: x", [])

    monkeypatch.setattr("papermill.execute_notebook", locked)
    with pytest.raises(InUse, match="is locked: x"):
        notebook.execute(tmp_path / "08.ipynb", tmp_path / "n.ipynb", {})


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (DiffadError("mask\x1b[0m is gone"), "error: mask\\x1b[0m is gone", "is gone"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("out of\nmemory"), "Traceback", "RuntimeError: out of memory; an error of"),
    ],
)
def test_a_job_that_fails_leaves_its_reason_and_no_marker(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: object,
    told: str,
) -> None:
    config = config_of(tmp_path)
    name = job_name(config)
    monkeypatch.chdir(tmp_path)
    job.write_job(tmp_path, config)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["job", name, "2"])

    def run(found: RunConfig, threads: int) -> SimpleNamespace:
        assert settings_of(found) == settings_of(config) and threads == 2
        raise error

    monkeypatch.setattr(job, "run_when_free", run)
    with pytest.raises(SystemExit) as stop:
        job.main()
    shown = stop.value.code
    assert shown == code or str(shown).startswith(str(code))
    assert told in job.error_of(tmp_path, name).read_text()
    assert not job.marker(tmp_path, name).exists()
    monkeypatch.setattr(job, "run_when_free", lambda *_: SimpleNamespace(finished="today"))
    job.main()
    assert job.marker(tmp_path, name).exists() and not job.error_of(tmp_path, name).exists()


def test_the_page_shows_what_failed_and_what_is_finished(tmp_path: Path) -> None:
    fine, broken = config_of(tmp_path), config_of(tmp_path, ODD, seed=1)
    finish(fine)
    (fine.run_folder / "notebook.ipynb").touch()
    log = tmp_path / "runs" / "sweep" / "jobs" / "x.log"
    log.parent.mkdir(parents=True)
    log.touch()
    record = read_record(fine.run_folder / "record.json")
    outcomes = [Outcome(fine, log, record), Outcome(broken, log, None, "a <mask> is gone")]
    page = write_sweep_page(tmp_path / "runs" / "sweep", outcomes)
    text = page.read_text()
    assert "1 of 2 runs are finished" in text and "a &lt;mask&gt; is gone" in text
    assert "<b>" not in text and "0.500" in text
    assert "href='jobs/x.log'" in text
    with contextlib.chdir(page.parent):
        links = [part.split("'")[0] for part in text.split("href='")[1:]]
        assert all(Path(link.replace("%3D", "=").replace("%2B", "+")).exists() for link in links)
