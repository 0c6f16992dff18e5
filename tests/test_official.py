import os
from collections import defaultdict

import pytest
import torch

from diffad_lib.errors import DiffadError
from diffad_lib.methods.diffusionad.official import export_diffusionad, load_diffusionad
from diffad_lib.methods.draem import DraemSettings
from diffad_lib.methods.draem.official import export_draem, load_draem
from reference import (
    DIFFUSIONAD_CHECKPOINT,
    DRAEM_CHECKPOINTS,
    assert_matches,
    needs_reference,
    reference_tensors,
)
from small import assert_same_weights, small_detector


def exportable_diffusionad(**settings):
    """Small, but with everything the official code fixes."""
    official = {"residual_blocks": 2, "attention_resolutions": (32, 16, 8), "norm_groups": 32}
    return small_detector("diffusionad", **{"base_width": 32} | official | settings)


def write_pair(folder, reconstructive, discriminative):
    paths = folder / "DRAEM.pckl", folder / "DRAEM_seg.pckl"
    torch.save(reconstructive, paths[0])
    torch.save(discriminative, paths[1])
    return paths


@needs_reference
def test_draem_takes_rgb_where_the_official_code_takes_bgr():
    detector = load_draem(DRAEM_CHECKPOINTS, {"image_size": 64})
    io = reference_tensors("draem_small_io.safetensors")
    sizes = {"image_size": 64, "base_width": 16, "segmentation_width": 8}
    assert detector.settings == DraemSettings(**sizes, score_window=21)
    assert not detector.training
    with torch.inference_mode():
        reconstruction, logits = detector(io["in.augmented_image"].flip(1))
        prediction = detector.predict(io["in.augmented_image"].flip(1))
    assert_matches(reconstruction.flip(1), io["out.reconstruction"])
    assert_matches(logits, io["out.logits"])
    assert_matches(prediction.image_score, io["out.image_score"])


@needs_reference
def test_exported_draem_holds_the_official_weights_again(tmp_path):
    paths = tmp_path / "out.pckl", tmp_path / "out_seg.pckl"
    export_draem(load_draem(DRAEM_CHECKPOINTS), paths)
    for exported, official in zip(paths, DRAEM_CHECKPOINTS, strict=True):
        ours, theirs = (torch.load(path, weights_only=True) for path in (exported, official))
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@needs_reference
def test_diffusionad_reads_its_settings_from_the_checkpoint():
    detector = load_diffusionad([DIFFUSIONAD_CHECKPOINT])
    assert not detector.training
    assert detector.settings.image_size == 64
    assert detector.settings.base_width == 32
    assert detector.settings.segmentation_width == 8
    assert (detector.settings.test_normal_t, detector.settings.test_noisier_t) == (200, 400)


@needs_reference
def test_exported_diffusionad_holds_the_official_weights_again(tmp_path):
    first = load_diffusionad([DIFFUSIONAD_CHECKPOINT])
    export_diffusionad(first, [tmp_path / "params-last.pt"])
    second = load_diffusionad([tmp_path / "params-last.pt"])
    assert_same_weights(first, second)
    assert first.settings == second.settings


def test_exported_diffusionad_keeps_every_setting_and_the_official_form(tmp_path):
    path = tmp_path / "params-last.pt"
    detector = exportable_diffusionad(
        channel_multipliers=(1, 2, 3),
        timesteps=200,
        beta_schedule="cosine",
        less_t_range=30,
        test_normal_t=20,
        test_noisier_t=40,
        guidance_weight=0.5,
        heads=2,
    )
    export_diffusionad(detector, [path])
    assert load_diffusionad([path]).settings == detector.settings
    content = torch.load(path, weights_only=False)  # our own file, read as the official code does
    assert content["n_epoch"] == 0
    assert type(content["args"]) is defaultdict
    assert content["args"]["loss-type"] == ""
    assert content["args"]["img_size"] == [32, 32]


@pytest.mark.parametrize(
    "settings",
    [
        {"residual_blocks": 1},
        {"attention_resolutions": (8,)},
        {"signed_range": True},
        {"prediction": "x0"},
        {"norm_groups": None},
    ],
)
def test_what_the_official_code_cannot_build_is_not_exported(tmp_path, settings):
    with pytest.raises(DiffadError, match=next(iter(settings)).removeprefix("norm_")):
        export_diffusionad(exportable_diffusionad(**settings), [tmp_path / "params.pt"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.99, 0.9999])
def test_truncated_official_checkpoints_are_named(tmp_path, share):
    path = tmp_path / "params-last.pt"
    export_diffusionad(exportable_diffusionad(), [path])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DiffadError, match=r"params-last.pt: damaged"):
        load_diffusionad([path])


class Exploit:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_inside_a_checkpoint_is_not_run(tmp_path):
    path = tmp_path / "params-last.pt"
    torch.save({"args": Exploit(tmp_path / "executed")}, path)
    with pytest.raises(DiffadError, match=r"params-last.pt: damaged or not a plain"):
        load_diffusionad([path])
    assert not (tmp_path / "executed").exists()


def test_missing_and_foreign_official_files_are_named(tmp_path):
    detector = small_detector("draem")
    parts = detector.reconstruction.state_dict(), detector.segmentation.state_dict()
    swapped = write_pair(tmp_path, *reversed(parts))
    with pytest.raises(DiffadError, match=r"DRAEM.pckl: not the expected network"):
        load_draem(swapped)
    pair = write_pair(
        tmp_path, parts[0], {**parts[1], "decoder_segment.db4.0.weight": torch.ones(1)}
    )
    with pytest.raises(DiffadError, match=r"DRAEM_seg.pckl: does not fit.*db4.0.weight"):
        load_draem(pair)
    with pytest.raises(DiffadError, match=r"none.pckl: not found"):
        load_draem((pair[0], tmp_path / "none.pckl"))
    torch.save([1, 2], pair[0])
    with pytest.raises(DiffadError, match=r"DRAEM.pckl: holds a list"):
        load_draem(pair)
    with pytest.raises(DiffadError, match=r"DRAEM_seg.pckl: not a DiffusionAD checkpoint"):
        load_diffusionad([pair[1]])
    (tmp_path / "photo.pt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(DiffadError, match=r"photo.pt: damaged"):
        load_diffusionad([tmp_path / "photo.pt"])


@pytest.mark.parametrize(
    "args",
    [
        {"img_size": [64, 32], "base_channels": 32},
        {"base_channels": 32},
        {"img_size": 64, "base_channels": 32},
        {"img_size": [48, 48], "base_channels": 32},
        {"img_size": [32, 32], "base_channels": 32, "num_head_channels": 8},
        {"img_size": [32, 32], "base_channels": 32, "beta_schedule": ""},
    ],
)
def test_args_that_describe_no_known_network_are_named(tmp_path, args):
    detector, path = exportable_diffusionad(), tmp_path / "params-best.pt"
    states = detector.denoising.state_dict(), detector.segmentation.state_dict()
    keys = ("unet_model_state_dict", "seg_model_state_dict")
    torch.save({**dict(zip(keys, states, strict=True)), "args": args}, path)
    with pytest.raises(DiffadError, match=r"params-best.pt: its args"):
        load_diffusionad([path])
