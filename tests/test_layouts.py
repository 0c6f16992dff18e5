import re
from collections import Counter
from pathlib import Path

import pytest

import layout_factory as factory
from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.datasets.layouts import list_categories, list_samples, scan_category
from diffad_lib.errors import DiffadError

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")


def counts(samples):
    return Counter((sample.split, sample.label) for sample in samples)


@pytest.mark.parametrize(("dataset", "category", "make"), factory.LAYOUTS)
def test_every_layout_gives_the_same_split(dataset, category, make, tmp_path):
    make(tmp_path)
    samples = list_samples(dataset, category, tmp_path)
    # A tree's order: normal training images, normal test images, defective test images.
    assert [(s.split, s.label) for s in samples] == (
        [("train", 0)] * factory.TRAIN_GOOD
        + [("test", 0)] * factory.TEST_GOOD
        + [("test", 1)] * factory.TEST_DEFECT
    )
    for sample in samples:
        assert sample.image.is_file()
        assert (sample.defect == "good") == (sample.label == 0) == (sample.mask is None)
        if sample.mask:
            assert sample.mask.is_file()
            assert sample.mask.stem.removesuffix("_mask").removesuffix("_label") == (
                sample.image.stem
            )


def test_defects_keep_their_names(tmp_path):
    factory.make_mvtec(tmp_path)
    samples = list_samples("mvtec", "bottle", tmp_path)
    assert [s.defect for s in samples if s.label] == ["crack", "crack", "stain", "stain"]
    for sample in samples:
        assert sample.mask is None or sample.mask.parent.name == sample.image.parent.name


def test_dagm_defective_training_images_are_known_but_not_trained_on(tmp_path):
    factory.make_dagm(tmp_path)
    assert counts(scan_category("dagm", "Class1", tmp_path).samples)["train", 1] == 1
    assert counts(list_samples("dagm", "Class1", tmp_path))["train", 1] == 0


def test_files_are_in_natural_order(tmp_path):
    base = factory.make_mvtec(tmp_path)
    for name in ("2.png", "10.png", "1.png"):
        factory.write_noise(base / "train" / "good" / name, 1)
    names = [s.image.name for s in list_samples("mvtec", "bottle", tmp_path) if s.split == "train"]
    assert names == ["000.png", "001.png", "1.png", "002.png", "2.png", "10.png"]


def test_visa_rows_of_the_csv_are_put_in_order(tmp_path):
    factory.make_visa(tmp_path)
    names = [s.image.name for s in list_samples("visa", "candle", tmp_path)]
    assert names == [f"{i:04}.JPG" for i in range(5)] + [f"{i:03}.JPG" for i in range(4)]


def test_categories_are_folders_with_images(tmp_path):
    factory.make_mvtec(tmp_path, "bottle")
    factory.make_mvtec(tmp_path, "zipper")
    (tmp_path / "mvtec" / "license.txt").touch()
    (tmp_path / "mvtec" / "__MACOSX").mkdir()
    factory.make_visa(tmp_path, "candle")
    factory.make_visa(tmp_path, "pcb1")
    factory.make_dtd(tmp_path, "banded")
    factory.make_dagm(tmp_path, "Class10")
    factory.make_dagm(tmp_path, "Class2")
    assert list_categories("mvtec", tmp_path) == ["bottle", "zipper"]
    assert list_categories("visa", tmp_path) == ["candle", "pcb1"]
    assert list_categories("dtd", tmp_path) == ["banded"]
    assert list_categories("dagm", tmp_path) == ["Class2", "Class10"]


def test_visa_categories_do_not_mix(tmp_path):
    factory.make_visa(tmp_path, "pcb1")
    factory.make_visa(tmp_path, "pcb2")
    samples = list_samples("visa", "pcb2", tmp_path)
    assert {s.image.relative_to(tmp_path / "visa").parts[0] for s in samples} == {"pcb2"}


def test_dtd_class_is_a_list_of_textures(tmp_path):
    factory.make_dtd(tmp_path)
    assert counts(list_samples("dtd", "banded", tmp_path)) == {("train", 0): 3}


def test_hidden_and_other_files_are_not_images(tmp_path):
    base = factory.make_mvtec(tmp_path)
    (base / "train" / "good" / "._000.png").touch()
    (base / "train" / "good" / "Thumbs.db").touch()
    assert len(list_samples("mvtec", "bottle", tmp_path)) == 9


def test_missing_category_names_the_folder_and_the_nearest(tmp_path):
    factory.make_mvtec(tmp_path)
    with pytest.raises(DiffadError, match=r'mvtec has no category "botle" \(there: bottle\); did'):
        list_samples("mvtec", "botle", tmp_path)


def test_missing_folders_are_named_with_what_is_there(tmp_path):
    with pytest.raises(DiffadError, match="nowhere is not a folder"):
        list_samples("mvtec", "bottle", tmp_path / "nowhere")
    (tmp_path / "mvtek").mkdir()
    with pytest.raises(DiffadError, match=r'no folder "mvtec" \(there: mvtek\)'):
        list_samples("mvtec", "bottle", tmp_path)
    (tmp_path / "visa").mkdir()
    with pytest.raises(DiffadError, match=r"visa holds neither .*1cls.csv nor 1cls"):
        list_categories("visa", tmp_path)
    (tmp_path / "dtd").mkdir()
    with pytest.raises(DiffadError, match="dtd holds no folder images"):
        list_categories("dtd", tmp_path)
    with pytest.raises(DiffadError, match='"mvtek" is not known; did you mean "mvtec"'):
        list_categories("mvtek", tmp_path)


def one_problem(dataset, category, root):
    """The one problem of a category; checks that list_samples raises it in one line."""
    (problem,) = scan_category(dataset, category, root).problems
    with pytest.raises(DiffadError) as caught:
        list_samples(dataset, category, root)
    assert str(caught.value) == problem
    assert "\n" not in problem
    return problem


def test_defective_image_without_mask(tmp_path):
    base = factory.make_mvtec(tmp_path)
    (base / "ground_truth" / "stain" / "001_mask.png").unlink()
    problem = one_problem("mvtec", "bottle", tmp_path)
    assert f"{base / 'test' / 'stain' / '001.png'} has no mask" in problem


def test_mask_without_image(tmp_path):
    base = factory.make_mvtec(tmp_path)
    (base / "test" / "stain" / "001.png").unlink()
    problem = one_problem("mvtec", "bottle", tmp_path)
    assert f"{base / 'ground_truth' / 'stain' / '001_mask.png'} is a mask without" in problem


def test_masks_of_a_defect_without_images(tmp_path):
    base = factory.make_mvtec(tmp_path)
    mask = base / "ground_truth" / "dent" / "000_mask.png"
    factory.write_mask(mask)
    assert f"{mask} is a mask without an image" in one_problem("mvtec", "bottle", tmp_path)


def test_two_images_of_one_stem(tmp_path):
    base = factory.make_mvtec(tmp_path)
    factory.write_noise(base / "test" / "crack" / "000.bmp", 1)
    problem = one_problem("mvtec", "bottle", tmp_path)
    assert "crack/000.png has the same stem as 000.bmp" in problem


def test_two_masks_of_one_image(tmp_path):
    base = factory.make_mvtec(tmp_path)
    factory.write_mask(base / "ground_truth" / "crack" / "000.png")
    problem = one_problem("mvtec", "bottle", tmp_path)
    assert "crack/000_mask.png has the same stem as 000.png" in problem


def test_a_mask_of_a_normal_image_has_to_mark_nothing(tmp_path):
    mask = factory.make_mvtec(tmp_path) / "ground_truth" / "good" / "000_mask.png"
    factory.write_mask(mask, value=0)
    assert len(list_samples("mvtec", "bottle", tmp_path)) == 9
    factory.write_mask(mask)
    problem = one_problem("mvtec", "bottle", tmp_path)
    assert problem == f"{mask} marks pixels of a normal image; delete it or the marks"
    mask.write_bytes(b"bad")
    assert one_problem("mvtec", "bottle", tmp_path).startswith(f"{mask} is ")


def test_empty_training_folder(tmp_path):
    base = factory.make_mvtec(tmp_path)
    for path in (base / "train" / "good").iterdir():
        path.unlink()
    assert "train/good holds no PNG" in one_problem("mvtec", "bottle", tmp_path)


def test_further_problems_are_counted(tmp_path):
    base = factory.make_mvtec(tmp_path)
    for path in (base / "ground_truth" / "crack").iterdir():
        path.unlink()
    with pytest.raises(DiffadError, match=r"000.png has no mask; .*\(1 more: see"):
        list_samples("mvtec", "bottle", tmp_path)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("0002\t0\t0002.PNG", "0002\t0\t0009.PNG", "Labels.txt line 3 names .*0009.PNG, which"),
        ("0002\t0\t0002.PNG", "0002\t0\t0001.PNG", "line 3 names .*0001.PNG a second time"),
        ("0004_label.PNG", "0009_label.PNG", "line 5 names .*0009_label.PNG, which does not"),
        ("0004_label.PNG", "0", "line 5: .*0004.PNG has label 1 but no mask"),
        ("0004\t1", "0004\t0", "line 5: .*0004.PNG has label 0 but a mask"),
        ("0002\t0\t", "0002\tno\t", "line 3 is not: number"),
        ("0002\t0\t0002.PNG\t0\t0", "0002,0,0002.PNG,0,0", "line 3 is not: .* blanks between them"),
        ("0002\t0\t0002.PNG\t0\t0\t\n", "", "0002.PNG is not listed in .*Labels.txt"),
    ],
)
def test_faults_of_dagm_labels(old, new, expected, tmp_path):
    base = factory.make_dagm(tmp_path)
    edit(base / "Train" / "Label" / "Labels.txt", old, new)
    with pytest.raises(DiffadError, match=expected):
        list_samples("dagm", "Class1", tmp_path)


def test_dagm_without_labels(tmp_path):
    base = factory.make_dagm(tmp_path)
    (base / "Test" / "Label" / "Labels.txt").unlink()
    assert "Test/Label/Labels.txt does not exist" in one_problem("dagm", "Class1", tmp_path)


def test_dagm_label_image_that_is_not_listed(tmp_path):
    base = factory.make_dagm(tmp_path)
    factory.write_mask(base / "Test" / "Label" / "0001_label.PNG")
    assert "0001_label.PNG is not listed" in one_problem("dagm", "Class1", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("test,anomaly", "valid,anomaly", "1cls.csv line 2 is not: object"),
        ("test,anomaly", "test,broken", "1cls.csv line 2 is not: object"),
        ("test,anomaly", "test,normal", "normal image .*003.JPG has a mask"),
        (",candle/Data/Masks/Anomaly/003.png", ",", "anomaly image .*003.JPG has no mask"),
        ("Images/Anomaly/003.JPG", "Images/Anomaly/009.JPG", "009.JPG, which does not exist"),
        ("Images/Anomaly/003.JPG", "Images/Anomaly/002.JPG", "002.JPG a second time"),
        ("Masks/Anomaly/003.png", "Masks/Anomaly/009.png", "009.png, which does not exist"),
        (
            "candle/Data/Masks/Anomaly/003",
            r"candle\Data\Masks\Anomaly\003",
            r"; write / in place of",
        ),
        ("object,split", "object,part", "1cls.csv has no column split"),
        ("candle,test,normal,candle/Data/Images/Normal/0004.JPG,\n", "", "0004.JPG is not listed"),
    ],
)
def test_faults_of_visa_csv(old, new, expected, tmp_path):
    factory.make_visa(tmp_path)
    edit(tmp_path / "visa" / "split_csv" / "1cls.csv", old, new)
    with pytest.raises(DiffadError, match=expected):
        list_samples("visa", "candle", tmp_path)


OUTSIDE = ["../../../secret.PNG", "{root}/secret.PNG", "../{split}/0001.PNG"]


@pytest.mark.parametrize("name", [*OUTSIDE, "x" * 300, "a\0b"])
def test_dagm_labels_lead_to_no_file_outside_the_category(name, tmp_path):
    folder = factory.make_dagm(tmp_path) / "Train"
    factory.write_noise(tmp_path / "secret.PNG", 1)
    name = name.format(root=tmp_path, split="Train")
    edit(folder / "Label" / "Labels.txt", "0002.PNG", name)
    problems = scan_category("dagm", "Class1", tmp_path).problems
    reason = "outside" if name.endswith(".PNG") else "which (is no name|does not exist)"
    assert any(re.search(f"line 3 names .*{re.escape(name)}.*{reason}", one) for one in problems)
    samples = scan_category("dagm", "Class1", tmp_path).samples
    assert "secret.PNG" not in {sample.image.resolve().name for sample in samples}


@pytest.mark.parametrize("column", ["Images/Anomaly/003.JPG", "Masks/Anomaly/003.png"])
@pytest.mark.parametrize(
    "name",
    ["../secret.PNG", "{root}/secret.PNG", "candle/../../secret.PNG",
     "candle/Data/../Data/Images/Anomaly/002.JPG", "pcb1/Data/Images/Normal/0000.JPG",
     "candle/" + "x" * 300],
)  # fmt: skip
def test_a_visa_csv_leads_to_no_file_outside_the_category(name, column, tmp_path):
    factory.make_visa(tmp_path)
    factory.write_noise(tmp_path / "secret.PNG", 1)
    factory.make_visa(tmp_path, "pcb1")
    name = name.format(root=tmp_path)
    edit(tmp_path / "visa" / "split_csv" / "1cls.csv", f"candle/Data/{column}", name)
    scan = scan_category("visa", "candle", tmp_path)
    reason = "is no name of a file" if name.endswith("x") else "outside"
    line = f"line 2 names .*{re.escape(name)}.* {reason}"
    assert any(re.search(line, problem) for problem in scan.problems)
    files = [path for sample in scan.samples for path in (sample.image, sample.mask) if path]
    assert "secret.PNG" not in {path.resolve().name for path in files}


@pytest.mark.parametrize("dataset", ["visa", "dagm"])
def test_a_category_and_its_files_may_be_links(dataset, tmp_path):
    base = {"visa": factory.make_visa, "dagm": factory.make_dagm}[dataset](tmp_path)
    image = next(base.rglob("000[1-9].[JP]*"))  # as stores of large files lay them out
    image.symlink_to(image.rename(tmp_path / image.name))
    elsewhere = base.rename(tmp_path / "elsewhere")
    base.symlink_to(elsewhere)
    assert scan_category(dataset, base.name, tmp_path).problems == []


def test_a_csv_with_a_quote_that_does_not_end_is_one_line(tmp_path):
    factory.make_visa(tmp_path)
    path = tmp_path / "visa/split_csv/1cls.csv"
    path.write_text(path.read_text() + 'candle,"' + "x" * 200_000)
    with pytest.raises(DiffadError, match=r"1cls.csv line \d+: field larger .*; get it again"):
        scan_category("visa", "candle", tmp_path)


@needs_shared
@pytest.mark.parametrize(
    ("dataset", "category", "expected"),
    [
        ("mvtec", "bottle", (209, 20, 63)),
        ("mpdd", "metal_plate", (54, 26, 71)),
        ("dagm", "Class1", (350, 154, 71)),
    ],
)
def test_real_categories(dataset, category, expected):
    found = counts(list_samples(dataset, category, SHARED / "data"))
    assert (found["train", 0], found["test", 0], found["test", 1]) == expected
    assert found.total() == sum(expected)


@pytest.mark.slow
@needs_shared
def test_true_visa_csv_has_the_counts_of_the_catalog(tmp_path):
    """All images of the csv exist here as empty files, so that the reader sees VisA complete."""
    text = (SHARED / "data" / "visa" / "split_csv" / "1cls.csv").read_text()
    table = tmp_path / "visa" / "split_csv" / "1cls.csv"
    table.parent.mkdir(parents=True)
    table.write_text(text)
    for line in text.splitlines()[1:]:
        for name in filter(None, line.split(",")[3:]):
            path = tmp_path / "visa" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    assert list_categories("visa", tmp_path) == sorted(CATALOG["visa"].categories)
    for category, info in CATALOG["visa"].categories.items():
        found = counts(list_samples("visa", category, tmp_path))
        assert found == {
            ("train", 0): info.train_good,
            ("test", 0): info.test_good,
            ("test", 1): info.test_defect,
        }
