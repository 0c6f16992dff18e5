"""What the pictures of a category make doubtful, told alike by a run and by `data verify`."""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

import layout_factory as factory
from diffad_lib.datasets.doubts import light_lines, shape_line
from diffad_lib.datasets.layouts import scan_category
from diffad_lib.datasets.verify import verify
from diffad_lib.runs.config import build_config
from diffad_lib.runs.data import load_data, what_is_read

PLACES = {"train": "train/good", "good": "test/good", "defect": "test/crack"}


def write_part(root: Path, part: str, level: int, count: int = 10) -> None:
    """Pictures in colour with noise of mean brightness `level`."""
    for index in range(count):
        rng = np.random.default_rng([[*PLACES].index(part), index])
        noise = rng.integers(-20, 21, (factory.SIDE, factory.SIDE, 3))
        path = root / "parts" / PLACES[part] / f"{index:03}.png"
        factory.write_pixels(path, (level + index % 3 + noise).astype(np.uint8))


def told(root: Path) -> list[str]:
    """What a run says, which is what `data verify` says."""
    config = build_config("custom", "parts", "autoencoder", "laptop", data_root=root)
    config = config.but(detector=config.detector.but(image_size=factory.SIDE))
    notes = what_is_read(config, load_data(config)).notes
    lines = verify("custom", root).lines
    assert [line for line in lines if line.startswith("  note: ")] == [
        f"  note: {note}" for note in notes
    ]
    return notes


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "data"


def test_test_images_under_another_light_and_what_it_does_to_metrics_are_told(parts) -> None:
    for part, level in {"train": 185, "good": 170, "defect": 186}.items():
        write_part(parts, part, level)
    first, second = told(parts)
    assert first.startswith("light: good test images are darker than good training images")
    assert "(mean brightness mostly 170 to 172 and 185 to 187 of 255)" in first
    assert "(mostly 186 to 188 of 255) from good ones (170 to 172), AUROC 1.00; image" in second


def test_a_test_set_under_a_light_of_its_own_is_told_though_its_metrics_are_not_of_it(
    parts,
) -> None:
    for part, level in {"train": 100, "good": 120, "defect": 120}.items():
        write_part(parts, part, level)
    (line,) = told(parts)
    assert line.startswith("light: good test images are brighter than good training images")


def test_defects_that_brightness_alone_finds_are_told(parts) -> None:
    for part, level in {"train": 100, "good": 100, "defect": 80}.items():
        write_part(parts, part, level)
    (line,) = told(parts)
    assert line.startswith("light: mean brightness alone tells defective") and "AUROC 1.00" in line


@pytest.mark.parametrize(("count", "expected"), [(9, 0), (10, 2)])
def test_the_light_of_few_images_says_nothing(count: int, expected: int) -> None:
    parts = {("train", 0): [9.0] * count, ("test", 0): [5.0] * count, ("test", 1): [7.0] * count}
    assert len(light_lines(parts)) == expected
    assert light_lines({("train", 0): [9.0] * count, ("test", 0): [5.0] * 3}) == []


@pytest.mark.parametrize(("overlap", "expected"), [(3, 1), (4, 0)])
def test_light_that_overlaps_is_no_other_light(overlap: int, expected: int) -> None:
    train, test = np.arange(10.0), 10 - overlap + 0.5 + np.arange(10.0)  # AUROC 0.97 and 0.94
    assert len(light_lines({("train", 0): [*train], ("test", 0): [*test]})) == expected
    assert len(light_lines({("train", 0): [*-train], ("test", 0): [*-test]})) == expected


def test_grey_images_among_others_of_their_part_are_told_with_counts(parts) -> None:
    for part in PLACES:
        write_part(parts, part, 100, 4)
    assert told(parts) == []
    for path in sorted((parts / "parts" / "test" / "crack").iterdir())[:1]:
        factory.write_noise(path, 1, grey=True)
    (line,) = told(parts)
    assert "train good 0 of 4, test good 0 of 4, test defect 1 of 4;" in line


def shapes(root: Path, *sizes: tuple[int, int, int]) -> list[str]:
    """Of pictures with these widths, heights and orientations."""
    for index, (width, height, orientation) in enumerate(sizes):
        path = root / "parts" / "train" / "good" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = PIL.Image.Exif()
        exif[0x0112] = orientation
        PIL.Image.new("RGB", (width, height)).save(path, exif=exif)
    return shape_line(scan_category("custom", "parts", root).samples)


def test_pictures_of_several_shapes_are_told_as_they_are_seen(tmp_path) -> None:
    (line,) = shapes(tmp_path, (160, 120, 1), (160, 120, 3), (160, 120, 6), (160, 120, 1))
    start = "images of different shapes: 160×120 (3), 120×160 (1); EXIF turns 1 of them; each"
    assert line.startswith(start)


def test_pictures_that_are_all_turned_have_one_shape(tmp_path) -> None:
    assert shapes(tmp_path, (160, 120, 6), (120, 160, 1), (160, 120, 8)) == []


def test_pictures_of_other_sizes_and_about_one_shape_are_not_told(tmp_path) -> None:
    assert shapes(tmp_path, (160, 120, 1), (80, 60, 1), (161, 120, 1), (160, 122, 1)) == []
    assert shapes(tmp_path, (160, 120, 1), (160, 124, 1))[0].count("(1)") == 1


def test_of_many_shapes_the_commonest_three_are_named(tmp_path) -> None:
    (line,) = shapes(tmp_path, *((100 + 10 * n, 100, 1) for n in (0, 0, 1, 2, 3, 4, 4, 0)))
    assert "shapes: 100×100 (3), 140×100 (2), 110×100 (1), others (2); each" in line


def test_pictures_of_other_shapes_are_told_by_a_run_and_by_verify(parts) -> None:
    for part in PLACES:
        write_part(parts, part, 100, 2)
    path = parts / "parts" / "train" / "good" / "000.png"
    factory.write_pixels(path, cv2.imread(str(path))[:20])
    (line,) = [note for note in told(parts) if "shapes" in note]
    assert "32×32 (5), 32×20 (1); each is squeezed" in line
