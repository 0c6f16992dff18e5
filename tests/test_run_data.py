"""The data of a run: what is asked about before anything trains."""

import shutil
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

import layout_factory as factory
from diffad_lib.datasets.decode import decode_mask
from diffad_lib.errors import DiffadError
from diffad_lib.runs import data
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import (
    check_inputs,
    foreground_folder,
    load_data,
    load_normal,
    what_is_read,
)
from diffad_lib.runs.experiment import make_fabric, prepare
from diffad_lib.runs.synthetic import foreground_lines, make_batches


@pytest.fixture
def masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    return sorted((factory.make_mvtec(tmp_path) / "ground_truth").rglob("*.png"))


def invert(path: Path) -> None:
    factory.write_pixels(path, 255 * (1 - decode_mask(path)))


def notes(root: Path, method: str = "autoencoder", **settings: object) -> list[str]:
    """What a run says of its data before it trains."""
    own = {"image_size": 32, **settings}
    config = build_config("mvtec", "bottle", method, "laptop", overrides=own, data_root=root)
    return what_is_read(config, load_data(config)).notes


def test_a_set_of_inverted_masks_stops_unless_told_to_go_on(masks, tmp_path) -> None:
    for path in masks:
        invert(path)
    with pytest.raises(DiffadError, match=r"4 of 4 in all.*--set accept_masks=true") as error:
        notes(tmp_path)
    assert str(error.value).startswith(str(masks[0]))
    assert notes(tmp_path, accept_masks=True)[-1].endswith("(4 doubtful masks)")


def test_a_single_inverted_mask_is_named_and_good_ones_are_not(masks, tmp_path) -> None:
    assert len(notes(tmp_path)) == 1  # the counts
    invert(masks[2])
    line = notes(tmp_path)[-1]
    assert line.startswith(str(masks[2])) and line.endswith("inverted? (1 doubtful masks)")


@pytest.mark.parametrize(
    ("gone", "told"), [("ground_truth", "mask of a defect"), ("test/good", "good image")]
)
def test_on_such_a_test_set_no_weights_can_be_selected(
    gone: str, told: str, tmp_path: Path
) -> None:
    shutil.rmtree(factory.make_mvtec(tmp_path / "own", "parts", folder=".") / gone)

    def look(**settings: object) -> None:
        given = {"overrides": settings, "data_root": tmp_path / "own"}
        check_inputs(build_config("custom", "parts", "autoencoder", "laptop", **given))

    look()
    told = rf"select_on_test_epochs: .*own/parts has no {told}; add them, or --set"
    with pytest.raises(DiffadError, match=told):
        look(select_on_test_epochs=1)


@pytest.mark.usefixtures("masks")
def test_official_masks_are_smaller(tmp_path) -> None:
    def test_masks(*variants: str) -> int:
        config = build_config("mvtec", "bottle", "draem", "paper", variants, data_root=tmp_path)
        _, test = load_data(config.but(detector=config.detector.but(image_size=96, score_window=3)))
        return int(test.masks.sum())

    assert test_masks("official-masks") == test_masks("official-code") < test_masks()


def as_official(paths: list[Path]) -> np.ndarray:
    """uint8 [N,3,64,64] RGB: images as both official codes read and resize them."""
    resized = [cv2.resize(cv2.imread(str(path)), dsize=(64, 64)) for path in paths]
    return np.stack(resized)[..., ::-1].transpose(0, 3, 1, 2)


@pytest.mark.usefixtures("masks")
@pytest.mark.parametrize("method", ["draem", "diffusionad"])
def test_with_code_resize_all_images_are_those_of_the_official_code(method, tmp_path) -> None:
    factory.make_dtd(tmp_path)
    for number, path in enumerate(sorted(tmp_path.rglob("*.[jp]*g"))):
        write = factory.write_mask if path.stem.endswith("_mask") else factory.write_noise
        write(path, 200 + number, side=150)

    def read(*variants: str) -> list[np.ndarray]:
        config = build_config(
            "mvtec", "bottle", method, "mini", variants, {"foreground": "none", "device": "cpu"},
            data_root=tmp_path, textures=tmp_path / "dtd",
        )  # fmt: skip
        train, test = load_data(config)
        batches = make_batches(config, train, make_fabric(config))
        normal = load_normal(config)
        return [train.images, test.images, normal.images, batches.synthesizer.textures, test.masks]

    base = tmp_path / "mvtec" / "bottle"
    train = sorted((base / "train").rglob("*.png"))
    folders = sorted((base / "test").iterdir(), key=lambda folder: (folder.name != "good", folder))
    test = [path for folder in folders for path in sorted(folder.iterdir())]
    textures = sorted((tmp_path / "dtd").rglob("*.jpg"))
    *linear, masks = read("code-resize")
    *area, masks_of_area = read()
    for images, ours, paths in zip(linear, area, (train, test, train, textures), strict=True):
        np.testing.assert_array_equal(images, as_official(paths))
        assert np.abs(images.astype(int) - ours).mean() > 5
    np.testing.assert_array_equal(masks, masks_of_area)


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


DRAWN = "anomalies are made from drawn textures; "


@pytest.mark.usefixtures("masks")
def test_a_training_with_drawn_textures_is_told_where_the_papers_take_photographs(tmp_path) -> None:
    told = [line.startswith(DRAWN) for line in notes(tmp_path, "draem")]
    assert told.count(True) == 1
    assert not any(line.startswith(DRAWN) for line in notes(tmp_path))  # an autoencoder pastes none
    factory.write_noise(tmp_path / "textures" / "woven.jpg", 1)
    for change in ({"textures": tmp_path / "textures"}, {"weights": tmp_path / "weights"}):
        config = given(tmp_path).but(**change)
        assert not any(line.startswith(DRAWN) for line in what_is_read(config).notes)
    (tmp_path / "mini.json").write_text("{}")  # as in the mini data
    assert notes(tmp_path, "draem") == []


@pytest.mark.usefixtures("masks")
def test_textures_that_are_not_read_are_told(tmp_path) -> None:
    factory.write_noise(tmp_path / "textures" / "woven.jpg", 1)
    for name in ("felt.avif", "silk.avif", ".hidden"):
        (tmp_path / "textures" / name).touch()
    place = tmp_path / "textures"
    told = what_is_read(given(tmp_path, place)).notes
    assert any(line.startswith(f"--textures {place}: 2 files are not read: ") for line in told)
    assert any(".avif: convert it to PNG" in line for line in told)


@pytest.mark.usefixtures("masks")
def test_the_mini_budget_on_other_data_than_the_drawn_is_told(tmp_path) -> None:
    def told(budget: str, **options: object) -> bool:
        options = {"data_root": tmp_path, **options}
        config = build_config("mvtec", "bottle", "autoencoder", budget, **options)
        return any("(64 px); on other data take" in line for line in what_is_read(config).notes)

    assert told("mini") and not told("laptop")
    assert not told("mini", weights=tmp_path / "weights")  # it trains nothing
    (tmp_path / "mini.json").write_text("{}")  # as in the mini data
    assert not told("mini")


def found_objects(root: Path, capsys: pytest.CaptureFixture[str], **settings: object) -> list[str]:
    """Notes of a run on the objects in its training images, which it prints and keeps."""
    config = given(root, **settings)
    kept = [line for line in prepare(config).data.notes if "no object" in line]
    printed = [line for line in capsys.readouterr().out.splitlines() if "no object" in line]
    assert printed == [f"note: {line}" for line in kept]
    return kept


@pytest.mark.usefixtures("masks")
def test_training_images_in_which_no_object_is_found_are_told(tmp_path, capsys) -> None:
    paths = sorted((tmp_path / "mvtec" / "bottle" / "train" / "good").iterdir())
    for path in paths:
        disc = cv2.circle(np.full((32, 32, 3), 30, np.uint8), (16, 16), 8, (200, 180, 160), -1)
        disc[0, 0] = int(path.stem)  # else copies
        factory.write_pixels(path, disc)
    assert found_objects(tmp_path, capsys, foreground="auto") == []
    factory.write_pixels(paths[1], np.full((32, 32, 3), 90, np.uint8))
    (line,) = found_objects(tmp_path, capsys, foreground="auto")
    assert line.startswith("on 1 of 3 training images no object was found, so anomalies lie any")
    assert found_objects(tmp_path, capsys, foreground="auto", kind="texture") == []
    assert found_objects(tmp_path, capsys, foreground="none") == []
    for path in paths:
        factory.write_mask(tmp_path / "masks" / "good" / path.name)
    factory.write_pixels(tmp_path / "masks" / "good" / paths[2].name, np.full((32, 32), 255, "u1"))
    (line,) = found_objects(tmp_path, capsys, foreground_folder=str(tmp_path / "masks"))
    assert line.startswith("on 1 of 3 training images")


def test_training_images_that_get_no_anomalies_for_want_of_an_object_are_told(tmp_path) -> None:
    found = np.zeros((4, 1, 8, 8), np.uint8)
    found[0] = 1
    found[1, :, :4] = 1
    config = given(tmp_path, foreground="is-net")
    everywhere, nowhere = foreground_lines(config, found)
    assert everywhere.startswith("on 1 of 4 ") and "anomalies lie anywhere on them" in everywhere
    assert nowhere.startswith("on 2 of 4 ") and "anomalies are not made on them" in nowhere
    assert foreground_lines(config.but(weights=tmp_path), found) == []  # nothing is pasted
    assert foreground_lines(config, found[1:2]) == []


@pytest.mark.parametrize("below", ["bottle/DISthresh", "bottle", "."])
@pytest.mark.usefixtures("masks")
def test_masks_of_several_categories_are_found_by_the_category(tmp_path, below: str) -> None:
    masks = tmp_path / "masks"
    for path in (tmp_path / "mvtec" / "bottle" / "train" / "good").iterdir():
        factory.write_mask(masks / below / "good" / path.name)
        if below != ".":
            factory.write_mask(masks / "cable" / "good" / path.name)
    config = given(tmp_path, foreground_folder=str(masks))
    assert foreground_folder(config) == masks / below
    assert what_is_read(config).foregrounds.images == 3
    texture = given(tmp_path, foreground_folder=str(masks), kind="texture")
    found = what_is_read(texture)
    assert found.foregrounds is None and "foreground_folder is not read" in found.notes[-1]
    note = "foreground_folder: anomalies are cut to its masks although foreground=none; leave"
    anywhere = given(tmp_path, foreground_folder=str(masks), foreground="none")
    assert note in what_is_read(anywhere).notes[-1]
    on_foreground = given(tmp_path, foreground_folder=str(masks), foreground="auto")
    assert not any("are cut to" in line for line in what_is_read(on_foreground).notes)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_masks_of_a_category_are_found_in_another_unicode_form(tmp_path, form) -> None:
    factory.make_mvtec(tmp_path, unicodedata.normalize("NFC", "부품"), folder=".")
    masks = tmp_path / "masks" / unicodedata.normalize(form, "부품")
    factory.write_mask(masks / "good" / "000.png")
    own = {"foreground_folder": str(tmp_path / "masks")}
    for typed in ("NFC", "NFD"):
        category = unicodedata.normalize(typed, "부품")
        config = build_config("custom", category, "draem", overrides=own, data_root=tmp_path)
        assert foreground_folder(config) == masks


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
    assert before.difference(what_is_read(config)) == "textures: woven/ holds other files"


@pytest.mark.usefixtures("masks")
def test_copies_of_training_images_are_told(tmp_path) -> None:
    base = tmp_path / "mvtec" / "bottle"
    copied = base / "test" / "good" / "001.png"
    copied.write_bytes((base / "train" / "good" / "002.png").read_bytes())
    told = "copies of training images among the test images"
    assert notes(tmp_path)[-1] == f"{told}: test/good/001.png (training image 002.png)"


def given(root: Path, textures: Path | None = None, **settings: object) -> RunConfig:
    own = {"image_size": 32, **settings}
    return build_config(
        "mvtec", "bottle", "draem", overrides=own, data_root=root, textures=textures
    )


@pytest.mark.usefixtures("masks")
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("mvtec/bottle/test", "6 of 6 files, such as .*test/"),
        ("mvtec/bottle/test/crack", "2 of 2 files"),
        ("mvtec/bottle/ground_truth", "4 of 4 files, such as .*ground_truth/"),
        (".", "10 of 13 files"),
        ("link", "6 of 6 files, such as .*link/"),
    ],
)
def test_textures_from_the_test_set_are_refused_before_anything_is_read(
    tmp_path, monkeypatch, place: str, told: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "mvtec" / "bottle" / "test")
    if place == ".":
        (tmp_path / "link").unlink()
    monkeypatch.setattr(data, "load_split", lambda *_: pytest.fail("read"))
    config, message = given(tmp_path, tmp_path / place), rf"--textures holds test .*\({told}"
    for look in (check_inputs, load_data, load_normal):
        with pytest.raises(DiffadError, match=message):
            look(config)


def test_the_masks_of_the_test_set_are_no_foreground_masks(masks, tmp_path) -> None:
    config = given(tmp_path, foreground_folder=str(masks[0].parents[1]))
    with pytest.raises(DiffadError, match=r"foreground_folder holds .*4 of 4 files"):
        check_inputs(config)


@pytest.mark.usefixtures("masks")
def test_a_copy_of_a_test_image_among_the_textures_stops_the_run_before_training(tmp_path) -> None:
    factory.make_dtd(tmp_path)
    config = given(tmp_path, tmp_path / "dtd")
    assert prepare(config).data.textures.images == 3
    copy = tmp_path / "dtd" / "images" / "banded" / "banded_0001.jpg"
    copy.write_bytes((tmp_path / "mvtec" / "bottle" / "test" / "crack" / "001.png").read_bytes())
    check_inputs(config)  # which reads no file
    for look in (what_is_read, prepare):
        with pytest.raises(DiffadError, match=rf"1 of 3 files, such as .*{copy.name}\); choose"):
            look(config)


@pytest.mark.usefixtures("masks")
def test_training_images_may_be_textures(tmp_path) -> None:
    config = given(tmp_path, tmp_path / "mvtec" / "bottle" / "train")
    check_inputs(config)
    assert what_is_read(config).textures.images == 3


def test_inverted_masks_of_one_defect_stop_the_run_and_name_it(masks, tmp_path) -> None:
    for path in masks[2:]:
        invert(path)
    told = r'stain/000_mask.*\(2 of 2 masks of "stain", 2 of 4 in all\)\. .*accept_masks=true'
    with pytest.raises(DiffadError, match=told):
        notes(tmp_path)
    assert notes(tmp_path, accept_masks=True)[-1].endswith("(2 doubtful masks)")


@pytest.mark.usefixtures("masks")
def test_a_changed_file_is_named_with_its_split(tmp_path) -> None:
    base, config = tmp_path / "mvtec" / "bottle", given(tmp_path)
    before = what_is_read(config)
    factory.write_noise(base / "test" / "crack" / "000.png", 99)
    told = before.difference(what_is_read(config))
    assert told == "test: test/crack/000.png is another file"
    factory.write_noise(base / "train" / "good" / "000.png", 98)
    assert before.difference(what_is_read(config)) == "train: 000.png is another file"


@pytest.mark.parametrize("name", ["val", "tests"])
def test_without_a_test_folder_those_that_are_there_are_named(tmp_path, name: str) -> None:
    base = factory.make_mvtec(tmp_path, "parts", folder=".")
    (base / "test").rename(tmp_path / "away")
    (tmp_path / "away").rename(base / name)
    (base / "ground_truth").rename(tmp_path / "truth")
    config = build_config("custom", "parts", "autoencoder", data_root=tmp_path)
    told = rf"parts: has no test images \(folders there: .*{name}.*\); add a test folder"
    with pytest.raises(DiffadError, match=told):
        check_inputs(config)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("test", "test 1 .png: images belong in train/good, test/good or test/DEFECT"),
        ("test/crack/cam1", "test/crack/cam1 1 .png: move it up into test/crack"),
    ],
)
def test_of_a_test_folder_whose_images_are_not_read_is_told_why(tmp_path, place, why) -> None:
    factory.write_noise(tmp_path / "parts" / "train" / "good" / "0.png", 1)
    factory.write_noise(tmp_path / "parts" / place / "0.png", 2)
    config = build_config("custom", "parts", "autoencoder", data_root=tmp_path)
    with pytest.raises(DiffadError) as error:
        check_inputs(config)
    assert "has no test images (folders there: test, train); put them into" in str(error.value)
    assert f"1 file is not read: {why} (" in str(error.value)
    assert "add a test folder" not in str(error.value)


def test_an_unknown_category_without_a_data_root_is_told_to_be_of_the_mini_data(
    tmp_path, monkeypatch
) -> None:
    factory.make_mvtec(tmp_path, "weave")
    monkeypatch.setattr(data, "MINI_ROOT", tmp_path)
    monkeypatch.setattr(data, "make_mini", lambda root: None)
    for look in (check_inputs, what_is_read, load_normal):
        with pytest.raises(DiffadError, match=r"\(there: weave\); .*mini data; give --data-root"):
            look(build_config("mvtec", "screws", "autoencoder"))
        with pytest.raises(DiffadError) as error:
            look(build_config("mvtec", "screws", "autoencoder", data_root=tmp_path))
        assert "mini data" not in str(error.value)


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        ("good", "the test set has no normal image: image metrics are undefined"),
        ("crack", "the test set has no defective image: all metrics are undefined"),
    ],
)
def test_a_test_set_without_either_label_is_told(
    tmp_path, monkeypatch, lacks: str, told: str
) -> None:
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    for name in {"good", "crack"} - {lacks}:
        factory.write_noise(tmp_path / "parts" / "test" / name / "0.png", 1)
    factory.write_noise(tmp_path / "parts" / "train" / "good" / "0.png", 2)
    config = build_config("custom", "parts", "autoencoder", "laptop", data_root=tmp_path)
    assert what_is_read(config).notes == [told]


@pytest.mark.parametrize(("part", "told"), [("train/good", 3), ("test/crack", 2), ("test/good", 2)])
@pytest.mark.usefixtures("masks")
def test_grey_images_beside_images_in_colour_are_told(part, told, tmp_path) -> None:
    assert "grey" not in str(notes(tmp_path))
    for path in (tmp_path / "mvtec" / "bottle" / part).iterdir():
        factory.write_noise(path, 1 + int(path.stem), grey=True)
    for path in (tmp_path / "mvtec" / "bottle" / "test" / "stain").iterdir():
        factory.write_noise(path, 5 + int(path.stem), grey=part == "test/crack")
    lines = [line for line in notes(tmp_path) if "grey images" in line]
    assert len(lines) == 1 and f" {told if part != 'test/crack' else 4} of " in lines[0]
