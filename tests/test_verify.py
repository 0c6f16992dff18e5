from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import layout_factory as factory
from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.datasets.dataset import CategoryInfo
from diffad_lib.datasets.decode import decode_mask
from diffad_lib.datasets.verify import verify
from diffad_lib.errors import DiffadError

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")


@pytest.fixture
def expect(monkeypatch):
    """Sets the catalog's counts of a category to those of the factory."""

    def expect(dataset, category, train_defect=0):
        counts = (factory.TRAIN_GOOD, factory.TEST_GOOD, factory.TEST_DEFECT, train_defect)
        categories = {**CATALOG[dataset].categories, category: CategoryInfo("object", *counts)}
        monkeypatch.setitem(CATALOG, dataset, replace(CATALOG[dataset], categories=categories))

    return expect


@pytest.fixture
def bottle(tmp_path, expect):
    expect("mvtec", "bottle")
    return factory.make_mvtec(tmp_path)


def told(report, what="problem"):
    start = f"  {what}: "
    return [line.removeprefix(start) for line in report.lines if line.startswith(start)]


def test_complete_category_is_ok_and_absent_ones_are_named(bottle, tmp_path):
    report = verify("mvtec", tmp_path)
    assert report.ok
    assert report.lines[0] == "bottle: 3 train good, 2 test good, 4 test defect"
    assert report.lines[-2].startswith("absent: carpet, grid, ")
    assert report.lines[-1] == f"mvtec: 1 found, 14 absent, 0 problems in {tmp_path}"


@pytest.mark.parametrize(
    ("dataset", "category", "make", "train_defect"),
    [
        ("mpdd", "metal_plate", factory.make_mpdd, 0),
        ("visa", "candle", factory.make_visa, 0),
        ("visa", "candle", factory.make_visa_rearranged, 0),
        ("dagm", "Class1", factory.make_dagm, 1),
    ],
)
def test_every_layout_is_counted(dataset, category, make, train_defect, tmp_path, expect):
    expect(dataset, category, train_defect)
    make(tmp_path)
    assert verify(dataset, tmp_path).ok
    expect(dataset, category, train_defect + 1)
    assert told(verify(dataset, tmp_path)) == [
        f"train defect: {train_defect} images, the catalog says {train_defect + 1}"
    ]


def test_all_faults_are_named_at_once(bottle, tmp_path):
    good = bottle / "train" / "good"
    cut = good / "000.png"
    cut.write_bytes(cut.read_bytes()[:-20])
    factory.write_pixels(good / "001.png", np.zeros((32, 32, 4), np.uint8))
    factory.write_noise(bottle / "test" / "good" / "000.png", 1, side=48)
    factory.write_mask(bottle / "ground_truth" / "crack" / "000_mask.png", side=33)
    factory.write_mask(bottle / "ground_truth" / "crack" / "001_mask.png", value=0)
    (bottle / "ground_truth" / "stain" / "000_mask.png").unlink()
    (bottle / "test" / "stain" / "001.png").unlink()
    report = verify("mvtec", tmp_path)
    assert not report.ok
    expected = [
        "test defect: 2 images, the catalog says 4",
        "stain/000.png has no mask",
        "stain/001_mask.png is a mask without an image",
        "000.png is cut off",
        "001.png has 4 channels",
        "crack/000_mask.png is 33×33 pixels but",
        "crack/001_mask.png marks no pixel",
        "test/good/000.png is 48×48 pixels, the others are 32×32",
    ]
    found = told(report)
    assert len(found) == len(expected)
    for text in expected:
        assert sum(text in line for line in found) == 1, text
    assert "8 problems" in report.lines[-1]


def test_an_inverted_mask_is_named(tmp_path):
    base = factory.make_mvtec(tmp_path, "weave")
    path = base / "ground_truth" / "crack" / "000_mask.png"
    factory.write_pixels(path, 255 * (1 - decode_mask(path)))
    (problem,) = told(verify("mvtec", tmp_path))
    assert f"{path} marks " in problem and problem.endswith("and 100% of its border; inverted?")


def test_unlabelled_and_missing_files_are_named(tmp_path, expect):
    expect("dagm", "Class1", train_defect=1)
    base = factory.make_dagm(tmp_path)
    factory.write_noise(base / "Test" / "0099.PNG", 1, grey=True)
    (base / "Train" / "0001.PNG").unlink()
    found = told(verify("dagm", tmp_path))
    assert len(found) == 3
    assert found[0] == "train good: 2 images, the catalog says 3"
    assert f"{base / 'Train' / '0001.PNG'}, which does not exist" in found[1]
    assert f"{base / 'Test' / '0099.PNG'} is not listed" in found[2]


def test_sizes_may_differ_where_the_dataset_has_no_one_size(tmp_path, expect):
    expect("visa", "candle")
    base = factory.make_visa(tmp_path)
    factory.write_noise(base / "Data" / "Images" / "Normal" / "0000.JPG", 1, side=48)
    assert verify("visa", tmp_path).ok


def test_category_outside_the_catalog_is_checked_but_not_counted(tmp_path):
    base = factory.make_mvtec(tmp_path, "weave")
    report = verify("mvtec", tmp_path)
    assert report.ok
    assert report.lines[0].endswith("4 test defect (not in the catalog)")
    (base / "ground_truth" / "crack" / "000_mask.png").unlink()
    assert not verify("mvtec", tmp_path).ok


def test_own_folder(tmp_path):
    factory.make_mvtec(tmp_path, "screws", folder=".")
    factory.write_noise(tmp_path / "nuts" / "OK" / "a.png", 1)
    report = verify("custom", tmp_path)
    assert report.ok
    assert report.lines == (
        "screws: 3 train good, 2 test good, 4 test defect",
        "  ground_truth/crack  2  mask",
        "  ground_truth/stain  2  mask",
        "  test/crack          2  test defect: crack",
        "  test/good           2  test good",
        "  test/stain          2  test defect: stain",
        "  train/good          3  train good",
        "nuts: no category, it shows neither images nor a folder train; not read",
        f"custom: 1 found, 0 absent, 0 problems in {tmp_path}",
    )


def test_what_a_run_would_say_is_a_note_and_no_problem(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "test" / "good").rename(base / "test" / "OK")
    (base / "test" / "OK" / "002.heic").touch()
    copied = base / "test" / "OK" / "001.png"
    copied.write_bytes((base / "train" / "good" / "002.png").read_bytes())
    report = verify("custom", tmp_path)
    assert report.ok
    assert "  test/OK             1  not read .heic: convert it to PNG" in report.lines
    assert ", 0 problems, 1 file not read in " in report.lines[-1]
    assert told(report, "note") == [
        "test/OK is read as normal images; rename it if they are not",
        "copies of training images among the test images: test/OK/001.png (training image 002.png)",
    ]


def test_nothing_there_is_not_ok(tmp_path):
    (tmp_path / "mvtec").mkdir()
    report = verify("mvtec", tmp_path)
    assert not report.ok
    assert "0 found, 15 absent" in report.lines[-1]
    with pytest.raises(DiffadError, match='no folder "visa"'):
        verify("visa", tmp_path)


@pytest.mark.slow
@needs_shared
def test_real_data():
    data = SHARED / "data"
    bottle = verify("mvtec", data)
    assert bottle.ok
    assert bottle.lines[0] == "bottle: 209 train good, 20 test good, 63 test defect"
    darker, alone = told(bottle, "note")  # of screw
    assert darker.startswith("light: good test images are darker than good training images")
    assert "168 to 173 and 177 to 194" in darker and "AUROC 1.00" in alone
    assert verify("mpdd", data).ok
    half = verify("dagm", data)
    assert not half.ok
    assert told(half, "note") == []
    assert told(half) == [
        "train good: 350 images, the catalog says 496",
        "train defect: 0 images, the catalog says 79",
        "test good: 154 images, the catalog says 504",
    ]
    visa = verify("visa", data)  # only its csv is there
    assert not visa.ok
    assert "0 found, 12 absent" in visa.lines[-1]


def test_grey_images_beside_images_in_colour_are_noted(tmp_path: Path) -> None:
    base = factory.make_mvtec(tmp_path)
    assert not any("grey images" in line for line in verify("mvtec", tmp_path).lines)
    for path in (base / "train" / "good").iterdir():
        factory.write_noise(path, int(path.stem), grey=True)
    counts = "train good 3 of 3, test good 0 of 2, test defect 0 of 4; save all as grey"
    start = f"grey images beside images in colour: {counts}"
    assert any(line.startswith(start) for line in told(verify("mvtec", tmp_path), "note"))
