"""An experiment in this process: what it leaves as it was, whom it keeps out, what it records."""

import gc
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import layout_factory as factory
from diffad_lib.checkpoint import CHECKPOINT_NAME
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import predict_all
from diffad_lib.methods import method_names
from diffad_lib.methods.method import find_method
from diffad_lib.runs import experiment as ex
from diffad_lib.runs import facts
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.folder import CONFIG_NAME, occupied
from diffad_lib.runs.record import read_record
from diffad_lib.types import Prediction
from small import run_here

TINY = {"image_size": 32, "steps": 4, "batch_size": 2, "bootstrap_samples": 0, "precision": "32"}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    factory.make_mvtec(tmp_path / "data")
    return config_of(tmp_path)


def config_of(root: Path, method: str = "autoencoder", **settings) -> RunConfig:
    own = {**TINY, "checkpoint_seconds": 0, "device": "cpu", **settings}
    folders = {"data_root": root / "data", "runs_dir": root / "runs"}
    return build_config("mvtec", "bottle", method, overrides=own, **folders)


def finish(run: ex.Experiment, result: ex.TrainingResult) -> Path:
    return ex.finish(run, result, *ex.evaluate_experiment(run), ex.swap_experiment(run), 1.0)


@pytest.mark.parametrize("method", method_names())
def test_the_record_holds_the_swap_test(method: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    factory.make_mvtec(tmp_path / "data")
    record = run_here(config_of(tmp_path, method, steps=1))
    assert [*record.swaps] == ["its own", "the image itself", "another image's", "noise"]
    assert all(0 <= row.image_auroc <= 1 and 0 < row.pixel_ap <= 1 for row in record.swaps.values())


def flushes() -> bool:
    return (torch.full((3,), 1e-40) * 1.5).sum().item() == 0


@pytest.mark.parametrize("flushed", [False, True])
def test_a_run_leaves_the_state_of_the_process_as_it_was(config: RunConfig, flushed: bool) -> None:
    torch.set_flush_denormal(flushed)
    before = torch.get_rng_state()
    try:
        run = ex.prepare(config)
        assert flushes()
        finish(run, ex.train_experiment(run))
        assert flushes() is flushed and torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_flush_denormal(False)


def test_a_run_that_is_dropped_changes_nothing_for_the_next(config: RunConfig) -> None:
    torch.set_flush_denormal(False)
    try:
        run = ex.prepare(config)
        run = ex.prepare(config)  # as a cell that is run again
        gc.collect()
        assert flushes() and run.config == config
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("part", ["load_data", "_train"])
def test_a_run_that_fails_leaves_it_so_too(config: RunConfig, part: str, monkeypatch) -> None:
    def fails(*given: object) -> None:
        assert flushes()
        raise DiffadError("damaged")

    monkeypatch.setattr(ex, part, fails)
    torch.set_flush_denormal(False)  # whatever tests before this one began and did not end
    with pytest.raises(DiffadError, match="damaged"):
        ex.train_experiment(ex.prepare(config))
    assert not flushes()


def test_the_tasks_of_a_slurm_job_are_not_counted(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `sbatch -n 4`, which many take for four cores."""
    for name, value in {"NTASKS": "4", "JOB_ID": "7", "JOB_NAME": "a", "PROCID": "2"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    fabric = ex.make_fabric(config)
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


@pytest.mark.parametrize("name", method_names())
def test_a_seed_means_the_weights_that_it_always_meant(config, tmp_path, name: str) -> None:
    config = config_of(tmp_path, name).model_copy(update={"seed": 7})
    torch.manual_seed(7)
    expected = find_method(name).detector(config.detector).state_dict()
    torch.manual_seed(8)
    found = ex.new_detector(config).state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


ELSEWHERE = """
import sys
from pathlib import Path
from diffad_lib.files import take_lock
take_lock(Path(sys.argv[1]), "another process")
"""


def is_kept_out(folder: Path) -> bool:
    """Whether another process is told that it may not train in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-c", ELSEWHERE, str(folder / ".training.lock")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or f"{folder} is locked" in done.stderr, done.stderr
    return done.returncode != 0


@pytest.mark.slow
def test_another_process_is_kept_out_from_the_training_to_the_record(config: RunConfig) -> None:
    run = ex.prepare(config)
    assert not is_kept_out(config.run_folder)
    ex.train_experiment(run)
    assert is_kept_out(config.run_folder)
    with pytest.raises(DiffadError, match="is locked"), occupied(config.run_folder):
        pytest.fail("a notebook began beside a training")
    result = ex.train_experiment(run)  # the same cell again in the same notebook
    finish(run, result)
    assert not is_kept_out(config.run_folder)
    (config.run_folder / ".training.lock").unlink()  # of the process that has just ended
    names = {path.name for path in config.run_folder.iterdir()}
    assert names == {"record.json", "detector.safetensors", "detector.json"}


@pytest.mark.slow
def test_a_training_that_fails_keeps_nobody_out(config: RunConfig) -> None:
    run = ex.prepare(config)
    broken = replace(run, detector=run.detector.to(torch.float64))
    with pytest.raises(RuntimeError):
        ex.train_experiment(broken)
    assert not is_kept_out(config.run_folder)


def interrupt(config: RunConfig) -> None:
    """Train until there is a checkpoint, as if killed before the record."""
    ex.train_experiment(ex.prepare(config))
    ex.let_go(config.run_folder)
    assert (config.run_folder / CHECKPOINT_NAME).exists()


def test_what_changed_while_a_run_was_interrupted_is_said_and_stays_in_the_record(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    interrupt(config)
    assert "began otherwise" not in capsys.readouterr().out
    real = facts.package_versions()
    monkeypatch.setattr(facts, "package_versions", lambda: real | {"torch": "9"})
    monkeypatch.setattr(facts, "git_state", lambda: {"commit": "b", "dirty": False})
    interrupt(config)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    capsys.readouterr()
    run = ex.prepare(config)
    path = finish(run, ex.train_experiment(run))
    found = read_record(path).resumed_under
    assert f"torch {real['torch']}, now 9" in found and f"threads {1}, now 77" in found
    assert any(one.startswith("commit ") and one.endswith(", now b") for one in found)
    told = capsys.readouterr().out
    assert "threads: 77" in told and "began otherwise, so that last digits differ" in told
    assert f"all random draws: {found[0]}" in told


def test_a_run_in_one_go_was_resumed_under_nothing(config: RunConfig) -> None:
    assert run_here(config).resumed_under == []


@pytest.mark.parametrize("part", ["data", "under", "all"])
def test_a_checkpoint_without_word_of_its_data_is_refused(config: RunConfig, part: str) -> None:
    interrupt(config)
    path = config.run_folder / CONFIG_NAME
    held = json.loads(path.read_text())
    held.pop(part, None)
    path.unlink() if part == "all" else path.write_text(json.dumps(held))
    with pytest.raises(DiffadError, match=r"config.json: does not tell .* begin anew with --again"):
        ex.train_experiment(ex.prepare(config))


def test_before_the_first_checkpoint_other_data_are_no_obstacle(config, tmp_path):
    interrupt(config)
    image = tmp_path / "data" / "mvtec" / "bottle" / "train" / "good" / "000.png"
    factory.write_noise(image, 9)
    with pytest.raises(DiffadError, match=r"began with other data: train: 000.png is another"):
        ex.train_experiment(ex.prepare(config))
    for path in config.run_folder.glob("checkpoint*"):
        path.unlink()
    assert ex.train_experiment(ex.prepare(config)).resumed_from == 0
    ex.let_go(config.run_folder)


def test_the_record_tells_that_scores_are_those_of_the_images_alone(config, capsys) -> None:
    found = run_here(config).invariance
    assert found.holds and found.images == 4
    assert (
        "4 images predicted alone and in other batches: scores differ by" in capsys.readouterr().out
    )


def test_scores_that_depend_on_the_batch_are_said_loudly(config, monkeypatch, capsys) -> None:
    run = ex.prepare(config)
    real = run.detector.predict

    def predict(images: torch.Tensor, generator: torch.Generator | None = None) -> Prediction:
        found = real(images, generator)
        return replace(found, image_score=found.image_score * len(images))

    monkeypatch.setattr(run.detector, "predict", predict)
    found = read_record(finish(run, ex.train_experiment(run))).invariance
    assert not found.holds and found.score_difference > 0.1
    assert "\nSCORES DEPEND ON WHAT ELSE IS PREDICTED: " in capsys.readouterr().out


def test_a_copy_of_an_image_under_another_name_has_its_score(config, tmp_path) -> None:
    folder = tmp_path / "data" / "mvtec" / "bottle" / "test" / "good"
    first = sorted(folder.iterdir())[0]
    shutil.copy(first, folder / "copy.png")
    run = ex.prepare(config)
    rows = {
        sample.image.name: row for row, sample in enumerate(run.test.samples) if not sample.label
    }
    found = predict_all(run.detector.eval(), run.test.images, run.fabric, batch_size=2)
    one, other = rows[first.name], rows["copy.png"]
    assert one != other
    np.testing.assert_allclose(found.image_scores[one], found.image_scores[other], rtol=1e-6)
    np.testing.assert_allclose(found.anomaly_maps[one], found.anomaly_maps[other], atol=1e-6)
