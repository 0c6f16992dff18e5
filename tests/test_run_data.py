"""The data of a run: what is asked about before anything trains."""

from pathlib import Path

import pytest

import layout_factory as factory
from diffad_lib.datasets.decode import decode_mask
from diffad_lib.errors import DiffadError
from diffad_lib.runs.config import build_config
from diffad_lib.runs.data import load_data


@pytest.fixture
def masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    return sorted((factory.make_mvtec(tmp_path) / "ground_truth").rglob("*.png"))


def invert(path: Path) -> None:
    factory.write_pixels(path, 255 * (1 - decode_mask(path)))


def load(root: Path, **settings: bool) -> None:
    own = {"image_size": 32, **settings}
    load_data(build_config("mvtec", "bottle", "autoencoder", overrides=own, data_root=root))


def test_a_set_of_inverted_masks_stops_unless_told_to_go_on(masks, tmp_path, capsys) -> None:
    for path in masks:
        invert(path)
    with pytest.raises(DiffadError, match=r"4 of 4 masks.*--set accept_masks=true") as error:
        load(tmp_path)
    assert str(error.value).startswith(str(masks[0]))
    load(tmp_path, accept_masks=True)
    assert "(4 of 4 masks)" in capsys.readouterr().out


def test_a_single_inverted_mask_is_named_and_good_ones_are_not(masks, tmp_path, capsys) -> None:
    load(tmp_path)
    assert capsys.readouterr().out == ""
    invert(masks[2])
    load(tmp_path)
    line = capsys.readouterr().out
    assert line.startswith(str(masks[2])) and line.endswith("inverted? (1 of 4 masks)\n")
