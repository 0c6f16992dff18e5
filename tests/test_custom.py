import re

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
        ("test/OK/a.png", r"test/OK would be read as defects; rename it to good"),
        ("test/Good/a.png", r"test/Good would be read as defects"),
        ("test/0_OK/a.png", r"test/0_OK would be read as defects"),
        ("test/양품/a.png", r"test/양품 would be read as defects"),
        ("test/defect-free/a.png", r"test/defect-free would be read as defects"),
        (
            "test/crack/000_mask.png",
            r"000_mask.png would be read as an image; .*ground_truth/crack",
        ),
        ("test/crack/cam1/a.png", r"crack/cam1 is not read: move its images up into crack"),
        ("train/good/cam2/left/a.png", r"good/cam2 is not read: move its images up into good"),
        ("train/good/a.HEIC", r"a.HEIC is not read; convert it to PNG"),
        ("ground_truth/crack/a.gif", r"a.gif is not read; convert it to PNG"),
        ("masks/crack/000.png", r"masks is not read: masks belong in ground_truth"),
    ],
)
@pytest.mark.parametrize("dataset", ["custom", "mvtec"])
def test_what_would_have_no_effect_or_another_than_meant_is_named(
    dataset, place, message, tmp_path
):
    base = factory.make_mvtec(tmp_path, "screws", folder="." if dataset == "custom" else "mvtec")
    factory.write_noise(base / "extra.png", 1)
    (base / place).parent.mkdir(parents=True, exist_ok=True)
    (base / "extra.png").rename(base / place)
    problems = scan_category(dataset, "screws", tmp_path).problems
    assert any(re.search(message, problem) for problem in problems), problems


@pytest.mark.parametrize("place", ["test/not_ok", "test/abnormal", "test/no_label", "DISthresh"])
def test_other_folders_of_a_category_are_no_problem(place, tmp_path):
    base = factory.make_mvtec(tmp_path, "screws", folder=".")
    (base / "ground_truth").rename(tmp_path / "away")
    factory.write_noise(base / place / "a.png", 1)
    assert scan_category("custom", "screws", tmp_path).problems == []


def test_the_name_of_a_folder_is_doubted_before_its_masks_are_missed(tmp_path):
    base = factory.make_mvtec(tmp_path, "screws")
    factory.write_noise(base / "test" / "OK" / "a.png", 1)
    with pytest.raises(DiffadError, match="test/OK would be read as defects"):
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


def test_images_beside_train_are_not_skipped_silently(tmp_path):
    factory.write_noise(tmp_path / "screws" / "train" / "good" / "a.png", 1)
    factory.write_noise(tmp_path / "screws" / "b.png", 2)
    with pytest.raises(DiffadError, match=r"b.png is not read"):
        list_samples("custom", "screws", tmp_path)


def test_empty_training_folder(tmp_path):
    (tmp_path / "screws" / "train").mkdir(parents=True)
    with pytest.raises(DiffadError, match=r"train/good holds no PNG"):
        list_samples("custom", "screws", tmp_path)


def test_missing_category(tmp_path):
    factory.write_noise(tmp_path / "screws" / "a.png", 1)
    with pytest.raises(DiffadError, match=r'no category "screw" .*did you mean "screws"'):
        list_samples("custom", "screw", tmp_path)
