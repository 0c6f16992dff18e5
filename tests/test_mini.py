import ast
import contextlib
import re
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.datasets.images import load_split
from diffad_lib.datasets.layouts import list_categories, list_samples, scan_category
from diffad_lib.mini import MINI_CATEGORIES, contact_sheet, make_mini, official
from diffad_lib.mini.categories import CATEGORIES
from diffad_lib.mini.picture import take_picture
from diffad_lib.mini.surface import SIZE
from diffad_lib.runs.data import MINI_ROOT

PACKAGE = Path(official.__file__).parent
KEYS = sorted(MINI_CATEGORIES)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mini")]


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> tuple[Path, float]:
    """The complete set, and the processor seconds that it took."""
    root = tmp_path_factory.mktemp("data") / "mini"
    started = time.process_time()
    make_mini(root)
    seconds = time.process_time() - started
    if not MINI_ROOT.exists():  # other tests would make it once more
        with tempfile.TemporaryDirectory(dir=MINI_ROOT.parent, prefix=".mini-") as scratch:
            copy = shutil.copytree(root, Path(scratch, "mini"))
            with contextlib.suppress(OSError):  # another test has made it by now
                copy.rename(MINI_ROOT)
    return root, seconds


def test_the_complete_set_is_made_in_a_minute_on_a_slow_processor(complete):
    assert complete[1] < 60  # of the processor's time, where a new one takes 10 to 17


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
