"""New pictures: the scores of the run itself, a threshold from good pictures, files, bad input."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import layout_factory as factory
from diffad_lib.methods import method_names
from diffad_lib.runs import predict as module
from diffad_lib.runs.config import build_config
from diffad_lib.runs.experiment import flushes_denormals
from diffad_lib.runs.predict import load_trained, predict, read_pictures
from diffad_lib.runs.record import Record, read_record
from small import SMALL, run_here
from started import Command

SHORT = {"steps": 2, "batch_size": 2, "bootstrap_samples": 0, "device": "cpu"}


def train(root: Path, method: str, seed: int = 3, **settings) -> Path:
    """A finished run on noise, at the smallest size; its folder."""
    factory.make_mvtec(root / "data")
    own = {**SMALL[method], **SHORT, **settings}
    folders = {"data_root": root / "data", "runs_dir": root / "runs"}
    config = build_config("mvtec", "bottle", method, overrides=own, seed=seed, **folders)
    run_here(config)
    return config.run_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
@pytest.mark.parametrize("method", method_names())
def test_the_test_images_get_the_scores_of_the_run(
    method: str, precision: str, tmp_path: Path
) -> None:
    folder = train(tmp_path, method, precision=precision, image_rule="linear")
    trained = load_trained(folder)
    pictures = read_pictures(trained, tmp_path / "data/mvtec/bottle/test")
    found = predict(trained, pictures)
    known = {}
    for one in read_record(folder / "record.json").images:
        known[f"{one.defect}/{Path(one.file).name}"] = one.score
    print(np.abs(np.array([known[name] for name in pictures.names])-found.image_scores).max(), found.image_scores.max())
    assert pictures.names == sorted(known)
    assert dict(zip(pictures.names, found.image_scores.tolist(), strict=True)) == known
    assert not flushes_denormals()
