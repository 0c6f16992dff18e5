"""Textures come from any folder of images, or from a bank that is the same every time."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_lib.datasets.images import load_split
from diffad_lib.errors import DiffadError
from diffad_lib.mini.texture_bank import builtin_textures
from diffad_lib.synthesis.textures import texture_files, texture_samples

SHARED = Path(__file__).resolve().parents[2] / "shared"


def write(path: Path, colour: tuple[int, int, int]) -> None:
    """A picture of one RGB colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), colour[::-1], np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "dtd/images/banded/banded_10.png", (30, 60, 90))
    write(tmp_path / "dtd/images/banded/banded_2.png", (200, 10, 20))
    write(tmp_path / "dtd/images/woven/deeper/a.bmp", (5, 250, 125))
    (tmp_path / "dtd/labels").mkdir()
    (tmp_path / "dtd/labels/notes.txt").write_text("not an image")
    write(tmp_path / "dtd/images/banded/._banded_2.png", (0, 0, 0))
    write(tmp_path / "dtd/.thumbnails/small.png", (0, 0, 0))
    return tmp_path / "dtd"


def test_images_at_any_depth_are_found_in_natural_order(folder: Path) -> None:
    names = [path.name for path in texture_files(folder)]
    assert names == ["banded_2.png", "banded_10.png", "a.bmp"]
    assert texture_files(folder / "images") == texture_files(folder)


def test_links_to_folders_are_followed_once(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/linen.png", (1, 2, 3))
    (folder / "images/linked").symlink_to(tmp_path / "elsewhere")
    (folder / "images/woven/again").symlink_to(folder)
    (folder / "labels/woven").symlink_to(folder / "images/woven")
    names = [path.relative_to(folder).as_posix() for path in texture_files(folder)]
    assert names == [
        "images/banded/banded_2.png",
        "images/banded/banded_10.png",
        "images/linked/linen.png",
        "images/woven/deeper/a.bmp",
    ]


def test_folder_is_loaded_as_rgb_of_the_wanted_size(folder: Path, tmp_path: Path) -> None:
    textures = load_split(texture_samples(folder), 16, tmp_path / "cache").images
    assert textures.shape == (3, 3, 16, 16) and textures.dtype == np.uint8
    assert textures[:, :, 8, 8].tolist() == [[200, 10, 20], [30, 60, 90], [5, 250, 125]]


def test_second_load_reads_the_cache(folder: Path, tmp_path: Path, monkeypatch) -> None:
    first = np.array(load_split(texture_samples(folder), 16, tmp_path / "cache").images)

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    np.testing.assert_array_equal(
        load_split(texture_samples(folder), 16, tmp_path / "cache").images, first
    )


def test_folder_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DiffadError, match=r"empty: holds no image"):
        load_split(texture_samples(tmp_path / "empty"), 16, tmp_path / "cache")
    with pytest.raises(DiffadError, match=r"absent: no such folder"):
        load_split(texture_samples(tmp_path / "absent"), 16, tmp_path / "cache")


def test_damaged_texture_is_named(folder: Path, tmp_path: Path) -> None:
    path = folder / "images/banded/banded_2.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DiffadError, match=r"banded_2\.png is cut off"):
        load_split(texture_samples(folder), 16, tmp_path / "cache")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_sample_of_dtd_is_loaded(tmp_path: Path) -> None:
    textures = load_split(texture_samples(SHARED / "data" / "dtd"), 32, tmp_path).images
    assert textures.shape == (300, 3, 32, 32)


def test_builtin_bank_is_the_same_every_time_and_follows_its_seed() -> None:
    first = builtin_textures(32, 20, 0).copy()
    builtin_textures.cache_clear()
    np.random.seed(5)  # noqa: NPY002 - shows that the global state is not used
    np.testing.assert_array_equal(builtin_textures(32, 20, 0), first)
    assert (builtin_textures(32, 20, 1) != first).mean() > 0.9


def test_builtin_bank_can_grow_without_changing_its_first_textures() -> None:
    np.testing.assert_array_equal(builtin_textures(32, 30)[:20], builtin_textures(32, 20))


def test_builtin_textures_have_structure_colour_and_differ() -> None:
    bank = builtin_textures(64).astype(float)
    assert bank.shape == (128, 3, 64, 64)
    grey = bank.mean(axis=1)
    assert (grey.std(axis=(1, 2)) > 8).all()  # none is flat
    # Neighbouring pixels agree more than distant ones: a texture, not white noise.
    step = np.abs(np.diff(grey, axis=2)).mean(axis=(1, 2))
    far = np.abs(grey[:, :, 16:] - grey[:, :, :-16]).mean(axis=(1, 2))
    assert (step < far).mean() > 0.9
    means = bank.mean(axis=(2, 3))  # [128,3]
    assert means.std(axis=0).min() > 25
    assert np.ptp(means, axis=1).max() > 60  # some are colourful
    flat = bank.reshape(128, -1)
    correlation = np.corrcoef(flat) - 2 * np.eye(128)
    assert correlation.max() < 0.9
