"""`diffad convert`: official files in, our format out, and back."""

import pytest
import torch

from diffad_lib.convert import export_files, import_files
from diffad_lib.errors import DiffadError
from diffad_lib.weights import load_detector, save_detector
from small import assert_same_weights, small_detector

OFFICIAL = {"residual_blocks": 2, "attention_resolutions": (32, 16, 8), "norm_groups": 32}
FILES = {
    "draem": (("a.pckl", "a_seg.pckl"), {}, {"image_size": 32}),
    "diffusionad": (("params-last.pt",), OFFICIAL | {"base_width": 32}, {"score_pixels": 7}),
}


@pytest.mark.parametrize("method", FILES)
def test_exported_files_come_back_as_the_same_detector(tmp_path, method):
    names, settings, changes = FILES[method]
    detector = small_detector(method, **settings)
    save_detector(detector, tmp_path / "ours")
    files = [tmp_path / name for name in names]
    export_files(tmp_path / "ours", files)
    import_files(method, files, tmp_path / "back", changes)
    back = load_detector(tmp_path / "back")
    assert_same_weights(detector, back)
    assert back.settings == detector.settings.but(**changes)


def test_the_command_imports_and_exports(tmp_path, diffad):
    save_detector(small_detector("draem"), tmp_path / "ours")
    files = [str(tmp_path / name) for name in ("a.pckl", "a_seg.pckl")]
    to = ("--to", str(tmp_path / "back"), "--method", "draem", "--set", "image_size=32")
    for arguments in (["export", str(tmp_path / "ours"), *files], ["import", *files, *to]):
        told = diffad("convert", *arguments)
        assert told.code == 0
    assert f"--weights {tmp_path / 'back'}" in told.out and "--variant code-resize" in told.out
    assert load_detector(tmp_path / "back").settings.image_size == 32


def test_wrong_requests_are_one_line(tmp_path):
    save_detector(small_detector("autoencoder"), tmp_path / "plain")
    with pytest.raises(DiffadError, match="there is no official code"):
        export_files(tmp_path / "plain", [tmp_path / "x"])
    with pytest.raises(DiffadError, match=r"NAME\.pckl and NAME_seg\.pckl, in this order; 1 given"):
        import_files("draem", [tmp_path / "x"], tmp_path / "to")
    torch.save({}, tmp_path / "x")
    with pytest.raises(DiffadError, match="x: not a DiffusionAD checkpoint"):
        import_files("diffusionad", [tmp_path / "x"], tmp_path / "to")
    with pytest.raises(DiffadError, match='"patchcore" is not known'):
        import_files("patchcore", [tmp_path / "x"], tmp_path / "to")
    save_detector(small_detector("draem"), tmp_path / "ours")
    with pytest.raises(DiffadError, match="y: is named twice"):
        export_files(tmp_path / "ours", [tmp_path / "y", tmp_path / "y"])
    files = [tmp_path / "a", tmp_path / "b"]
    export_files(tmp_path / "ours", files)
    with pytest.raises(DiffadError, match="base_width is 4 in the file and cannot be set"):
        import_files("draem", files, tmp_path / "to", {"base_width": 99})
    assert not (tmp_path / "to").exists()
