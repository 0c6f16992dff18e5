"""The detectors in notebooks/checkpoints are those of their records, small and complete."""

import dataclasses
import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from course_files import ROOT
from diffad_lib.course import shipped
from diffad_lib.course.shipped import CHECKPOINTS, FILES, SHIPPED, load_shipped, shipped_rows
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import predict_all
from diffad_lib.metrics import aupro, image_auroc, pixel_auroc
from diffad_lib.runs.data import load_data
from diffad_lib.runs.experiment import labels
from diffad_lib.runs.record import RECORD_NAME, read_record

# Without oneDNN, which stands for another CPU here, maps moved by 2e-6 and these metrics by 1e-6.
# Two images whose scores change places move the image AUROC by 1/(24 · 36) = 1.2e-3.
TOLERANCES = {"image_auroc": 2e-3, "pixel_auroc": 1e-4, "aupro": 1e-4}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_the_weights_give_the_recorded_metrics(name):
    loaded = load_shipped(name)
    config, (_, test) = loaded.config, load_data(loaded.config)
    assert test.fingerprint == loaded.record.data.test.fingerprint
    predictions = predict_all(
        loaded.detector,
        test.images,
        Fabric(accelerator="cpu", devices=1),
        config.evaluation.eval_batch_size,
        config.seed,
    )
    maps, masks = predictions.anomaly_maps, test.masks[:, 0]
    measured = {
        "image_auroc": image_auroc(predictions.image_scores, labels(test)),
        "pixel_auroc": pixel_auroc(maps, masks),
        "aupro": aupro(maps, masks, config.evaluation.fpr_limit),
    }
    for key, tolerance in TOLERANCES.items():
        recorded = loaded.record.metric(key).value
        assert measured[key] == pytest.approx(recorded, abs=tolerance), key


@pytest.mark.parametrize("name", SHIPPED)
def test_the_configuration_is_the_one_that_the_tool_states(name):
    configuration = runpy.run_path(str(ROOT / "tools" / "checkpoints.py"))["configuration"]
    loaded = load_shipped(name)
    # The settings, however they were asked for: presets have changed since some were trained.
    asked = {"overrides": loaded.config.overrides}
    assert loaded.config == configuration(name).model_copy(update=asked)
    assert loaded.record.training.steps == loaded.config.training.steps
    assert loaded.record.training.selected_step == loaded.config.training.steps


def test_the_detector_is_ready_to_predict_and_the_record_cannot_be_exchanged():
    loaded = load_shipped(SHIPPED[0])
    assert not loaded.detector.training
    assert {parameter.device.type for parameter in loaded.detector.parameters()} == {"cpu"}
    with pytest.raises(AttributeError):
        loaded.record = {}


def test_files_are_small_and_no_others_lie_beside_them():
    sizes = {path: path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file()}
    assert set(sizes) == {CHECKPOINTS / name / file for name in SHIPPED for file in FILES}
    assert max(sizes.values()) <= 6_000_000
    assert sum(sizes.values()) <= 26_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_the_record_names_no_place_of_the_machine_that_made_it(name):
    def texts(value):
        if isinstance(value, dict | list):
            parts = value.values() if isinstance(value, dict) else value
            return [text for part in parts for text in texts(part)]
        return [value] if isinstance(value, str) else []

    for file in ("record.json", "detector.json"):
        found = texts(json.loads((CHECKPOINTS / name / file).read_text(encoding="utf-8")))
        assert found and not [text for text in found if Path(text).is_absolute()]


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(DiffadError, match=r'"draem_braket".* did you mean "draem_bracket"'):
        load_shipped("draem_braket")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named_with_what_to_do(file, tmp_path, monkeypatch):
    copy_of_checkpoint(tmp_path, monkeypatch)
    (tmp_path / "draem_bracket" / file).unlink()
    with pytest.raises(DiffadError, match=rf"{file}: missing; .*make checkpoints") as caught:
        load_shipped("draem_bracket")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_named(file, tmp_path, monkeypatch):
    copy_of_checkpoint(tmp_path, monkeypatch)
    path = tmp_path / "draem_bracket" / file
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DiffadError, match=file) as caught:
        load_shipped("draem_bracket")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"training": 5}, "training"),
        ({"training": {"steps": "many"}}, "steps"),
        ({"data_root": [5]}, "data_root"),
        ({"self": 5}, '"self" is not a setting'),
        ({"detector": {"self": 5}}, '"self" is not a setting'),
        ({"category": "../x"}, "category"),
        ({"colour": "red"}, '"colour" is not a setting'),
    ],
)
def test_a_record_with_a_configuration_that_is_none_is_named(
    change, problem, tmp_path, monkeypatch
):
    copy_of_checkpoint(tmp_path, monkeypatch)
    path = tmp_path / "draem_bracket" / RECORD_NAME
    record = json.loads(path.read_text(encoding="utf-8"))
    record["config"] |= change
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DiffadError, match=rf"record.json: .*{problem}") as caught:
        load_shipped("draem_bracket")
    assert "\n" not in str(caught.value)


def test_a_flipped_byte_of_shipped_weights_is_refused(tmp_path, monkeypatch):
    copy_of_checkpoint(tmp_path, monkeypatch)
    path = tmp_path / "draem_bracket" / "detector.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DiffadError, match=r"detector.safetensors: damaged"):
        load_shipped("draem_bracket")


def copy_of_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CHECKPOINTS / "draem_bracket", folder / "draem_bracket")
    monkeypatch.setattr(shipped, "CHECKPOINTS", folder)


def test_a_shipped_run_loses_its_place(tmp_path):
    """The three files as the run left them, but for the folder of the runs."""
    ship = runpy.run_path(str(ROOT / "tools" / "checkpoints.py"))["ship"]
    run_folder = tmp_path / "runs" / "seed0"
    shutil.copytree(CHECKPOINTS / "draem_bracket", run_folder)
    record = json.loads((run_folder / "record.json").read_text(encoding="utf-8"))
    record["config"]["runs_dir"] = str(tmp_path / "runs")
    (run_folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    (run_folder / "notebook.ipynb").write_text("{}", encoding="utf-8")
    ship(run_folder, tmp_path / "shipped")
    assert {path.name for path in (tmp_path / "shipped").iterdir()} == set(FILES)
    first, second = CHECKPOINTS / "draem_bracket", tmp_path / "shipped"
    for file in set(FILES) - {RECORD_NAME}:
        assert (second / file).read_bytes() == (first / file).read_bytes()
    assert read_record(second / RECORD_NAME) == read_record(first / RECORD_NAME)


def test_the_figures_of_three_seeds_are_complete_and_near_those_of_the_shipped_network():
    found = {
        (row["head"], row["seed"]): row["pixel_ap"]
        for row in shipped_rows("head_alone")
        if row["category"] == "bracket" and row["set"] == "defects"
    }
    seeds = runpy.run_path(str(ROOT / "tools" / "head_alone.py"))["SEEDS"]
    assert {(head, seed) for head in ("image alone", "joint") for seed in seeds} <= set(found)
    recorded = load_shipped("draem_bracket").record
    measured = found["joint", recorded.config.seed]  # another day, another machine
    assert measured == pytest.approx(recorded.metric("pixel_ap").value, abs=0.1)


@pytest.mark.slow
def test_a_head_of_the_tool_learns_from_what_it_sees():
    """Two of its steps: as many networks as inputs, and other weights for another input."""
    tool = runpy.run_path(str(ROOT / "tools" / "head_alone.py"))
    experiment = tool["experiment_with"]("weave", 1)
    assert experiment.config.seed == experiment.batches.seed == 1
    short = dataclasses.replace(experiment, plan=experiment.plan.but(steps=2))
    see = {"image": lambda x: x, "black": torch.zeros_like}
    heads = {name: tool["trained_head"](short, made, 3) for name, made in see.items()}
    assert not heads["image"].training
    changed = [
        not torch.equal(one, other)
        for one, other in zip(*(head.parameters() for head in heads.values()), strict=True)
    ]
    assert all(changed)
    again = tool["trained_head"](short, see["image"], 3)
    for one, other in zip(heads["image"].parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_figures_that_are_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "RECORDS", tmp_path)
    with pytest.raises(DiffadError, match=r"head_alone\.json: not found; check it out again"):
        shipped_rows("head_alone")
