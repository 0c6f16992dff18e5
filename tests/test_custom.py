import pytest

import layout_factory as factory
from diffad_lib.datasets.layouts import list_categories, list_samples
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
