"""Everything in the folder of a category has a line, whatever it is."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

import layout_factory as factory
from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.datasets.doubts import turned_line
from diffad_lib.datasets.inventory import (
    Entry,
    named_bad_line,
    one_sided_line,
    take_inventory,
    unread_line,
)
from diffad_lib.datasets.layouts import category_folder, scan_category
from diffad_lib.datasets.verify import verify


def inventory(dataset: str, category: str, root: Path) -> list[Entry]:
    scan = scan_category(dataset, category, root)
    return take_inventory(category_folder(dataset, category, root), scan)


LAYOUTS = [*factory.LAYOUTS, pytest.param("dtd", "banded", factory.make_dtd, id="dtd")]


@pytest.mark.parametrize(("dataset", "category", "make"), LAYOUTS)
def test_of_an_official_layout_everything_is_read(dataset, category, make, tmp_path) -> None:
    base = make(tmp_path)
    found = inventory(dataset, category, tmp_path)
    assert sum(one.files for one in found) == sum(path.is_file() for path in base.rglob("*"))
    assert {one.why for one in found} == {""}
    assert unread_line(found) == []


def test_every_dataset_has_its_layout_tested() -> None:
    assert {*CATALOG} == {layout.values[0] for layout in LAYOUTS} | {"custom"}


def test_dagm_says_what_is_in_which_folder(tmp_path) -> None:
    factory.make_dagm(tmp_path)
    assert inventory("dagm", "Class1", tmp_path) == [
        Entry("Test", 4, "test defect: defect"),
        Entry("Test", 2, "test good"),
        Entry("Test/Label", 1, "list of labels"),
        Entry("Test/Label", 4, "mask"),
        Entry("Train", 1, "train defect: defect"),
        Entry("Train", 3, "train good"),
        Entry("Train/Label", 1, "list of labels"),
        Entry("Train/Label", 1, "mask"),
    ]


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("test/crack/cam1/a.png", ".png: move it up into test/crack"),
        ("train/good/cam2/left/a.png", ".png: move it up into train/good"),
        ("ground_truth/crack/cam1/a.png", ".png: move it up into ground_truth/crack"),
        ("train/crack/a.png", ".png: training images belong in train/good"),
        ("ground_truth/a.png", ".png: masks belong in ground_truth/DEFECT, called like their"),
        ("masks/crack/000.png", ".png: masks belong in ground_truth"),
        ("Ground_Truth/000.png", ".png: masks belong in ground_truth"),
        ("test/crack/masks/a.png", ".png: masks belong in ground_truth/DEFECT"),
        ("test/stray.png", ".png: images belong in train/good, test/good or test/DEFECT"),
        ("b.png", ".png: images belong in train/good, test/good or test/DEFECT"),
        ("train/good/a.HEIC", ".heic: convert it to PNG"),
        ("ground_truth/crack/a.gif", ".gif: convert it to PNG"),
        ("train/good/a.raw", ".raw: no image"),
        ("train/good/notes", "no image"),
        ("test/crack/a.txt", ".txt: no image"),
    ],
)
@pytest.mark.parametrize("dataset", ["custom", "mvtec"])
def test_what_is_not_read_has_a_line_with_the_reason(dataset, place, why, tmp_path) -> None:
    base = factory.make_mvtec(tmp_path, "screws", folder="." if dataset == "custom" else "mvtec")
    (base / place).parent.mkdir(parents=True, exist_ok=True)
    (base / place).touch()
    found = inventory(dataset, "screws", tmp_path)
    (entry,) = [one for one in found if one.counts_as == "not read"]
    assert (entry.folder, entry.files) == (str(Path(place).parent), 1)
    assert entry.why.startswith(why)
    (line,) = unread_line(found)
    assert line.startswith(f"1 file is not read: {entry.folder} 1 {why}")


@pytest.mark.parametrize(
    ("dataset", "category", "make", "place"),
    [
        ("visa", "candle", factory.make_visa, "Data/Images/Normal/a.heic"),
        ("dagm", "Class1", factory.make_dagm, "Train/a.heic"),
    ],
)
def test_pictures_of_other_formats_are_named_in_every_layout(
    dataset, category, make, place, tmp_path
) -> None:
    (make(tmp_path) / place).touch()
    (line,) = unread_line(inventory(dataset, category, tmp_path))
    assert line.startswith(f"1 file is not read: {Path(place).parent} 1 .heic: convert it to PNG")


def test_of_a_problem_and_of_a_list_the_inventory_says_so(tmp_path) -> None:
    base = factory.make_mvtec(tmp_path)
    (base / "ground_truth" / "crack" / "000_mask.png").unlink()
    found = inventory("mvtec", "bottle", tmp_path)
    assert Entry("test/crack", 1, "not read", ".png: a problem, see there") in found
    base = factory.make_visa(tmp_path)
    factory.write_noise(base / "Data" / "Images" / "Normal" / "9.JPG", 1)
    found = inventory("visa", "candle", tmp_path)
    assert Entry("Data/Images/Normal", 1, "not read", ".jpg: no list names it") in found


def test_a_test_set_without_a_normal_or_a_defective_image_is_told(tmp_path) -> None:
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    samples = scan_category("custom", "screws", tmp_path).samples
    assert one_sided_line(samples) == []
    shutil.rmtree(base / "test" / "good")
    samples = scan_category("custom", "screws", tmp_path).samples
    assert one_sided_line(samples)[0].startswith("the test set has no normal image")


def test_test_images_that_are_there_twice_are_told(tmp_path) -> None:
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "test" / "good" / "9.png").write_bytes((base / "test/crack/000.png").read_bytes())
    notes = [line for line in verify("custom", tmp_path).lines if line.startswith("  note: ")]
    told = "test images that are there twice: test/crack/000.png is test/good/9.png"
    assert notes == [f"  note: {told}"]


def test_training_images_that_are_called_bad_are_told(tmp_path) -> None:
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    factory.write_noise(base / "train" / "good" / "NG_01.png", 9)
    (line,) = named_bad_line(scan_category("custom", "screws", tmp_path).samples)
    assert line.endswith("NG_01.png (1)")


def test_a_link_to_a_large_tree_does_not_fill_the_record(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("diffad_lib.datasets.inventory._MOST_UNREAD", 3)
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    for number in range(9):
        (tmp_path / "tree" / f"d{number}").mkdir(parents=True)
        (tmp_path / "tree" / f"d{number}" / "x.raw").touch()
    (base / "all").symlink_to(tmp_path / "tree")
    found = [one for one in inventory("custom", "screws", tmp_path) if one.counts_as == "not read"]
    assert len(found) == 4 and sum(one.files for one in found) == 9


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", "._000.png", ".ipynb_checkpoints/000.png", "desktop.ini"]
)
def test_leftovers_of_programs_are_listed_and_a_run_is_silent_on_them(name, tmp_path) -> None:
    path = factory.make_mvtec(tmp_path) / "train" / "good" / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    found = inventory("mvtec", "bottle", tmp_path)
    assert [one.files for one in found if one.counts_as == "leftover of a program"] == [1]
    assert unread_line(found) == []


@pytest.mark.parametrize(
    ("elsewhere", "link"), [("originals", "train/good"), ("zoo", "train/good/000.png")]
)
def test_what_is_read_through_a_link_is_told_as_read(elsewhere, link, tmp_path) -> None:
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / link).rename(base / elsewhere)
    (base / link).symlink_to(base / elsewhere)
    found = inventory("custom", "screws", tmp_path)
    way = Path(link).parent if link.endswith(".png") else Path(link)
    assert [one for one in found if one.counts_as == "not read"] == []
    assert "train good" in {one.counts_as for one in found if one.folder in ("originals", ".")}
    assert f"(read as {way})" in {one.why for one in found}


def test_of_two_links_to_the_training_images_neither_is_unread(tmp_path) -> None:
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "train" / "good").rename(tmp_path / "elsewhere")
    for link in ("all", "train/good"):
        (base / link).symlink_to(tmp_path / "elsewhere")
    found = inventory("custom", "screws", tmp_path)
    assert found[0] == Entry("all", 3, "train good", "(read as train/good)")


def test_what_is_known_by_another_path_is_read_from_where_it_lies(tmp_path) -> None:
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    factory.write_mask(base / "DISthresh" / "000.png")
    scan = scan_category("custom", "screws", tmp_path)
    scan.others[base / "test" / ".." / "DISthresh" / "000.png"] = "foreground mask"
    assert take_inventory(base, scan)[0] == Entry("DISthresh", 1, "foreground mask")


def test_the_papers_of_a_dataset_are_listed_and_a_run_is_silent_on_them(tmp_path) -> None:
    base = factory.make_mvtec(tmp_path)
    for name in ("license.txt", "readme.txt"):
        (base / name).touch()
    found = inventory("mvtec", "bottle", tmp_path)
    assert found[0] == Entry(".", 2, "not read", ".txt: no image")
    assert unread_line(found) == []


def test_the_line_of_a_run_stays_short(tmp_path) -> None:
    base = factory.make_mvtec(tmp_path)
    for number in range(5):
        for name in ("a", "b"):
            (base / f"extra{number}").mkdir(exist_ok=True)
            (base / f"extra{number}" / f"{name}.raw").touch()
    (line,) = unread_line(inventory("mvtec", "bottle", tmp_path))
    assert line.startswith("10 files are not read: extra0 2 .raw: no image; extra1 2")
    assert "extra3" not in line and "; 2 more groups" in line


@pytest.mark.parametrize("orientation", [3, 6])
def test_an_image_that_is_turned_while_its_mask_is_not_is_told(orientation, tmp_path) -> None:
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    image = base / "test" / "crack" / "000.jpg"
    pixels = Image.open(image.with_suffix(".png"))
    image.with_suffix(".png").unlink()
    exif = Image.Exif()
    for value, expected in ((1, 0), (orientation, 1)):
        exif[0x0112] = value
        pixels.save(image, exif=exif)
        lines = turned_line(scan_category("custom", "screws", tmp_path).samples)
        assert len(lines) == expected
    assert lines[0].startswith(f"{image} is turned by its EXIF orientation {orientation} and its")
    notes = [line for line in verify("custom", tmp_path).lines if line.startswith("  note: ")]
    assert notes == [f"  note: {lines[0]}"]
