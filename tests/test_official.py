import os
import pickle
import tracemalloc
import zipfile
from collections import OrderedDict, defaultdict

import pytest
import torch

from diffad_lib.errors import DiffadError
from diffad_lib.methods.diffusionad.official import export_diffusionad, load_diffusionad
from diffad_lib.methods.draem import Draem, DraemSettings
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


FIRST = "encoder.block1.0.weight"


def draem_states():
    detector = small_detector("draem")
    return detector.reconstruction.state_dict(), detector.segmentation.state_dict()


def repacked(path, data=None, compression=zipfile.ZIP_STORED):
    """Another pickle in a file of torch.save, or other packing."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, data if data and name.endswith("data.pkl") else content)


def assert_refused(paths, match, load=load_draem):
    """One line, and not the gigabyte that the file may ask for."""
    tracemalloc.start()
    try:
        with pytest.raises(DiffadError, match=match) as error:
            load(paths)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    assert str(paths[0].parent) in str(error.value)


@pytest.mark.parametrize(
    "weight",
    [
        5,
        None,
        [1],
        torch.tensor(1.0),
        torch.ones(4),
        torch.ones(0, 3, 3, 3),
        torch.zeros(1).expand(10**6, 3, 3, 3),
        torch.ones(4, 3, 3, 3, dtype=torch.int64),
        torch.ones(4, 3, 3, 3, dtype=torch.complex64),
        torch.ones(4, 3, 3, 3).to_sparse(),
        torch.ones(4, 3, 3, 3, device="meta"),
    ],
    ids=repr,
)
def test_a_weight_that_is_none_of_this_network_is_refused(tmp_path, weight):
    states = draem_states()
    assert_refused(write_pair(tmp_path, {**states[0], FIRST: weight}, states[1]), r"DRAEM.pckl: ")


@pytest.mark.parametrize("state", [5, [], {}, {1: torch.ones(1)}, {"x": {}}])
def test_a_state_dict_that_is_none_is_refused(tmp_path, state):
    path = tmp_path / "params.pt"
    args = {"img_size": [32, 32], "base_channels": 32}
    for keys in (("unet", "seg"), ("seg", "unet")):
        states = dict(zip(keys, (state, draem_states()[1]), strict=True))
        content = {f"{key}_model_state_dict": value for key, value in states.items()}
        torch.save(content | {"args": args}, path)
        assert_refused([path], r"params.pt: (does not fit|not the expected)", load_diffusionad)
    first = {FIRST: torch.ones(4, 3, 3, 3), **(state if isinstance(state, dict) else {})}
    assert_refused(write_pair(tmp_path, first, draem_states()[1]), r"DRAEM.pckl: does not fit")


def test_weights_that_repeat_few_numbers_take_no_memory(tmp_path):
    with torch.device("meta"):
        large = Draem(DraemSettings(base_width=1024, segmentation_width=1024))
    states = [
        {
            name: torch.zeros((), dtype=value.dtype).expand(value.shape)
            for name, value in network.state_dict().items()
        }
        for network in (large.reconstruction, large.segmentation)
    ]
    assert_refused(write_pair(tmp_path, *states), "repeated from fewer numbers")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02cbuiltins\nbytearray\nJ\x00\xca\x9a\x3b\x85R.",  # bytearray(10**9)
        b"\x80\x02c__builtin__\nbytearray\nJ\x00\xca\x9a\x3b\x85R.",
        b"\x80\x02ctorch\nTensor\nJ\x00\xca\x9a\x3b\x85R.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
        b"\x80\x02(iposix\nsystem\n.",
        b"\x80\x02\x85\x85\x85.",  # a tuple of what is not there
        b"\x80\x02R.",
        b"\x80\x02u.",
        b"\x80\x02h\x07.",
        b"\x80\x02X\xff\xff\xff\xffa.",
        b"\x80\x02\xff.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        b".",
        b"\x80\x02}",
    ],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_cannot_be_a_checkpoint_is_refused(tmp_path, data, is_zip):
    path = tmp_path / "params.pt"
    torch.save({"args": 1}, path, _use_new_zipfile_serialization=is_zip)
    if is_zip:
        repacked(path, data)
    else:  # the fourth of five pickles
        content, whole = path.read_bytes(), pickle.dumps({"args": 1}, protocol=2)
        assert content.count(whole) == 1
        path.write_bytes(content.replace(whole, data))
    assert_refused([path], r"params.pt: damaged or not a plain", load_diffusionad)


def test_official_files_of_before_pytorch_1_6_are_read(tmp_path):
    for name, state in zip(("DRAEM.pckl", "DRAEM_seg.pckl"), draem_states(), strict=True):
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=False)
    loaded = load_draem((tmp_path / "DRAEM.pckl", tmp_path / "DRAEM_seg.pckl"))
    export_draem(loaded, (tmp_path / "a", tmp_path / "b"))
    again = torch.load(tmp_path / "a", weights_only=True)
    assert all(torch.equal(again[name], value) for name, value in draem_states()[0].items())


def test_a_packed_checkpoint_is_refused_before_it_is_unpacked(tmp_path):
    paths = write_pair(tmp_path, {"x": torch.zeros(10**8 // 4)}, {})
    repacked(paths[0], compression=zipfile.ZIP_DEFLATED)
    assert paths[0].stat().st_size < 10**6
    assert_refused(paths, r"DRAEM.pckl: damaged")


def test_a_flipped_byte_of_an_official_file_is_refused(tmp_path):
    paths = write_pair(tmp_path, *draem_states())
    content = bytearray(paths[1].read_bytes())
    content[len(content) // 2] ^= 1
    paths[1].write_bytes(content)
    assert_refused(paths, r"DRAEM_seg.pckl: damaged")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_an_official_file_that_is_none_is_refused_at_once(tmp_path, make):
    make(tmp_path / "params.pt")
    assert_refused([tmp_path / "params.pt"], r"params.pt: is not a file", load_diffusionad)


class Hiding:
    """Becomes an OrderedDict whose methods are hidden behind attributes."""

    def __init__(self, content):
        self.content = content

    def __reduce__(self):
        hidden = dict.fromkeys(("keys", "items", "values", "get", "copy", "_metadata"), 5)
        return OrderedDict, (), hidden, None, iter(self.content.items())


def test_a_dict_that_hides_its_own_methods_is_refused(tmp_path):
    torch.save(Hiding({"args": 1}), tmp_path / "params.pt")
    assert_refused([tmp_path / "params.pt"], r"params.pt: not a DiffusionAD", load_diffusionad)
    states = draem_states()
    paths = write_pair(tmp_path, Hiding(states[0]), states[1])
    assert_refused(paths, r"DRAEM.pckl: does not fit")
    path = tmp_path / "params.pt"
    args = Hiding({"img_size": [32, 32], "base_channels": 32})
    content = {"unet_model_state_dict": {}, "seg_model_state_dict": states[1], "args": args}
    torch.save(content, path)
    assert_refused([path], r"params.pt: its args", load_diffusionad)


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


ENDLESS = [1]  # lists of lists that a file holds once and a text would hold 10**30 times
for _ in range(30):
    ENDLESS = [ENDLESS] * 10


@pytest.mark.parametrize(
    "args",
    [
        {"img_size": [64, 32], "base_channels": 32},
        {"base_channels": 32},
        {"img_size": 64, "base_channels": 32},
        {"img_size": [48, 48], "base_channels": 32},
        {"img_size": [32, 32], "base_channels": 32, "num_head_channels": 8},
        {"img_size": [32, 32], "base_channels": 32, "beta_schedule": ""},
        {"img_size": [32, 32], "base_channels": 32, "num_heads": 0},
        {"img_size": [32, 32], "base_channels": 32, "T": 10**9},
        {"img_size": [32, 32], "base_channels": 32, "T": 10**500},
        {"img_size": [32, 32], "base_channels": -32},
        {"img_size": [32, 32], "base_channels": 10**6},
        {"img_size": [32, 32], "base_channels": 32, "channel_mults": [10**5]},
        {"img_size": [32, 32], "base_channels": 32, "channel_mults": 5},
        {"img_size": [32, 32], "base_channels": 32, "condition_w": float("nan")},
        {"img_size": [10**12, 10**12], "base_channels": 32},
        {"img_size": torch.ones(2, 2), "base_channels": 32},
        {"img_size": [32, 32], "base_channels": ENDLESS},
        {"img_size": [ENDLESS, 32], "base_channels": 32},
        torch.ones(2),
        "args",
        None,
    ],
)
def test_args_that_describe_no_known_network_are_named(tmp_path, args):
    detector, path = exportable_diffusionad(), tmp_path / "params-best.pt"
    states = detector.denoising.state_dict(), detector.segmentation.state_dict()
    keys = ("unet_model_state_dict", "seg_model_state_dict")
    torch.save({**dict(zip(keys, states, strict=True)), "args": args}, path)
    assert_refused([path], r"params-best.pt: its args", load_diffusionad)
