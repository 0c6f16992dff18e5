"""The facts in a record, and which settings a run folder belongs to."""

import contextlib
import io
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from diffad_lib.errors import DiffadError
from diffad_lib.metrics import METRICS, Metric
from diffad_lib.runs import facts
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.facts import (
    computes_bf16,
    conditions,
    device_facts,
    differences,
    git_state,
    package_versions,
    peak_memory,
    project_root,
)
from diffad_lib.runs.folder import CONFIG_NAME, check_same_settings, settings_of
from diffad_lib.runs.notebook import run
from diffad_lib.runs.record import RECORD_NAME, Measured, Record, read_record, write_record
from diffad_lib.weights import save_detector
from small import small_detector


def config(tmp_path: Path, **options) -> RunConfig:
    return build_config("mvtec", "bottle", "draem", runs_dir=tmp_path, **options)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def whole_record() -> dict:
    metrics = {key: {"value": 1.0} for key in ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")}
    config = {"dataset": "mvtec", "category": "bottle", "method": "draem"}
    return {"config": config, "metrics": metrics, "seconds": {"train": 1.0, "total": 2.0}}


PARTS_THAT_ARE_NUMBERS = '{"config": 1, "metrics": 1, "seconds": 1}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"config": {}}', PARTS_THAT_ARE_NUMBERS, "\xff"),
        *("[" * 100_000, '{"config":' * 100_000, "[" * 1000 + "]" * 1000, "9" * 5000, "NaN"),
    ],
    ids=range(12),
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / RECORD_NAME
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DiffadError) as error:
        read_record(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("part", "key"), [("config", "method"), ("seconds", "train")])
def test_a_record_without_a_needed_key_is_named(tmp_path: Path, part: str, key: str) -> None:
    record = whole_record()
    del record[part][key]
    path = write(tmp_path / RECORD_NAME, json.dumps(record))
    with pytest.raises(DiffadError, match=re.escape(f"{path}: lacks {part}.{key}; delete it")):
        read_record(path)


def test_a_deep_part_of_a_record_is_refused_before_something_else_fails_on_it(
    tmp_path: Path,
) -> None:
    for depth in (150, 900):
        record = whole_record() | {"git": "deep"}
        text = json.dumps(record).replace('"deep"', '{"x":' * depth + "1" + "}" * depth)
        path = write(tmp_path / RECORD_NAME, text)
        if depth == 150:
            read_record(path).model_dump(mode="json")
        else:
            with pytest.raises(DiffadError, match="recursion"):
                read_record(path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_record_that_is_no_file_is_refused_at_once(tmp_path: Path, make) -> None:
    make(tmp_path / RECORD_NAME)
    with pytest.raises(DiffadError, match=rf"{RECORD_NAME}: is not a file"):
        read_record(tmp_path / RECORD_NAME)


@pytest.mark.parametrize("ends", [{"low": 0.1}, {"high": 0.9}, {"low": 0.1, "high": None}])
def test_an_interval_with_one_end_is_refused(tmp_path: Path, ends: dict) -> None:
    record = whole_record()
    record["metrics"]["aupro"] |= ends
    path = write(tmp_path / RECORD_NAME, json.dumps(record))
    with pytest.raises(DiffadError, match=r"metrics.aupro: .*low and high come together"):
        read_record(path)


def test_an_interval_that_ends_below_its_begin_is_refused() -> None:
    for low, high in ((0.9, 0.8), (1.0, 0.0)):
        with pytest.raises(ValidationError, match="low is above high"):
            Measured(value=0.85, low=low, high=high)
    Measured(value=1.0, low=1.0, high=1.0 - 1e-16)  # rounding
    # As a bootstrap of few resamples gives, of which none has to reach the value.
    Measured(value=0.5, low=1.0, high=1.0)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiffadError, match=RECORD_NAME):
        read_record(tmp_path / RECORD_NAME)


def test_settings_hold_every_key_and_no_relative_folder() -> None:
    relative = build_config("mvtec", "bottle", "draem", data_root=Path("d"), runs_dir=Path("r"))
    held = settings_of(relative)
    assert set(held) == set(RunConfig.model_fields)
    assert held["data_root"] == str(Path("d").absolute())
    assert held["runs_dir"] == str(Path("r").absolute())
    assert held["textures"] is None
    json.dumps(held, allow_nan=False)


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_with_other_settings_is_refused_by_key(tmp_path: Path, finished: bool) -> None:
    first = config(tmp_path, data_root=Path("a"))
    held = settings_of(first)
    if finished:
        write(first.run_folder / RECORD_NAME, json.dumps(whole_record() | {"config": held}))
    else:
        write(first.run_folder / CONFIG_NAME, json.dumps(held))
    check_same_settings(first)
    with pytest.raises(DiffadError, match="another data_root") as error:
        check_same_settings(config(tmp_path, data_root=Path("b")))
    assert str(first.run_folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", [RECORD_NAME, CONFIG_NAME])
def test_a_run_on_images_of_another_rule_is_another_one(tmp_path: Path, name: str) -> None:
    """Also where the folder has the same name, as after a change of a budget."""
    ours = config(tmp_path)

    def hold(**told: str) -> None:
        held = settings_of(ours)
        del held["evaluation"]["image_rule"]
        held["evaluation"] |= told
        content = whole_record() | {"config": held} if name == RECORD_NAME else held
        write(ours.run_folder / name, json.dumps(content))

    hold()  # from before there was the setting
    check_same_settings(ours)
    hold(image_rule="linear")
    with pytest.raises(DiffadError, match=r"another image_rule \('linear', now 'area'\)"):
        check_same_settings(ours)


@pytest.mark.parametrize("name", [CONFIG_NAME, RECORD_NAME])
def test_another_time_between_checkpoints_makes_no_other_run(tmp_path: Path, name: str) -> None:
    ours = config(tmp_path)
    held = settings_of(ours.with_settings({"checkpoint_seconds": 5.0}))
    content = whole_record() | {"config": held} if name == RECORD_NAME else held
    write(ours.run_folder / name, json.dumps(content))
    check_same_settings(ours)


def test_a_moved_runs_folder_still_belongs_to_its_run(tmp_path: Path) -> None:
    here, there = config(tmp_path / "here"), config(tmp_path / "there")
    write(there.run_folder / CONFIG_NAME, json.dumps(settings_of(here)))
    check_same_settings(there)


@contextlib.contextmanager
def closed(folder: Path) -> Iterator[None]:
    """The folder cannot be entered, also not by root, who is somebody else meanwhile."""
    folder.mkdir()
    folder.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)


def test_a_runs_folder_that_may_not_be_entered_is_one_line(tmp_path: Path) -> None:
    there = config(tmp_path / "closed")
    with closed(tmp_path / "closed"):
        for again in (False, True):
            with pytest.raises(
                DiffadError, match=r"closed/.*Permission denied.*another --runs-dir"
            ):
                run(there, again=again)


def test_a_finished_run_with_damaged_or_exchanged_weights_is_refused(tmp_path: Path) -> None:
    done, told = config(tmp_path), io.StringIO()
    save_detector(small_detector("draem"), done.run_folder)
    content = whole_record() | {"config": settings_of(done)}
    write(done.run_folder / RECORD_NAME, json.dumps(content))
    run(done, told)
    assert "nothing was run" in told.getvalue()
    weights = done.run_folder / "detector.safetensors"
    flipped = bytearray(weights.read_bytes())
    flipped[-1] ^= 1
    weights.write_bytes(flipped)
    with pytest.raises(DiffadError, match=r"finished on .*another sha256.*--again") as error:
        run(done, told)
    assert "\n" not in str(error.value)


def test_a_new_folder_belongs_to_any_run(tmp_path: Path) -> None:
    check_same_settings(config(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_git_state_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "project_root", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() == {"commit": None, "dirty": None}

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    write(tmp_path / "file", "one")
    git("add", "file")
    git("commit", "-m", "first")
    write(tmp_path / "untracked", "")
    write(tmp_path / "diffad_lib" / "notes.txt", "")
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    module = write(tmp_path / "diffad_lib" / "methods" / "new.py", "")
    assert git_state()["dirty"] is True  # it can be imported, and changes what is found
    module.unlink()
    assert git_state()["dirty"] is False
    write(tmp_path / "file", "two")
    assert git_state()["dirty"] is True


def test_versions_and_device() -> None:
    versions = package_versions()
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == torch.__version__
    facts = device_facts(torch.device("cpu"))
    assert facts["type"] == "cpu" and facts["threads"] == torch.get_num_threads()


def test_differences_are_told_of_what_both_know() -> None:
    before = {"threads": 2, "torch": "2.13", "gone": 1}
    now = {"threads": 1, "torch": "2.13", "new": 1}
    assert differences(before, now) == ["threads 2, now 1"]
    assert differences({}, now) == []


def test_conditions_tell_all_that_changes_last_digits() -> None:
    told = conditions(torch.device("cpu"), "32-true")
    assert told["device"] == "cpu" and told["precision"] == "32-true"
    assert told["threads"] == torch.get_num_threads() and told["instructions"]
    assert told["torch"] == torch.__version__ and {"commit", "dirty", "python"} <= {*told}


def test_peak_memory_is_in_bytes() -> None:
    held = torch.ones(32 * 2**20)  # 128 MiB
    peak = peak_memory(torch.device("cpu"))
    assert held.nbytes < peak["host_bytes"] < 2**40
    assert peak["device_bytes"] is None


def test_project_root_holds_the_notebooks() -> None:
    assert (project_root() / "notebooks" / "08_train_and_evaluate.ipynb").exists()


def test_a_cpu_of_which_pytorch_says_nothing_is_taken_for_one_without_bf16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for name in names:
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not computes_bf16(cpu)
    monkeypatch.setattr(torch.cpu, names[1], lambda: True)
    assert computes_bf16(cpu)
    for name in names:
        monkeypatch.delattr(torch.cpu, name)
    assert not computes_bf16(cpu)


def test_a_metric_that_a_record_lacks_is_none_and_one_that_is_new_is_kept(tmp_path: Path) -> None:
    content = whole_record()
    del content["metrics"]["aupro"]
    content["metrics"]["f1_max"] = {"value": 0.5, "threshold": 3}
    content["weather"] = "fine"
    record = read_record(write(tmp_path / RECORD_NAME, json.dumps(content)))
    assert record.metric("aupro") is None
    assert record.metric("f1_max").value == 0.5
    write_record(tmp_path / "again.json", record)
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["metrics"]["f1_max"]["threshold"] == 3 and again["weather"] == "fine"


def test_an_undefined_metric_is_null() -> None:
    assert Measured.of(Metric(float("nan"), note="why")) == Measured(value=None, note="why")
    assert Measured.of(Metric(0.5, 0.4, 0.6)) == Measured(value=0.5, low=0.4, high=0.6)


def test_a_record_of_schema_1_is_read_in_sections(tmp_path: Path) -> None:
    flat = {"image_size": 64, "base_width": 12, "steps": 500, "score_window": 5, "epochs": None}
    flat |= {"bottleneck": 128, "noise_draws": 1, "runs_dir": "runs", "beta_min": 0.1}
    old = whole_record() | {"schema": 1}
    old["config"] |= flat | {"budget": "mini", "overrides": ["steps=500"]}
    record = read_record(write(tmp_path / RECORD_NAME, json.dumps(old)))
    config = record.run_config()
    assert record.version == 2
    assert (config.detector.base_width, config.detector.score_window) == (12, 5)
    assert (config.training.steps, config.synthesis.beta_min) == (500, 0.1)
    assert config.overrides == ("steps=500",)
    assert set(record.metrics) <= set(METRICS)


def test_a_setting_that_is_newer_than_a_record_has_its_default(tmp_path: Path) -> None:
    content = whole_record() | {"config": settings_of(config(tmp_path))}
    del content["config"]["evaluation"]["fpr_limit"]
    del content["config"]["detector"]["image_size"]
    held = read_record(write(tmp_path / RECORD_NAME, json.dumps(content))).config
    assert (held.evaluation["fpr_limit"], held.detector["image_size"]) == (0.3, 256)


def test_a_written_record_comes_back_the_same(tmp_path: Path) -> None:
    first = Record.model_validate(whole_record() | {"config": settings_of(config(tmp_path))})
    write_record(tmp_path / RECORD_NAME, first)
    assert read_record(tmp_path / RECORD_NAME) == first
    assert json.loads((tmp_path / RECORD_NAME).read_text())["schema"] == 2
    assert first.run_config().detector == config(tmp_path).detector


@pytest.mark.parametrize("broken", [None, {}, 0.5, "high", []])
def test_what_is_no_metric_does_not_make_a_record_unreadable(tmp_path: Path, broken) -> None:
    content = whole_record()
    content["metrics"]["aupro"] = broken
    record = read_record(write(tmp_path / RECORD_NAME, json.dumps(content)))
    assert record.metric("aupro") is None and record.metric("pixel_ap").value == 1.0


def test_a_newer_schema_and_an_unknown_method_are_one_line_with_the_path(tmp_path: Path) -> None:
    path = write(tmp_path / RECORD_NAME, json.dumps(whole_record() | {"schema": 3}))
    with pytest.raises(DiffadError, match=rf"{re.escape(str(path))}: has schema 3; .*update"):
        read_record(path)
    old = whole_record() | {"schema": 1}
    old["config"]["method"] = "gone"
    write(path, json.dumps(old))
    with pytest.raises(DiffadError, match=rf'{re.escape(str(path))}: .*"gone" is not known'):
        read_record(path)


def test_an_interrupted_run_of_schema_1_is_the_same_run(tmp_path: Path) -> None:
    first = build_config("mvtec", "bottle", "diffusionad", "paper", runs_dir=tmp_path)
    sections = settings_of(first)
    flat = {key: value for key, value in sections.items() if not isinstance(value, dict)}
    for section in (value for value in sections.values() if isinstance(value, dict)):
        flat |= {key: value for key, value in section.items() if key != "attention_resolutions"}
    write(first.run_folder / CONFIG_NAME, json.dumps(flat))
    check_same_settings(first)


def test_foreground_masks_are_told_by_their_place_wherever_a_run_is_started() -> None:
    config = build_config("mvtec", "bottle", "draem", overrides={"foreground_folder": "m"})
    assert settings_of(config)["synthesis"]["foreground_folder"] == str(Path("m").absolute())
