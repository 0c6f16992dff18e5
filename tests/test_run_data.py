"""The data of a run: what is asked about before anything trains."""

from pathlib import Path

import pytest

import layout_factory as factory
from diffad_lib.datasets.decode import decode_mask
from diffad_lib.errors import DiffadError
from diffad_lib.runs import data
from diffad_lib.runs.config import build_config
from diffad_lib.runs.data import load_data, what_is_read


@pytest.fixture
def masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    return sorted((factory.make_mvtec(tmp_path) / "ground_truth").rglob("*.png"))


def invert(path: Path) -> None:
    factory.write_pixels(path, 255 * (1 - decode_mask(path)))


def notes(root: Path, method: str = "autoencoder", **settings: object) -> list[str]:
    """What a run says of its data before it trains."""
    own = {"image_size": 32, **settings}
    config = build_config("mvtec", "bottle", method, overrides=own, data_root=root)
    return what_is_read(config, load_data(config)).notes


def test_a_set_of_inverted_masks_stops_unless_told_to_go_on(masks, tmp_path) -> None:
    for path in masks:
        invert(path)
    with pytest.raises(DiffadError, match=r"4 of 4 masks.*--set accept_masks=true") as error:
        notes(tmp_path)
    assert str(error.value).startswith(str(masks[0]))
    assert notes(tmp_path, accept_masks=True)[-1].endswith("(4 doubtful masks)")


def test_a_single_inverted_mask_is_named_and_good_ones_are_not(masks, tmp_path) -> None:
    assert len(notes(tmp_path)) == 1  # the counts
    invert(masks[2])
    line = notes(tmp_path)[-1]
    assert line.startswith(str(masks[2])) and line.endswith("inverted? (1 doubtful masks)")


@pytest.mark.usefixtures("masks")
def test_a_category_that_is_only_partly_there_is_told_with_the_official_counts(tmp_path) -> None:
    assert notes(tmp_path) == [
        "train good: 3 images, the catalog says 209; test good: 2 images, the catalog says 20; "
        "test defect: 4 images, the catalog says 63"
    ]
    config = build_config("mvtec", "bottle", "autoencoder", data_root=tmp_path)
    found = what_is_read(config)
    assert found.catalog["train good"] == 209 and found.train.images == 3
    assert (tmp_path / "mini.json").write_text("{}")  # as in the mini data
    assert notes(tmp_path) == []


@pytest.mark.usefixtures("masks")
def test_what_is_not_read_is_told_and_kept_with_all_that_is(tmp_path) -> None:
    (tmp_path / "mvtec" / "bottle" / "train" / "good" / "a.heic").touch()
    assert notes(tmp_path)[0].startswith("1 file is not read: train/good 1 .heic: convert it")
    config = build_config("mvtec", "bottle", "autoencoder", data_root=tmp_path)
    inventory = what_is_read(config).inventory
    assert {one.counts_as for one in inventory} >= {"train good", "mask", "not read"}


@pytest.mark.usefixtures("masks")
def test_foreground_masks_in_the_category_are_no_unread_files(tmp_path) -> None:
    base = tmp_path / "mvtec" / "bottle"
    for path in (base / "train" / "good").iterdir():
        factory.write_mask(base / "DISthresh" / "good" / path.name)
    assert "DISthresh" in notes(tmp_path)[0]
    assert "DISthresh" not in notes(tmp_path, "draem", foreground_folder=f"{base}/DISthresh")[0]


@pytest.mark.usefixtures("masks")
def test_of_thousands_of_textures_the_folder_that_changed_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(data, "_MOST_FILES", 4)
    for name in ("banded", "woven"):
        for index in range(3):
            factory.write_noise(tmp_path / "textures" / name / f"{index}.png", index)
    config = build_config(
        "mvtec", "bottle", "draem", data_root=tmp_path, textures=tmp_path / "textures"
    )
    before = what_is_read(config)
    assert before.textures.images == 6 and {*before.textures.files} == {"banded/", "woven/"}
    factory.write_noise(tmp_path / "textures" / "woven" / "1.png", 9)
    assert before.difference(what_is_read(config)) == "woven/ holds other files"


@pytest.mark.usefixtures("masks")
def test_copies_of_training_images_are_told(tmp_path) -> None:
    base = tmp_path / "mvtec" / "bottle"
    copied = base / "test" / "good" / "001.png"
    copied.write_bytes((base / "train" / "good" / "002.png").read_bytes())
    told = "copies of training images among the test images"
    assert notes(tmp_path)[-1] == f"{told}: test/good/001.png (training image 002.png)"
