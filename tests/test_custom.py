import errno
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import cv2
import pytest

import layout_factory as factory
from diffad_lib.datasets.decode import decode_image
from diffad_lib.datasets.layouts import list_categories, list_samples, scan_category
from diffad_lib.errors import DiffadError


def test_flat_folder_of_normal_images(tmp_path):
    for index in range(3):
        factory.write_noise(tmp_path / "screws" / f"photo{index}.jpg", index)
    samples = list_samples("custom", "screws", tmp_path)
    assert [s.image.name for s in samples] == ["photo0.jpg", "photo1.jpg", "photo2.jpg"]
    assert {(s.split, s.label, s.defect, s.mask) for s in samples} == {("train", 0, "good", None)}
    assert list_categories("custom", tmp_path) == ["screws"]


def test_train_folder_without_good(tmp_path):
    factory.write_noise(tmp_path / "screws" / "train" / "a.png", 1)
    factory.write_noise(tmp_path / "screws" / "test" / "bent" / "b.png", 2)
    samples = list_samples("custom", "screws", tmp_path)
    assert [(s.split, s.label, s.defect) for s in samples] == [
        ("train", 0, "good"),
        ("test", 1, "bent"),
    ]


def test_full_tree_is_read_as_mvtec(tmp_path):
    factory.make_mvtec(tmp_path, "screws", folder=".")
    own = list_samples("custom", "screws", tmp_path)
    factory.make_mvtec(tmp_path, "screws")
    official = list_samples("mvtec", "screws", tmp_path)
    assert [(s.image.name, s.label, s.defect, s.mask is None) for s in own] == [
        (s.image.name, s.label, s.defect, s.mask is None) for s in official
    ]


def test_without_ground_truth_defects_have_no_mask(tmp_path):
    factory.write_noise(tmp_path / "screws" / "train" / "good" / "a.png", 1)
    factory.write_noise(tmp_path / "screws" / "test" / "bent" / "b.png", 2)
    assert list_samples("custom", "screws", tmp_path)[-1].mask is None


def test_with_ground_truth_every_defect_needs_a_mask(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "ground_truth" / "crack" / "000_mask.png").unlink()
    with pytest.raises(DiffadError, match=r"crack/000.png has no mask"):
        list_samples("custom", "screws", tmp_path)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("test/ok_parts/a.png", r"test/ok_parts would be read as defects; rename it to good, or"),
        ("test/goodparts/a.png", r"test/goodparts would be read as defects"),
        ("test/negative/a.png", r"test/negative would be read as defects"),
        (
            "test/crack/000_mask.png",
            r"000_mask.png would be read as an image; .*ground_truth/crack",
        ),
        ("test/crack/000_gt.png", r"000_gt.png would be read as an image; .*ground_truth/crack"),
        ("train/good/000_mask.png", r"000_mask.png would be read as an image; .*ground_truth"),
        *(
            (
                f"test/crack/{name}.png",
                rf"{name}.png would be read as an image; .*ground_truth/crack",
            )
            for name in (
                "000_GT",
                "000_MASK",
                "000-mask",
                "000.mask",
                "000 mask",
                "mask_000",
                "Mask000",
                "000_mask_1",
                "000_label",
                "gt-000",
                "000_seg",
                "000_ground_truth",
                "000 GroundTruth",
                "000_segmentation",
                "000_annotations",
                "000_annotated",
                "000_msk",
                "000_마스크",
                unicodedata.normalize("NFD", "000_마스크"),
            )
        ),
        *(
            (
                f"test/{name}/000.png",
                rf"test/{name} would be read as defects; move masks into ground_truth/crack, or",
            )
            for name in ("crack_mask", "crack_gt", "mask_crack", "Crack-GroundTruth")
        ),
        ("test/mask/000.png", r"test/mask would be read as defects; move masks into ground_truth"),
        ("test/Ground_Truth/0.png", r"test/Ground_Truth would be read as defects; move masks"),
        *(
            (f"test/{name}/a.png", rf"test/{name} would be read as defects; rename it to good")
            for name in (
                "0",
                "fault_free",
                "without_defect",
                "no_crack",
                "clean",
                "intact",
                "nominal",
                "Gutteile",
                "양호",
                "bueno",
                "flawless",
                "undamaged",
                "良",
            )
        ),
    ],
)
@pytest.mark.parametrize("dataset", ["custom", "mvtec"])
def test_what_would_have_another_effect_than_meant_is_a_problem(dataset, place, message, tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder="." if dataset == "custom" else "mvtec")
    factory.write_noise(base / "extra.png", 1)
    (base / place).parent.mkdir(parents=True, exist_ok=True)
    (base / "extra.png").rename(base / place)
    problems = scan_category(dataset, "screws", tmp_path).problems
    assert any(re.search(message, problem) for problem in problems), problems


@pytest.mark.parametrize(
    "place",
    ["test/not_ok", "test/abnormal", "test/no_label", "test/bonding", "test/fine_line",
     "test/nonconforming", "test/passivation", "test/1", "test/label", "test/bent_label",
     "DISthresh"],
)  # fmt: skip
def test_other_folders_of_a_category_are_no_problem(place, tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "ground_truth").rename(tmp_path / "away")
    factory.write_noise(base / place / "a.png", 1)
    assert scan_category("custom", "screws", tmp_path).problems == []


def test_a_defect_that_is_called_as_masks_of_another_is_none_where_it_has_masks(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    for folder in ("test", "ground_truth"):
        (base / folder / "stain").rename(base / folder / "crack_label")
    assert len(list_samples("custom", "screws", tmp_path)) == 9


@pytest.mark.parametrize(
    "name",
    ["OK", "Good", "0_OK", "normal", "Pass", "양품", "defect-free", "anomaly_free", "정상품"],
)
@pytest.mark.parametrize("dataset", ["custom", "mvtec"])
def test_the_usual_names_of_normal_images_are_taken_and_told(dataset, name, tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder="." if dataset == "custom" else "mvtec")
    (base / "test" / "good").rename(base / "test" / name)
    scan = scan_category(dataset, "screws", tmp_path)
    good = [sample for sample in scan.samples if sample.image.parent.name == name]
    assert [(sample.label, sample.defect) for sample in good] == 2 * [(0, "good")]
    assert scan.problems == []
    assert scan.notes == [f"test/{name} is read as normal images; rename it if they are not"]


def test_pictures_of_a_product_that_is_called_mask_are_images(tmp_path):
    base = factory.make_mvtec(tmp_path, "facemask", folder=".")
    for path in [*base.rglob("test/*/*.png"), *base.rglob("train/*/*.png")]:
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    for path in base.rglob("ground_truth/*/*.png"):
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    assert len(list_samples("custom", "facemask", tmp_path)) == 9


def test_all_usual_folders_of_training_images_are_read_and_nothing_else(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    factory.write_noise(base / "train" / "normal" / "b.png", 5)
    factory.write_noise(base / "preview.png", 6)
    train = [s.image.name for s in list_samples("custom", "screws", tmp_path) if s.split == "train"]
    assert sorted(train) == ["000.png", "001.png", "002.png", "b.png"]
    (base / "train" / "good").rename(base / "train" / "first")
    (base / "train" / "normal").rename(base / "train" / "second")
    with pytest.raises(DiffadError, match="train/good holds no PNG"):  # and not preview.png
        list_samples("custom", "screws", tmp_path)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_ground_truth_that_is_no_folder_is_a_problem(make, tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "ground_truth").rename(tmp_path / "away")
    make(base / "ground_truth")
    with pytest.raises(DiffadError, match="ground_truth is no folder, so there are no masks"):
        list_samples("custom", "screws", tmp_path)


def test_a_folder_that_is_called_like_an_image_is_none(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "test" / "crack" / "dir.png").mkdir()
    assert len(list_samples("custom", "screws", tmp_path)) == 9


def test_the_masks_of_a_defect_are_found_in_another_unicode_form(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    for folder, form in (("test", "NFD"), ("ground_truth", "NFC")):
        (base / folder / "crack").rename(base / folder / unicodedata.normalize(form, "긁힘"))
    assert all(s.mask for s in list_samples("custom", "screws", tmp_path) if s.label)


def test_the_masks_of_a_defect_are_found_in_other_case_unless_two_folders_differ_so(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "ground_truth" / "crack").rename(base / "ground_truth" / "CRACK")
    assert all(s.mask for s in list_samples("custom", "screws", tmp_path) if s.label)
    factory.write_noise(base / "test" / "Crack" / "000.png", 9)
    problems = scan_category("custom", "screws", tmp_path).problems
    assert len(problems) == 5  # a mask for each of three images, an image for each of two masks
    assert "test/Crack/000.png has no mask" in problems[0]


def test_of_two_categories_that_differ_in_unicode_form_each_is_found(tmp_path):
    for form, count in (("NFC", 3), ("NFD", 2)):
        for index in range(count):
            factory.write_noise(tmp_path / unicodedata.normalize(form, "é") / f"{index}.png", index)
    for form, count in (("NFC", 3), ("NFD", 2)):
        assert len(list_samples("custom", unicodedata.normalize(form, "é"), tmp_path)) == count


def test_a_data_root_one_folder_too_deep_or_too_high_is_told(tmp_path):
    base = factory.make_mvtec(tmp_path / "data", "screws", folder=".")
    with pytest.raises(DiffadError, match="looks like the category itself: give the folder that"):
        list_samples("custom", "screws", base)
    with pytest.raises(DiffadError, match="looks like the category itself: give the folder that"):
        list_samples("custom", "bolts", base)
    with pytest.raises(DiffadError, match="train is a part of a category: give the folder that"):
        list_samples("custom", "screws", base / "train")
    with pytest.raises(DiffadError, match=f"{tmp_path / 'data'} has it: give that folder"):
        list_samples("custom", "screws", tmp_path)


def test_an_empty_ground_truth_is_told_once(tmp_path):
    factory.write_noise(tmp_path / "screws" / "train" / "good" / "a.png", 1)
    factory.write_noise(tmp_path / "screws" / "test" / "bent" / "b.png", 2)
    (tmp_path / "screws" / "ground_truth" / "bent").mkdir(parents=True)
    (tmp_path / "screws" / "ground_truth" / "bent" / ".gitkeep").touch()
    (tmp_path / "screws" / "ground_truth" / "Thumbs.db").touch()
    problems = scan_category("custom", "screws", tmp_path).problems
    assert len(problems) == 1 and "ground_truth is empty; put the masks there, or" in problems[0]


NOT_ROOT = """
import os, sys
from pathlib import Path
from diffad_lib.errors import DiffadError
from diffad_lib.datasets.verify import verify
if os.getuid() == 0:
    os.seteuid(65534)
try:
    print("\\n".join(verify("custom", Path(sys.argv[1])).lines))
except DiffadError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("place", "mode", "line"),
    [
        ("lost+found", 0, "lost+found: no category"),
        ("screws/test/crack", 0, "test/crack cannot be read (Permission denied); give yourself"),
        ("screws/other", 0, "screws/other cannot be read (Permission denied); give yourself"),
        ("screws/train/good", 0o644, "good/000.png cannot be read (Permission denied); give"),
        ("screws/test", 0o644, "screws/test/crack cannot be read (Permission denied); give"),
    ],
)
def test_a_folder_that_may_not_be_entered_is_one_line(place, mode, line, tmp_path):
    factory.make_mvtec(tmp_path, "screws", folder=".")
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place).chmod(mode)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    run = [sys.executable, "-c", NOT_ROOT, str(tmp_path)]
    told = subprocess.run(run, capture_output=True, text=True)
    (tmp_path / place).chmod(0o755)
    assert line in told.stdout and "Traceback" not in told.stderr, told


@pytest.mark.parametrize(
    ("dataset", "make", "place"),
    [
        ("custom", lambda root: factory.make_mvtec(root, folder="."), "bottle"),
        ("mvtec", factory.make_mvtec, "mvtec"),
        ("mvtec", factory.make_mvtec, "."),
        ("mvtec", factory.make_mvtec, "mvtec/bottle"),
        ("visa", factory.make_visa, "visa"),
        ("dagm", factory.make_dagm, "dagm/Class1"),
        ("dagm", factory.make_dagm, "dagm/Class1/Train"),
        ("dtd", factory.make_dtd, "dtd"),
    ],
)
def test_a_category_that_may_not_be_entered_is_not_told_to_be_absent(
    dataset, make, place, tmp_path, monkeypatch
):
    base, closed = make(tmp_path), tmp_path / place

    def closing(ask):
        def asked(path):
            if closed in path.parents:  # as root may enter every folder
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return ask(path)

        return asked

    for ask in ("is_dir", "is_file", "iterdir"):
        monkeypatch.setattr(Path, ask, closing(getattr(Path, ask)))
    with pytest.raises(DiffadError, match=rf"{closed}/?.* cannot be read \(Permission"):
        list_samples(dataset, base.name, tmp_path)


def test_a_folder_beside_that_may_not_be_entered_does_not_hide_which_categories_there_are(
    tmp_path, monkeypatch
):
    factory.make_mvtec(tmp_path, "screws", folder=".")
    (tmp_path / "lost+found").mkdir()
    is_dir = Path.is_dir

    def asked(path):
        if path.parent.name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", asked)
    with pytest.raises(DiffadError, match=r'no category "nuts" \(there: screws\)'):
        list_samples("custom", "nuts", tmp_path)


def test_a_training_folder_with_another_usual_name_is_read_and_told(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "train" / "good").rename(base / "train" / "OK")
    scan = scan_category("custom", "screws", tmp_path)
    assert sum(sample.split == "train" for sample in scan.samples) == factory.TRAIN_GOOD
    assert scan.notes == ["train/OK is read as train/good"]


def test_the_name_of_a_folder_is_doubted_before_its_masks_are_missed(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws")
    factory.write_noise(base / "test" / "ok_parts" / "a.png", 1)
    with pytest.raises(DiffadError, match="test/ok_parts would be read as defects"):
        list_samples("mvtec", "screws", tmp_path)


@pytest.mark.parametrize("suffix", [".webp", ".jfif", ".jpe", ".WEBP", ".ppm"])
def test_what_opencv_reads_is_read_whatever_it_is_called(suffix, tmp_path):
    for index in range(3):
        factory.write_noise(tmp_path / "screws" / f"{index}.png", index)
    pixels = cv2.imread(str(tmp_path / "screws" / "0.png"))
    done, data = cv2.imencode({".jfif": ".jpg", ".jpe": ".jpg"}.get(suffix, suffix.lower()), pixels)
    assert done
    path = tmp_path / "screws" / f"3{suffix}"
    path.write_bytes(data.tobytes())
    assert list_samples("custom", "screws", tmp_path)[-1].image == path
    assert decode_image(path).shape == pixels.shape


def test_empty_training_folder(tmp_path):
    (tmp_path / "screws" / "train").mkdir(parents=True)
    with pytest.raises(DiffadError, match=r"train/good holds no PNG, [^;]*$"):
        list_samples("custom", "screws", tmp_path)


@pytest.mark.parametrize("place", ["good/cam2", "cam2"])
def test_training_images_one_folder_too_deep_are_told(place, tmp_path):
    folder = tmp_path / "screws" / "train"
    factory.write_noise(folder / place / "a.png", 1)
    factory.write_noise(folder / "._a.png", 1)  # left by a Mac
    told = rf"train/good holds no PNG.*; those in {folder / place} are not read, .* ones into good$"
    with pytest.raises(DiffadError, match=told):
        list_samples("custom", "screws", tmp_path)


def test_only_images_without_masks_may_share_a_stem(tmp_path):
    factory.write_noise(tmp_path / "screws" / "test" / "bent" / "b.jpg", 2)
    for suffix in ("png", "bmp"):
        factory.write_noise(tmp_path / "screws" / "train" / f"a.{suffix}", 1)
        factory.write_noise(tmp_path / "screws" / "test" / "good" / f"a.{suffix}", 3)
    assert len(list_samples("custom", "screws", tmp_path)) == 5
    factory.write_mask(tmp_path / "screws" / "test" / "bent" / "b.png")
    with pytest.raises(DiffadError, match=r"bent/b.png has the same stem as b.jpg, .*; keep one"):
        list_samples("custom", "screws", tmp_path)


def test_a_mask_whose_name_is_in_another_unicode_form_is_found(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    for folder, ending in (("test", ""), ("ground_truth", "_mask")):
        path = base / folder / "crack" / f"000{ending}.png"
        form = "NFC" if ending else "NFD"
        path.rename(path.with_name(f"{unicodedata.normalize(form, '긁힘')}{ending}.png"))
    masks = [sample.mask for sample in list_samples("custom", "screws", tmp_path) if sample.label]
    assert len(masks) == 4 and all(masks)


def test_missing_category(tmp_path):
    factory.write_noise(tmp_path / "screws" / "a.png", 1)
    with pytest.raises(DiffadError, match=r'no category "screw" .*did you mean "screws"'):
        list_samples("custom", "screw", tmp_path)
