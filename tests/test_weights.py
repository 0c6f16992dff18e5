"""Detectors in our own format come back as they were, or an error names the file."""

import json
import os
import time

import pytest
import torch
from safetensors.torch import save_file

from diffad_lib.errors import DiffadError
from diffad_lib.methods.method import find_method
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
    kernels = [weight for weight in loaded.parameters() if weight.dim() == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
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
        "{}",
        '{"method": ["draem"], "settings": {}}',
        '{"method": "draem", "settings": [1]}',
        '{"method": "draem", "settings": {"self": 1}}',
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


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"a":' * 100_000, "\xff", "1" * 5000])
def test_a_description_that_is_no_json_object_is_named(tmp_path, text):
    save_detector(small_detector("draem"), tmp_path)
    (tmp_path / "detector.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DiffadError, match=r"detector.json: (cannot be read|holds no JSON object)"):
        load_detector(tmp_path)


def tell(folder, **changes):
    """Change what detector.json says; a value of ... takes a key away."""
    path = folder / "detector.json"
    told = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not ...}))


@pytest.mark.parametrize(
    ("method", "changes", "key"),
    [
        ("diffusionad", {"base_width": 10**6}, "base_width"),
        ("diffusionad", {"base_width": -8}, "base_width"),
        ("diffusionad", {"timesteps": 10**9}, "timesteps"),
        ("diffusionad", {"channel_multipliers": [10**5, 1]}, "channel_multipliers"),
        ("diffusionad", {"channel_multipliers": [1] * 20_000}, "channel_multipliers"),
        ("diffusionad", {"channel_multipliers": []}, "channel_multipliers"),
        ("diffusionad", {"attention_resolutions": [0]}, "attention_resolutions"),
        ("diffusionad", {"residual_blocks": 10**9}, "residual_blocks"),
        ("diffusionad", {"heads": 0}, "heads"),
        ("diffusionad", {"heads": 10**9}, "heads"),
        ("diffusionad", {"norm_groups": 0}, "norm_groups"),
        ("diffusionad", {"segmentation_width": 10**6}, "segmentation_width"),
        ("diffusionad", {"score_pixels": 10**9}, "score_pixels"),
        ("diffusionad", {"image_size": 10**12}, "image_size"),
        ("draem", {"image_size": 2**40}, "image_size"),
        ("draem", {"base_width": 10**6}, "base_width"),
        ("draem", {"segmentation_width": 10**6}, "segmentation_width"),
        ("draem", {"score_window": 10**9 + 1}, "score_window"),
        ("autoencoder", {"base_width": 10**6}, "base_width"),
        ("autoencoder", {"bottleneck": 10**9}, "bottleneck"),
        ("autoencoder", {"image_size": "x" * 10**6}, "image_size"),
        ("autoencoder", {"x" * 10**6: 1}, "xxx"),
    ],
)
def test_settings_out_of_range_are_one_short_line(tmp_path, method, changes, key):
    detector = small_detector(method)
    save_detector(detector, tmp_path)
    tell(tmp_path, settings=detector.settings.model_dump(mode="json") | changes)
    with pytest.raises(
        DiffadError, match=rf"detector.json: not a saved detector \(.*{key}"
    ) as error:
        load_detector(tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("diffusionad", {"base_width": 1024, "channel_multipliers": [64, 64]}),
        ("draem", {"base_width": 1024}),
        ("autoencoder", {"bottleneck": 8192}),
    ],
)
def test_shapes_are_compared_before_a_network_takes_memory(tmp_path, monkeypatch, method, changes):
    detector, devices = small_detector(method), []
    save_detector(detector, tmp_path)
    tell(tmp_path, settings=detector.settings.model_dump(mode="json") | changes)
    kind = type(detector)
    build = kind.__init__

    def watched(self, settings):
        devices.append(torch.get_default_device().type)
        build(self, settings)

    monkeypatch.setattr(kind, "__init__", watched)
    with pytest.raises(
        DiffadError, match=r"detector.safetensors: does not fit the network"
    ) as error:
        load_detector(tmp_path)
    assert devices == ["meta"] and "\n" not in str(error.value)


@pytest.mark.parametrize("method", SMALL)
def test_what_is_not_in_the_weights_is_built_as_before(tmp_path, method):
    """Such as the constants of the diffusion: none is left on the meta device."""
    first = small_detector(method)
    save_detector(first, tmp_path)
    torch.manual_seed(0)
    second, third = load_detector(tmp_path), torch.rand(1)
    torch.manual_seed(0)
    find_method(method).detector(first.settings)
    assert torch.equal(third, torch.rand(1))  # and random numbers go on as if built once
    for name, value in vars(getattr(second, "schedule", first)).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, getattr(first.schedule, name))


@pytest.mark.parametrize("place", [9, 0.3, 0.5, -1])
def test_a_flipped_byte_of_the_weights_is_refused(tmp_path, place):
    save_detector(small_detector("autoencoder"), tmp_path)
    weights = tmp_path / "detector.safetensors"
    content = bytearray(weights.read_bytes())
    content[place if isinstance(place, int) else int(place * len(content))] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DiffadError, match=r"detector.safetensors: damaged") as error:
        load_detector(tmp_path)
    assert "\n" not in str(error.value)


def test_weights_of_another_detector_of_the_same_shape_are_refused(tmp_path):
    detector = small_detector("autoencoder")
    save_detector(detector, tmp_path / "a")
    next(detector.parameters()).data.add_(1)
    save_detector(detector, tmp_path / "b")
    (tmp_path / "b" / "detector.safetensors").replace(tmp_path / "a" / "detector.safetensors")
    with pytest.raises(DiffadError, match=r"not the weights that detector.json was saved with"):
        load_detector(tmp_path / "a")


def test_a_description_without_a_checksum_is_read_and_told_on_stderr(tmp_path, capsys):
    detector = small_detector("autoencoder")
    save_detector(detector, tmp_path)
    load_detector(tmp_path)
    assert capsys.readouterr().err == ""
    tell(tmp_path, sha256=...)
    assert_same_weights(load_detector(tmp_path), detector)
    line = capsys.readouterr().err
    assert line.startswith(f"{tmp_path}/detector.json: lacks the sha256") and line.count("\n") == 1
    tell(tmp_path, sha256=None)
    with pytest.raises(DiffadError, match="sha256"):
        load_detector(tmp_path)


@pytest.mark.parametrize("name", ["detector.json", "detector.safetensors"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path, name, kind):
    save_detector(small_detector("autoencoder"), tmp_path)
    path = tmp_path / name
    path.unlink()
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}.get(
        kind, lambda: path.symlink_to("/dev/zero")
    )()
    started = time.monotonic()
    with pytest.raises(DiffadError, match=rf"{name}: is not a file"):
        load_detector(tmp_path)
    assert time.monotonic() - started < 5


def test_weights_of_another_kind_of_number_are_refused(tmp_path):
    detector = small_detector("autoencoder")
    save_detector(detector, tmp_path)
    tell(tmp_path, sha256=...)
    weights = {name: value.clone() for name, value in detector.state_dict().items()}
    for kind in (torch.int32, torch.complex64):
        name = next(iter(weights))
        save_file(weights | {name: weights[name].to(kind)}, tmp_path / "detector.safetensors")
        with pytest.raises(DiffadError, match=r"detector.safetensors: does not fit the network"):
            load_detector(tmp_path)
    save_file({k: v.half() for k, v in weights.items()}, tmp_path / "detector.safetensors")
    with pytest.raises(DiffadError, match=r"num_batches_tracked"):
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
    tell(tmp_path, sha256=...)
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
