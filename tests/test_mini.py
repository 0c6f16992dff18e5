import ast
import hashlib
import itertools
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.datasets.images import load_split
from diffad_lib.datasets.layouts import list_categories, list_samples, scan_category
from diffad_lib.datasets.mini import MINI_CATEGORIES, contact_sheet, make_mini, official, write
from diffad_lib.datasets.mini.categories import CATEGORIES
from diffad_lib.datasets.mini.fault import NO_FAULT, Fault
from diffad_lib.datasets.mini.picture import changed, take_picture
from diffad_lib.datasets.mini.surface import SIZE
from diffad_lib.errors import DiffadError

PACKAGE = Path(official.__file__).parent
KEYS = sorted(MINI_CATEGORIES)
DEFECTS = [(category, defect) for category in CATEGORIES for defect in category.defects]
FEW = {"TRAIN_GOOD": 2, "TEST_GOOD": 1, "TEST_DEFECT": 2, "DAGM_TRAIN_DEFECT": 1}


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> tuple[Path, float]:
    """The complete set, and the processor seconds that it took."""
    root = tmp_path_factory.mktemp("data") / "mini"
    started = time.process_time()
    make_mini(root)
    return root, time.process_time() - started


@pytest.fixture
def few(monkeypatch):
    """Small sets, for tests that make several."""
    for name, count in FEW.items():
        monkeypatch.setattr(official, name, count)


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


# What is on the disk


@pytest.mark.slow
def test_the_complete_set_is_made_in_half_a_minute(complete):
    assert complete[1] < 30


@pytest.mark.parametrize(("dataset", "category"), KEYS)
def test_the_loaders_read_every_layout_with_the_right_counts(complete, dataset, category):
    samples = list_samples(dataset, category, complete[0])
    counts = Counter((sample.split, sample.label) for sample in samples)
    assert counts == {("train", 0): 72, ("test", 0): 24, ("test", 1): 36}
    scan = scan_category(dataset, category, complete[0])
    assert scan.problems == []
    in_training = sum(sample.split == "train" and sample.label == 1 for sample in scan.samples)
    assert in_training == (12 if dataset == "dagm" else 0)


def test_the_table_names_what_is_there(complete):
    for dataset in ("mvtec", "visa", "dagm", "mpdd"):
        names = {name for key, name in MINI_CATEGORIES if key == dataset}
        assert len(names) >= 2
        assert set(list_categories(dataset, complete[0])) == names
    assert set(MINI_CATEGORIES.values()) == {"texture", "object"}


def test_mini_is_never_taken_for_the_real_data():
    real = {name for key, info in CATALOG.items() if key != "dagm" for name in info.categories}
    assert not real & {name for _, name in MINI_CATEGORIES}
    for (dataset, name), kind in MINI_CATEGORIES.items():
        if dataset == "dagm":  # there the layout fixes the name; then the kind must agree
            assert CATALOG["dagm"].categories[name].kind == kind


@pytest.mark.parametrize(("dataset", "category"), KEYS)
def test_every_defect_is_still_there_at_64_pixels(complete, dataset, category, tmp_path):
    test = [s for s in list_samples(dataset, category, complete[0]) if s.split == "test"]
    stack = load_split(test, 64, tmp_path)
    pixels = stack.masks.sum(axis=(1, 2, 3))
    for sample, count in zip(test, pixels, strict=True):
        assert (count >= 16) if sample.label else (count == 0), sample.image


def test_each_defect_type_of_a_tree_has_its_folder(complete):
    for category in CATEGORIES:
        if category.dataset in ("mvtec", "mpdd"):
            folder = complete[0] / category.dataset / category.name
            types = {path.name for path in (folder / "test").iterdir()}
            assert types == {"good", *category.defects}
            assert {path.name for path in (folder / "ground_truth").iterdir()} == set(
                category.defects
            )
            mask = next((folder / "ground_truth" / category.defects[0]).iterdir())
            assert re.fullmatch(r"\d{3}_mask\.png", mask.name)
            assert set(np.unique(_grey(mask))) == {0, 255}


def test_a_file_holds_the_picture_in_true_colours(complete):
    weave = CATEGORIES[0]
    path = complete[0] / "mvtec" / "weave" / "train" / "good" / "000.png"
    expected, _ = take_picture(weave, 0, "train/good/000", None)
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], expected)
    blue, red = expected[..., 2].mean(), expected[..., 0].mean()
    assert blue > red + 20  # the warp is blue


def test_visa_masks_hold_small_class_numbers(complete):
    for category in CATEGORIES:
        if category.dataset == "visa":
            folder = complete[0] / "visa" / category.name / "Data" / "Masks" / "Anomaly"
            numbers = [set(np.unique(_grey(path)).tolist()) - {0} for path in folder.iterdir()]
            assert all(len(found) == 1 for found in numbers)
            assert set.union(*numbers) == set(range(1, len(category.defects) + 1))


def test_visa_splits_one_folder_of_normal_images_by_the_csv(complete):
    rows = (complete[0] / "visa" / "split_csv" / "1cls.csv").read_text().splitlines()
    assert rows[0] == "object,split,label,image,mask"
    numbers = {"train": [], "test": []}
    for row in rows[1:]:
        name, split, label, image, mask = row.split(",")
        assert image.endswith(".JPG")
        assert bool(mask) == (label == "anomaly")
        if (name, label) == ("board", "normal"):
            numbers[split].append(int(Path(image).stem))
    assert sorted(numbers["train"] + numbers["test"]) == list(range(96))
    assert min(numbers["test"]) < max(numbers["train"])  # mixed, not one after the other


def test_dagm_is_grey_with_labels_in_the_official_form(complete):
    folder = complete[0] / "dagm" / "Class1" / "Train"
    assert cv2.imread(str(folder / "0001.PNG"), cv2.IMREAD_UNCHANGED).shape == (SIZE, SIZE)
    first, *lines = (folder / "Label" / "Labels.txt").read_text().split("\n")[:-1]
    assert first == "1"
    assert len(lines) == 84
    for number, line in enumerate(lines, start=1):
        good, bad = f"{number:04d}\t0\t{number:04d}.PNG\t0\t0\t", f"{number:04d}\t1\t"
        assert line in (good, f"{bad}{number:04d}.PNG\t0\t{number:04d}_label.PNG")


def _grey(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


# The pictures


@pytest.mark.parametrize(("category", "defect"), DEFECTS, ids=lambda v: getattr(v, "name", v))
def test_the_mask_is_where_the_picture_differs_from_its_clean_twin(category, defect):
    damaged, mask = take_picture(category, 5, "test/twin", defect)
    clean, empty = take_picture(category, 5, "test/twin", None)
    assert damaged.shape == (SIZE, SIZE, 3)
    assert damaged.dtype == mask.dtype == np.uint8
    assert not empty.any()
    change = np.abs(damaged.astype(int) - clean).max(axis=2)
    assert change[mask == 0].max() == 0
    assert 0.004 <= mask.mean() <= 0.12
    assert change[mask == 1].mean() > 0.07 * 255  # seen at a glance
    assert (change[mask == 1] > 5).mean() > 0.6  # and the mask is tight


def test_the_mask_of_a_change_has_neither_gaps_nor_specks():
    clean = np.zeros((SIZE, SIZE, 3), np.float32)
    damaged = clean.copy()
    damaged[20:40, 20:40, 1] = 0.5
    damaged[25:35, 25:35, 1] = 0  # a part that looks like what is below it
    damaged[80, 80, 2] = 0.5  # a speck
    damaged[100:110, 100:110] = 0.02  # too faint to be seen
    expected = np.zeros((SIZE, SIZE), np.uint8)
    expected[20:40, 20:40] = 1
    assert np.array_equal(changed(clean, damaged), expected)


@pytest.mark.parametrize(("category", "defect"), DEFECTS, ids=lambda v: getattr(v, "name", v))
def test_a_scene_is_single_precision_and_sound(category, defect):
    fault = Fault(defect, np.random.default_rng(1))
    for scene in (
        category.draw(np.random.default_rng(0), NO_FAULT),
        category.draw(np.random.default_rng(0), fault),
    ):
        for values in (scene.colour, scene.height, scene.gloss, scene.body):
            assert values.dtype == np.float32  # double precision would take twice the time
            assert np.isfinite(values).all()
        assert scene.body.max() == 1


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda category: category.name)
def test_normal_pictures_vary_more_than_the_sensor_noise(category):
    pictures = [
        take_picture(category, 0, f"train/{index}", None)[0].astype(float) for index in range(6)
    ]
    for first, second in itertools.pairwise(pictures):
        assert np.abs(first - second).mean() > 4  # noise alone gives less than 4


@pytest.mark.parametrize("angle", [0, 37, 90, 141])
def test_the_coarse_ellipse_holds_the_whole_mask_and_more(angle):
    along = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    start, end = (np.round(64 + sign * 30 * along).astype(int).tolist() for sign in (-1, 1))
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.line(mask, start, end, 1, 3)
    ellipse = official.coarse_ellipse(mask)
    assert (ellipse >= mask).all()
    assert 1.5 * mask.sum() < ellipse.sum() < 0.1 * SIZE * SIZE
    assert cv2.connectedComponents(ellipse)[0] == 2


# Seeds


def test_the_same_seed_gives_the_same_bytes_in_another_process(few, tmp_path):
    make_mini(tmp_path / "here", 3)
    code = (
        "from pathlib import Path; from diffad_lib.datasets.mini import make_mini, official\n"
        f"for name, count in {FEW}.items(): setattr(official, name, count)\n"
        f"make_mini(Path({str(tmp_path / 'there')!r}), 3)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    here = digests(tmp_path / "here")
    assert len(here) > 60
    assert here == digests(tmp_path / "there")


def test_another_seed_gives_other_pictures(few):
    first, second = dict(write._files(0)), dict(write._files(1))
    images = [path for path in first if not re.search("label|mask|Masks|csv|Labels", path)]
    assert len(images) == 9 * 5 + 2  # and a defective training image for each of DAGM's two
    assert not any(first[path] == second.get(path) for path in images)


def test_a_picture_does_not_depend_on_those_before_it():
    category = CATEGORIES[0]
    late, _ = take_picture(category, 0, "test/b", None)
    take_picture(category, 0, "test/a", None)
    assert np.array_equal(late, take_picture(category, 0, "test/b", None)[0])
    assert not np.array_equal(late, take_picture(category, 0, "test/a", None)[0])


# All or nothing


def test_a_complete_set_is_kept(few, tmp_path, monkeypatch):
    make_mini(tmp_path / "mini")
    before = digests(tmp_path / "mini")

    def fail(seed):
        raise AssertionError("made again")

    monkeypatch.setattr(write, "_files", fail)
    make_mini(tmp_path / "mini")
    assert digests(tmp_path / "mini") == before


@pytest.mark.parametrize("interruption", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch, interruption):
    def break_off(seed):
        yield "mvtec/weave/train/good/000.png", b"half"
        raise interruption

    monkeypatch.setattr(write, "_files", break_off)
    expected = DiffadError if isinstance(interruption, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        make_mini(tmp_path / "mini")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(few, tmp_path):
    (tmp_path / "mini").mkdir()
    make_mini(tmp_path / "mini")
    assert json.loads((tmp_path / "mini" / write.MARKER).read_text())["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]


def test_a_set_that_another_process_finished_first_is_taken(few, tmp_path, monkeypatch):
    build = write._build

    def slow_build(folder, seed):
        build(folder, seed)
        build(tmp_path / "mini", seed)

    monkeypatch.setattr(write, "_build", slow_build)
    make_mini(tmp_path / "mini")
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]


def test_anything_else_in_the_folder_is_refused_and_left_alone(few, tmp_path):
    root = tmp_path / "mini"
    make_mini(root)
    with pytest.raises(DiffadError, match="seed 0, not of version 1 and seed 1"):
        make_mini(root, 1)
    marker = (root / write.MARKER).read_text()
    (root / write.MARKER).write_text(marker.replace('"version": 1', '"version": 0'))
    with pytest.raises(DiffadError, match="version 0"):
        make_mini(root)
    (root / write.MARKER).write_text(marker)
    (root / "mvtec" / "weave" / "train" / "good" / "000.png").unlink()
    with pytest.raises(DiffadError, match=r"holds \d+ of its \d+ files"):
        make_mini(root)
    (root / write.MARKER).write_text("[]")
    left = digests(root)
    with pytest.raises(DiffadError, match="something else"):
        make_mini(root)
    assert digests(root) == left
    (tmp_path / "file").touch()
    with pytest.raises(DiffadError, match="something else"):
        make_mini(tmp_path / "file")


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(DiffadError, match="seed -1 is negative"):
        make_mini(tmp_path / "mini", -1)


# The rest


def test_the_contact_sheet_shows_what_the_loaders_read(complete):
    sheet = contact_sheet(complete[0])
    assert sheet.dtype == np.uint8
    assert sheet.shape == (len(CATEGORIES) * (SIZE + 20), 9 * SIZE, 3)
    first = list_samples("mvtec", "weave", complete[0])[0].image
    assert np.array_equal(sheet[20 : 20 + SIZE, :SIZE], cv2.imread(str(first))[..., ::-1])
    outlined = (sheet == (255, 40, 40)).all(axis=2)
    for row in range(len(CATEGORIES)):
        tiles = np.split(outlined[row * (SIZE + 20) :][20 : 20 + SIZE], 9, axis=1)
        assert [tile.any() for tile in tiles] == [False] * 3 + [True] * 6


def test_the_mini_data_knows_nothing_of_the_training_synthesizer():
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert "synthesis" not in name, f"{path.name} imports {name}"
