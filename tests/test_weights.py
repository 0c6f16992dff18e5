"""Detectors in our own format come back as they were, or an error names the file."""

import json

import pytest
import torch

from diffad_lib.errors import DiffadError
from diffad_lib.weights import load_detector, save_detector
from small import SMALL, assert_same_weights, small_detector
from toy import toy_detector


@pytest.mark.parametrize("method", SMALL)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_saved_detector_comes_back_the_same(tmp_path, method, memory_format):
    detector = small_detector(method).to(memory_format=memory_format)
    save_detector(detector, tmp_path / "run")
    loaded = load_detector(tmp_path / "run")
    assert type(loaded) is type(detector)
    assert loaded.settings == detector.settings
    assert not loaded.training
    assert_same_weights(loaded, detector)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        scores = [d.predict(images).image_score for d in (loaded, detector)]
    torch.testing.assert_close(*scores)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["detector.json", "detector.safetensors"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DiffadError, match=r"detector.json: not found"):
        load_detector(tmp_path / "nothing")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"method": "patchcore", "settings": {}}),
        json.dumps({"method": "draem", "settings": {"base_wdith": 4}}),
        json.dumps({"method": "draem", "settings": {"image_size": 33}}),
    ],
)
def test_a_damaged_description_is_named(tmp_path, text):
    save_detector(small_detector("draem"), tmp_path)
    (tmp_path / "detector.json").write_text(text)
    with pytest.raises(DiffadError, match=r"detector.json: not a saved detector"):
        load_detector(tmp_path)


def test_missing_truncated_and_foreign_weights_are_named(tmp_path):
    save_detector(small_detector("draem"), tmp_path)
    weights = tmp_path / "detector.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DiffadError, match=r"detector.safetensors: damaged"):
        load_detector(tmp_path)
    weights.unlink()
    with pytest.raises(DiffadError, match=r"detector.safetensors: not found"):
        load_detector(tmp_path)
    save_detector(small_detector("draem"), tmp_path)
    save_detector(small_detector("draem", base_width=8), tmp_path / "wide")
    (tmp_path / "wide" / "detector.safetensors").replace(weights)
    with pytest.raises(DiffadError, match=r"detector.safetensors: does not fit"):
        load_detector(tmp_path)


def test_a_setting_of_an_earlier_version_is_taken_where_it_means_what_is_built_now(tmp_path):
    save_detector(small_detector("diffusionad"), tmp_path)
    path = tmp_path / "detector.json"
    told = json.loads(path.read_text())
    told["settings"]["noise_draws"] = 1
    path.write_text(json.dumps(told))
    assert load_detector(tmp_path).settings == small_detector("diffusionad").settings
    told["settings"]["noise_draws"] = 4
    path.write_text(json.dumps(told))
    with pytest.raises(DiffadError, match=r"detector.json: .*noise_draws"):
        load_detector(tmp_path)


def test_the_detector_of_no_method_is_not_saved(tmp_path):
    with pytest.raises(DiffadError, match="ToyDetector is the detector of no method"):
        save_detector(toy_detector(), tmp_path)
    assert list(tmp_path.iterdir()) == []
