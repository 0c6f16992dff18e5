"""`diffad foregrounds`: masks that a run reads, masks of others, and what is wrong with each."""

import sys
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest

import layout_factory as factory
from diffad_lib.errors import DiffadError
from diffad_lib.mini import exact_foregrounds, find_category, write
from diffad_lib.mini.official import TRAIN_GOOD, dagm_files, mvtec_files, visa_files
from diffad_lib.mini.picture import take_foreground, take_picture
from diffad_lib.runs.config import build_config
from diffad_lib.runs.experiment import prepare
from diffad_lib.runs.foregrounds import (
    _MAKERS,
    Images,
    Source,
    contact_sheet,
    write_foregrounds,
)
from diffad_lib.synthesis import FOREGROUND_METHODS
from diffad_lib.synthesis.foreground import automatic_mask, grabcut_mask, otsu_mask
from diffad_lib.synthesis.mask_folder import find_masks, load_mask_folder
from diffad_lib.synthesis.synthesizer import SynthesisSettings


def masks_of(side: int = factory.SIDE) -> list[np.ndarray]:
    """Three squares of different sizes."""
    masks = np.zeros((factory.TRAIN_GOOD, side, side), np.uint8)
    for number, mask in enumerate(masks):
        mask[4 : 14 + 4 * number, 4:20] = 255
    return [*masks]


def write_masks(folder: Path, names: list[str]) -> list[np.ndarray]:
    masks = masks_of()
    for name, mask in zip(names, masks, strict=True):
        factory.write_pixels(folder / name, mask)
    return masks


def training(root: Path, dataset: str = "mvtec", category: str = "bottle") -> Images:
    return Images(dataset, category, root)


@pytest.mark.parametrize(("dataset", "category", "make"), factory.LAYOUTS)
def test_a_run_reads_the_masks_of_every_layout(tmp_path, dataset, category, make):
    make(tmp_path)
    images, to = Images(dataset, category, tmp_path), tmp_path / "masks"
    found = write_foregrounds(images, Source("random-region", seed=3), to)
    samples = images.samples()
    loaded = load_mask_folder(to, samples, factory.SIDE)
    drawn = [_MAKERS["random-region"](3)(number, np.zeros((32, 32, 3))) for number in range(3)]
    np.testing.assert_array_equal(loaded[:, 0], drawn)
    assert [one.share for one in found.masks] == [mask.mean() for mask in drawn]
    assert len({mask.tobytes() for mask in drawn}) == 3
    assert sum(path.is_file() for path in to.rglob("*")) == len(samples)  # of no test image


@pytest.mark.slow
def test_the_setting_that_the_command_names_gives_a_run_these_masks(tmp_path, monkeypatch, diffad):
    factory.make_mvtec(tmp_path)
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    to, sheet = tmp_path / "mvtec" / "bottle" / "DISthresh", tmp_path / "sheet.png"
    where = ["--dataset", "mvtec", "--category", "bottle", "--data-root", str(tmp_path)]
    arguments = [*where, "--method", "random-region", "--to", str(to), "--sheet", str(sheet)]
    code, out, _ = diffad("foregrounds", *arguments)
    told = out.splitlines()
    assert code == 0
    assert told[0].startswith("3 masks mark ")
    key, _, folder = told[-1].partition("--set ")[2].partition("=")
    config = build_config(
        "mvtec", "bottle", "draem", data_root=tmp_path, runs_dir=tmp_path,
        overrides={key: folder, "image_size": 32, "device": "cpu"},
    )  # fmt: skip
    run = prepare(config)
    written = load_mask_folder(to, run.train.samples, 32)
    np.testing.assert_array_equal(run.batches.foregrounds, written)
    counted = [one.counts_as for one in run.data.inventory if "DISthresh" in one.folder]
    assert counted == ["foreground mask"]
    assert cv2.imread(str(sheet)).std() > 10


@pytest.mark.parametrize(
    ("below", "suffix"),
    [
        ("good", "png"),
        (".", "png"),
        ("bottle/DISthresh/good", "png"),
        ("bottle/train/good", "png"),
        ("mvtec_masks/bottle/train/good", "JPG"),
        ("a/bottle/good", "png"),
    ],
)
def test_masks_of_others_are_found_in_their_layouts(tmp_path, below, suffix):
    factory.make_mvtec(tmp_path)
    names = [f"{number:03}.{suffix}" for number in range(3)]
    masks = write_masks(tmp_path / "theirs" / below, names)
    write_masks(tmp_path / "theirs" / "zipper" / "DISthresh" / "good", names)
    source = Source("folder", tmp_path / "theirs")
    write_foregrounds(training(tmp_path), source, tmp_path / "ours")
    loaded = load_mask_folder(tmp_path / "ours", training(tmp_path).samples(), 32)
    np.testing.assert_array_equal(255 * loaded[:, 0], masks)


def test_masks_of_others_that_are_not_all_there_are_named(tmp_path):
    factory.make_mvtec(tmp_path)
    samples = training(tmp_path).samples()
    folder = tmp_path / "theirs"
    with pytest.raises(DiffadError, match="theirs: no such folder"):
        find_masks(folder, "bottle", samples)
    write_masks(folder / "good", ["000.png", "001.png", "7.png"])
    with pytest.raises(DiffadError, match=r"good lacks the masks of 1 of 3 .*good/002\.png"):
        find_masks(folder, "bottle", samples)
    write_masks(folder / "good", ["001.JPG", "3.png", "4.png"])
    with pytest.raises(DiffadError, match=r"masks in .*good: two are named 001;"):
        find_masks(folder, "bottle", samples)
    with pytest.raises(DiffadError, match=r"holds no mask named like .* 000\.png"):
        find_masks(tmp_path / "mvtec" / "bottle" / "ground_truth", "bottle", samples)


def test_two_training_images_of_one_name_are_told(tmp_path):
    base = factory.make_mvtec(tmp_path)
    factory.write_noise(base / "train" / "good" / "001.bmp", 7)
    with pytest.raises(DiffadError, match=r"001\.\w+: another training image has its name"):
        write_foregrounds(training(tmp_path), Source("otsu"), tmp_path / "to")
    with pytest.raises(DiffadError, match="training images: two are named 001;"):
        find_masks(tmp_path, "bottle", training(tmp_path).samples())


def test_photographs_are_not_taken_for_masks(tmp_path):
    base = factory.make_mvtec(tmp_path)
    samples = training(tmp_path).samples()
    with pytest.raises(DiffadError, match="holds no mask"):  # the images themselves
        find_masks(tmp_path / "mvtec", "bottle", samples)
    (base / "train").rename(base / "DISthresh")
    factory.make_mvtec(tmp_path)
    with pytest.raises(DiffadError, match=r"DISthresh/good/00\d\.png is no mask: \d\d% of"):
        write_foregrounds(training(tmp_path), Source("folder", tmp_path / "mvtec"), tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_what_is_wrong_with_a_mask_is_told_and_an_empty_one_is_replaced(tmp_path):
    factory.make_mvtec(tmp_path)
    folder = tmp_path / "theirs"
    empty, tiny, full = np.zeros((3, 32, 32), np.uint8)
    tiny[:4, :4], full[:] = 255, 255
    for name, mask in zip(("000", "001", "002"), (empty, tiny, full), strict=True):
        factory.write_pixels(folder / f"{name}.png", mask)
    found = write_foregrounds(training(tmp_path), Source("folder", folder), tmp_path / "to")
    assert found.faults == {
        "empty": ["good/000.png"],
        "tiny (below 5% of the image)": ["good/001.png"],
        "full (above 95% of the image)": ["good/002.png"],
    }
    assert "in place of 1 of them the whole image counts" in found.lines()
    loaded = load_mask_folder(tmp_path / "to", training(tmp_path).samples(), 32)
    assert loaded.mean(axis=(1, 2, 3)).tolist() == [1, 1 / 64, 1]


def test_the_whole_image_counts_where_a_method_finds_no_object(tmp_path):
    base = factory.make_mvtec(tmp_path)
    for number in range(3):
        flat = np.full((32, 32, 3), 90, np.uint8)
        flat[10 : 10 + 6 * number, 8:24] = 200  # nothing, 9 % and 19 % of the image
        factory.write_pixels(base / "train" / "good" / f"{number:03}.png", flat)
    found = write_foregrounds(training(tmp_path), Source("auto"), tmp_path / "to")
    assert [one.replaced for one in found.masks] == [True, False, False]
    shares = load_mask_folder(tmp_path / "to", training(tmp_path).samples(), 32).mean(
        axis=(1, 2, 3)
    )
    assert shares[0] == 1 and shares[1:] == pytest.approx([0.094, 0.1875], abs=0.02)


def test_a_damaged_image_leaves_nothing(tmp_path):
    base = factory.make_mvtec(tmp_path)
    path = base / "train" / "good" / "002.png"
    path.write_bytes(path.read_bytes()[:600])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DiffadError, match=r"002\.png is cut off"):
        to, sheet = tmp_path / "new" / "masks", tmp_path / "sheet.png"
        write_foregrounds(training(tmp_path), Source("otsu"), to, sheet)
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "new"])


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path):
    factory.make_mvtec(tmp_path)
    (tmp_path / "to").mkdir()
    write_foregrounds(training(tmp_path), Source("otsu"), tmp_path / "to")  # an empty one is used
    held = {path: path.read_bytes() for path in (tmp_path / "to").rglob("*.png")}
    with pytest.raises(DiffadError, match="to: is there already"):
        write_foregrounds(training(tmp_path), Source("random-region"), tmp_path / "to")
    assert {path: path.read_bytes() for path in (tmp_path / "to").rglob("*.png")} == held


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--method", "otso"], 'did you mean "otsu"?'),
        (["--method", "folder"], "--from names the folder"),
        (["--from", "x"], "--from names the folder"),
        (["--sheet", "sheet.xyz"], "sheet.xyz: a sheet ends with .png"),
        (["--category", "botle"], 'did you mean "bottle"?'),
    ],
)
def test_wrong_requests_are_one_line(tmp_path, diffad, options, told):
    factory.make_mvtec(tmp_path)
    where = ["--dataset", "mvtec", "--category", "bottle", "--data-root", str(tmp_path)]
    code, _, line = diffad("foregrounds", *where, "--to", tmp_path / "to", *options)
    assert code == 1 and told in line and line.count("\n") == 1
    assert not (tmp_path / "to").exists()


@pytest.mark.slow
def test_the_sheet_shows_the_doubtful_masks_first_and_not_all_images(tmp_path):
    base = factory.make_mvtec(tmp_path)
    for number in range(60):
        factory.write_noise(base / "train" / "good" / f"{number:03}.png", number)
        mask = np.zeros((32, 32), np.uint8)
        mask[4:20, 4:20] = 0 if number == 57 else 255
        factory.write_pixels(tmp_path / "theirs" / f"{number:03}.png", mask)
    found = write_foregrounds(
        training(tmp_path), Source("folder", tmp_path / "theirs"), tmp_path / "to"
    )
    titles = [axis.get_title() for axis in contact_sheet(found).axes]
    assert len(titles) == 48 and len({*titles}) == 48
    assert titles[0] == "good/057.png\n! 0%"
    assert titles[1] == "good/000.png\n25%"
    assert any(title.startswith("good/059.png") for title in titles)


def test_every_method_of_the_command_line_is_there():
    assert (*_MAKERS, "folder") == FOREGROUND_METHODS


def test_a_run_knows_its_ways_by_the_names_of_the_command_line():
    ways = get_args(SynthesisSettings.model_fields["foreground"].annotation)
    assert {*ways} - {"none"} < {*FOREGROUND_METHODS} and "is-net" in ways


def test_a_run_gets_isnet_by_its_name(tmp_path, monkeypatch):
    factory.make_mvtec(tmp_path)
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "rembg", None)
    own = {"foreground": "is-net", "image_size": 32, "device": "cpu"}
    config = build_config("mvtec", "bottle", "draem", data_root=tmp_path, overrides=own)
    with pytest.raises(DiffadError, match="IS-Net needs rembg"):
        prepare(config)


OBJECTS = ("plate", "board", "pill_pack", "bracket", "tube_end")


@pytest.mark.parametrize("name", OBJECTS)
def test_the_exact_foreground_is_where_the_part_is(name):
    """A pixel is told by the nearer of the two mean colours, inside and outside."""
    for shot in ("a", "b"):
        image, _ = take_picture(find_category(name), 0, shot, None)
        mask = take_foreground(find_category(name), 0, shot)
        assert mask.shape == image.shape[:2] and 0.2 < mask.mean() < 0.8
        rim = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)) > 0
        outside = image[(mask == 0) & rim].astype(float).mean(axis=0)
        inside = image[(mask == 1) & rim].astype(float).mean(axis=0)
        contrast = np.abs(inside - outside).max()
        for shift in ((6, 0), (0, 6)):
            moved = np.roll(mask, shift, axis=(0, 1))
            other = image[(moved == 1) & rim].astype(float).mean(axis=0)
            assert np.abs(other - outside).max() < contrast


@pytest.mark.parametrize("name", ["bracket", "board"])
@pytest.mark.parametrize("find", [automatic_mask, otsu_mask, grabcut_mask])
def test_methods_find_a_part_of_the_mini_data(name, find):
    image, _ = take_picture(find_category(name), 0, "a", None)
    exact, mask = take_foreground(find_category(name), 0, "a"), find(image)
    assert (mask & exact).sum() / (mask | exact).sum() > 0.95


@pytest.mark.slow
def test_the_page_tells_what_is_measured():
    """One cell of its table: plate by Otsu, on the training images of the mini data."""
    plate, overlaps = find_category("plate"), []
    for number in range(TRAIN_GOOD):
        shot = f"train/good/{number:03}"
        exact = take_foreground(plate, 0, shot)
        mask = otsu_mask(take_picture(plate, 0, shot, None)[0])
        overlaps.append((mask & exact).sum() / (mask | exact).sum())
    page = (Path(__file__).parents[1] / "docs" / "foregrounds.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith("| mvtec plate |"))
    assert line.split(" | ")[2] == f"{np.mean(overlaps):.3f} ({min(overlaps):.3f})"


def test_a_texture_is_foreground_everywhere():
    assert take_foreground(find_category("weave"), 0, "a").all()


@pytest.mark.parametrize(
    ("name", "files"),
    [("plate", mvtec_files), ("board", visa_files), ("Class1", dagm_files)],
)
def test_the_exact_mask_of_a_file_is_of_the_shot_that_it_shows(tmp_path, monkeypatch, name, files):
    category, asked = find_category(name), []
    (tmp_path / "mini.json").write_text('{"seed": 5}')
    monkeypatch.setattr(write, "take_foreground", lambda *given: asked.append(given))
    path, content = next(files([category], 5))
    exact = exact_foregrounds(tmp_path, category.dataset)
    (tmp_path / "mini.json").unlink()  # it was read once
    exact(tmp_path / category.dataset / path)
    ((of, seed, shot),) = asked
    shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB).astype(int)
    drawn, _ = take_picture(of, seed, shot, None)
    grey = np.array([0.299, 0.587, 0.114])  # DAGM is grey, VisA a JPEG
    assert np.abs(shown @ grey - drawn @ grey).mean() < 4
