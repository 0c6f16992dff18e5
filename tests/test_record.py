"""The facts in a record, and which settings a run folder belongs to."""

import json
import platform
import re
import subprocess
from pathlib import Path

import pytest
import torch

from diffad_lib.errors import DiffadError
from diffad_lib.runs import record as record_module
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.record import (
    CONFIG_NAME,
    RECORD_NAME,
    check_same_settings,
    device_facts,
    git_state,
    package_versions,
    peak_memory,
    project_root,
    read_record,
    settings,
)


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
    "text", ["", "{", "[]", "{}", '{"config": {}}', PARTS_THAT_ARE_NUMBERS, "\xff"]
)
def test_a_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / RECORD_NAME
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DiffadError) as error:
        read_record(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "key"), [("config", "method"), ("metrics", "aupro"), ("seconds", "train")]
)
def test_a_record_without_a_needed_key_is_named(tmp_path: Path, part: str, key: str) -> None:
    record = whole_record()
    del record[part][key]
    path = write(tmp_path / RECORD_NAME, json.dumps(record))
    with pytest.raises(DiffadError, match=re.escape(f"{path}: lacks {part}.{key}; delete it")):
        read_record(path)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiffadError, match=RECORD_NAME):
        read_record(tmp_path / RECORD_NAME)


def test_settings_hold_every_key_and_no_relative_folder() -> None:
    relative = build_config("mvtec", "bottle", "draem", data_root=Path("d"), runs_dir=Path("r"))
    held = settings(relative)
    assert set(held) == set(RunConfig.model_fields)
    assert held["data_root"] == str(Path("d").absolute())
    assert held["runs_dir"] == str(Path("r").absolute())
    assert held["textures"] is None
    json.dumps(held, allow_nan=False)


@pytest.mark.parametrize("finished", [True, False])
def test_a_folder_with_other_settings_is_refused_by_key(tmp_path: Path, finished: bool) -> None:
    first = config(tmp_path, data_root=Path("a"))
    held = settings(first)
    if finished:
        write(first.run_folder / RECORD_NAME, json.dumps(whole_record() | {"config": held}))
    else:
        write(first.run_folder / CONFIG_NAME, json.dumps(held))
    check_same_settings(first)
    with pytest.raises(DiffadError, match="another data_root") as error:
        check_same_settings(config(tmp_path, data_root=Path("b")))
    assert str(first.run_folder) in str(error.value) and "\n" not in str(error.value)


def test_a_moved_runs_folder_still_belongs_to_its_run(tmp_path: Path) -> None:
    here, there = config(tmp_path / "here"), config(tmp_path / "there")
    write(there.run_folder / CONFIG_NAME, json.dumps(settings(here)))
    check_same_settings(there)


def test_a_new_folder_belongs_to_any_run(tmp_path: Path) -> None:
    check_same_settings(config(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_git_state_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "project_root", lambda: tmp_path)
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
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    write(tmp_path / "file", "two")
    assert git_state()["dirty"] is True


def test_versions_and_device() -> None:
    versions = package_versions()
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == torch.__version__
    facts = device_facts(torch.device("cpu"))
    assert facts["type"] == "cpu" and facts["threads"] == torch.get_num_threads()


def test_peak_memory_is_in_bytes() -> None:
    held = torch.ones(32 * 2**20)  # 128 MiB
    peak = peak_memory(torch.device("cpu"))
    assert held.nbytes < peak["host_bytes"] < 2**40
    assert peak["device_bytes"] is None


def test_project_root_holds_the_notebooks() -> None:
    assert (project_root() / "notebooks" / "08_train_and_evaluate.ipynb").exists()
