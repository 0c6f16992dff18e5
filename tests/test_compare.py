"""`diffad compare`: what it says, and what it refuses."""

import re

import pytest

from diffad_lib.errors import DiffadError
from diffad_lib.runs.compare import compare_folders, verdict
from record_factory import made_record, put, three_seeds

PIXEL = ("pixel AUROC", "pixel AP", "AUPRO")


def two(tmp_path, **changes):
    """Folders of two methods, B with changes."""
    a = three_seeds(tmp_path / "a", 0.95, 0.001)
    b = three_seeds(tmp_path / "b", 0.60, 0.001, method="diffusionad", **changes)
    return a, b


def test_a_large_difference_is_real_and_a_small_one_is_not_shown(tmp_path):
    found = compare_folders(*two(tmp_path))
    by_metric = {one.metric: one for one in found.metrics}
    pixel = by_metric["pixel_ap"]
    assert pixel.difference.value == pytest.approx(0.35) and verdict(pixel) == "real"
    assert not pixel.is_paired and by_metric["image_auroc"].is_paired
    near = three_seeds(tmp_path / "c", 0.94, 0.02, method="autoencoder")
    small = compare_folders(tmp_path / "a", near).metrics
    assert [verdict(one).split(",")[0].split(";")[0] for one in small] == ["not shown"] * 4


def test_the_difference_of_b_to_a_is_the_reverse(tmp_path):
    a, b = two(tmp_path)
    forth, back = compare_folders(a, b).metrics[2], compare_folders(b, a).metrics[2]
    assert forth.difference.value == pytest.approx(-back.difference.value)
    assert forth.difference.both == pytest.approx(tuple(-end for end in back.difference.both[::-1]))


def test_one_seed_gives_no_verdict(tmp_path):
    a, _ = two(tmp_path)
    put(tmp_path / "c", made_record(0, 0.1, method="autoencoder"))
    found = compare_folders(a, tmp_path / "c")
    assert {verdict(one) for one in found.metrics} == {"not known: a side has one seed"}
    assert "B has one seed: how far another seed would be is unknown" in found.notes


def test_the_command_says_it_in_a_line_a_metric(tmp_path, diffad):
    code, out, err = diffad("compare", *two(tmp_path))
    assert (code, err) == (0, "")
    assert "pixel AP: real" in out and "A = draem laptop (seeds: 3)" in out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": "other"}, "other test images"),
        ({"category": "cable"}, r"other test images \(mvtec/bottle, mvtec/cable\)"),
    ],
)
def test_records_of_other_test_sets_are_refused(tmp_path, changes, words, diffad):
    code, _, err = diffad("compare", *two(tmp_path, **changes))
    assert code == 1 and re.search(words, err) and err.count("\n") == 1


def test_pixels_at_other_sizes_and_other_limits_are_not_compared(tmp_path):
    found = compare_folders(*two(tmp_path, image_size=256))
    assert [one.metric for one in found.metrics] == ["image_auroc"]
    assert "pixel AP: not compared, measured at image_size 128 and 256" in found.notes
    three_seeds(tmp_path / "c", 0.5, method="autoencoder", fpr_limit=0.05)
    found = compare_folders(tmp_path / "a", tmp_path / "c")
    assert [one.metric for one in found.metrics] == ["image_auroc", "pixel_auroc", "pixel_ap"]


def test_image_metrics_at_other_sizes_are_compared_with_a_note(tmp_path):
    told = "A saw images of 128 px, B of 256: a difference in image metrics is one of size too"
    assert compare_folders(*two(tmp_path, image_size=256)).notes[0] == told
    three_seeds(tmp_path / "c", 0.5, method="autoencoder")
    assert "px" not in str(compare_folders(tmp_path / "a", tmp_path / "c").notes)


def test_a_metric_that_a_record_lacks_is_told_to_be_missing_whatever_its_size(tmp_path):
    a, _ = two(tmp_path)
    for seed in range(3):
        record = made_record(seed, 0.6, method="autoencoder", image_size=64)
        record["metrics"] |= dict.fromkeys(("pixel_auroc", "pixel_ap", "aupro"))
        put(tmp_path / "c", record)
    found = compare_folders(a, tmp_path / "c")
    assert [one.metric for one in found.metrics] == ["image_auroc"]
    missing = [f"{name}: not compared, a record lacks it or it is undefined" for name in PIXEL]
    assert [note for note in found.notes if "not compared" in note] == missing


def test_a_folder_of_several_settings_is_refused(tmp_path):
    a, _ = two(tmp_path)
    with pytest.raises(DiffadError, match="holds runs of mvtec/bottle diffusionad laptop, mvtec"):
        compare_folders(tmp_path, a)
    three_seeds(tmp_path / "b", steps=3, method="diffusionad", category="cable")
    with pytest.raises(DiffadError, match="name the folder of one"):
        compare_folders(a, tmp_path / "b")


def test_records_of_a_side_that_do_not_belong_together_are_refused(tmp_path):
    a, b = two(tmp_path)
    put(tmp_path / "b", made_record(4, 0.6, method="diffusionad", steps=7))
    with pytest.raises(DiffadError, match=r"steps 7, not 1500.*move it away"):
        compare_folders(a, b)
    (a / "seed0" / "record.json").write_text("{}")
    with pytest.raises(DiffadError, match=r"seed0/record\.json: lacks config"):
        compare_folders(a, b)


def test_the_same_runs_on_both_sides_are_refused(tmp_path):
    a, _ = two(tmp_path)
    with pytest.raises(DiffadError, match="is on both sides"):
        compare_folders(a, a.parent)


def test_images_in_another_order_are_refused(tmp_path):
    a, _ = two(tmp_path)
    record = made_record(0, 0.5, method="autoencoder")
    record["images"] = record["images"][::-1]
    put(tmp_path / "c", record)
    with pytest.raises(DiffadError, match="other images, or in another order"):
        compare_folders(a, tmp_path / "c")


def test_other_training_images_are_told(tmp_path):
    found = compare_folders(*two(tmp_path, train="other"))
    assert "the two sides were trained on other images" in found.notes
