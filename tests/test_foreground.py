"""Foreground masks find the object, whatever its polarity, and never silently miss it."""

import sys
import unicodedata
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

from diffad_lib.datasets.decode import decode_image, resize_image
from diffad_lib.datasets.names import GOOD
from diffad_lib.datasets.samples import Sample
from diffad_lib.errors import DiffadError
from diffad_lib.synthesis.foreground import (
    automatic_masks,
    isnet_masks,
    random_regions,
)
from diffad_lib.synthesis.mask_folder import find_masks, load_mask_folder

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")


def scene(object_colour, background, hole: bool = False, size: int = 96):
    """A noisy picture of an ellipse uint8 [3,S,S] and its mask [S,S]."""
    rng = np.random.default_rng(0)
    centre = (size // 2 + 5, size // 2 - 4)
    mask = cv2.ellipse(
        np.zeros((size, size), np.uint8), centre, (size // 4, size // 6), 30, 0, 360, 1, -1
    )
    image = np.where(mask[..., None] == 1, object_colour, background).astype(float)
    if hole:
        cv2.circle(image, centre, size // 16, tuple(map(float, background)), -1)
    image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    return image.transpose(2, 0, 1), mask


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union."""
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize(
    ("object_colour", "background"),
    [
        ((40, 40, 40), (230, 230, 230)),
        ((230, 230, 230), (30, 30, 30)),
        ((30, 60, 180), (140, 140, 140)),
        ((90, 150, 90), (150, 90, 90)),  # of one brightness
    ],
    ids=["dark on bright", "bright on dark", "blue on grey", "green on red"],
)
def test_object_is_found_by_its_difference_from_the_border(object_colour, background) -> None:
    image, mask = scene(object_colour, background)
    found = automatic_masks(image[None])
    assert found.shape == (1, 1, 96, 96) and found.dtype == np.uint8
    assert overlap(found[0, 0], mask) > 0.9


def test_holes_belong_to_the_object() -> None:
    image, mask = scene((40, 40, 40), (230, 230, 230), hole=True)
    assert overlap(automatic_masks(image[None])[0, 0], mask) > 0.9


def test_specks_of_the_background_are_dropped() -> None:
    image, mask = scene((40, 40, 40), (230, 230, 230))
    # Less than 1 % of the image, and of a colour that GrabCut does not take for background.
    image[:, 4:13, 4:13] = np.array((200, 20, 20), np.uint8)[:, None, None]
    found = automatic_masks(image[None])[0, 0]
    assert not found[:18, :18].any() and overlap(found, mask) > 0.9


def test_large_image_gets_a_mask_of_its_size() -> None:
    image, mask = scene((40, 40, 40), (230, 230, 230), size=300)
    found = automatic_masks(image[None])
    assert found.shape == (1, 1, 300, 300)
    assert overlap(found[0, 0], mask) > 0.9


def test_whole_image_counts_where_no_object_is_found() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((3, 64, 64), 128, np.uint8)
    tiny = flat.copy()
    tiny[:, 30:34, 30:34] = 255  # 0.4 % of the image
    texture = rng.integers(0, 256, (3, 64, 64), dtype=np.uint8)
    assert automatic_masks(np.stack([flat, tiny, texture])).all()


def test_masks_do_not_depend_on_the_other_images_or_on_global_random_state() -> None:
    images = np.stack([scene((40, 40, c), (230, 230, 230))[0] for c in (40, 90, 140)])
    together = automatic_masks(images)
    cv2.setRNGSeed(99)
    np.testing.assert_array_equal(
        np.concatenate([automatic_masks(i[None]) for i in images]), together
    )


@needs_shared
@pytest.mark.parametrize(
    ("category", "low", "high"), [("mvtec/bottle", 0.58, 0.67), ("mpdd/metal_plate", 0.2, 0.35)]
)
def test_real_objects_are_found(category: str, low: float, high: float) -> None:
    files = sorted((SHARED / "data" / category / "train" / "good").glob("*.png"))[:16]
    images = [resize_image(decode_image(path), 128).transpose(2, 0, 1) for path in files]
    masks = automatic_masks(np.stack(images))[:, 0]
    shares = masks.mean(axis=(1, 2))
    assert low < shares.min() and shares.max() < high
    border = np.concatenate([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]], axis=1)
    assert border.mean() < 0.05
    assert masks[:, 64, 64].mean() > 0.9


def test_random_regions_are_ellipses_of_the_stated_size() -> None:
    regions = random_regions(2000, 60, 90, torch.Generator().manual_seed(0))
    assert regions.shape == (2000, 1, 60, 90)
    assert set(regions.unique().tolist()) == {0.0, 1.0}
    inner = [r for r in regions[:, 0].numpy().astype(np.uint8) if _touches_no_border(r)]
    assert len(inner) > 10
    for region in inner[:10]:
        rows, columns = np.nonzero(region)
        half_y, half_x = (np.ptp(rows) + 1) / 120, (np.ptp(columns) + 1) / 180
        assert 0.23 < half_y < 0.77 and 0.23 < half_x < 0.77
        assert region.mean() == pytest.approx(np.pi * half_y * half_x, rel=0.1)


def test_random_regions_reach_every_place_and_never_vanish() -> None:
    regions = random_regions(2000, 32, 32, torch.Generator().manual_seed(0))[:, 0]
    assert regions.flatten(1).any(dim=1).all()
    assert regions.mean(dim=0).min() > 0.1  # how often a pixel may be anomalous
    assert 0.3 < regions.mean().item() < 0.6


def _touches_no_border(mask: np.ndarray) -> bool:
    return not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


@pytest.fixture
def official(tmp_path: Path) -> tuple[Path, list[Sample]]:
    """A category with training images and their masks in the official layout."""
    rng = np.random.default_rng(0)
    samples = []
    for name in ("train", "DISthresh"):
        (tmp_path / "bottle" / name / "good").mkdir(parents=True)
    for number in range(3):
        image = tmp_path / f"bottle/train/good/{number:03d}.png"
        cv2.imwrite(str(image), rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
        mask = np.zeros((40, 40), np.uint8)
        mask[:, : 10 * (number + 1)] = 255
        cv2.imwrite(str(tmp_path / f"bottle/DISthresh/good/{number:03d}.png"), mask)
        samples.append(Sample(image, None, 0, GOOD, "train"))
    return tmp_path / "bottle/DISthresh", samples


def test_masks_in_the_official_layout_belong_to_their_images(official) -> None:
    folder, samples = official
    masks = load_mask_folder(folder, samples[::-1], 20)
    assert masks.shape == (3, 1, 20, 20) and masks.dtype == np.uint8
    assert masks.mean(axis=(1, 2, 3)).tolist() == [0.75, 0.5, 0.25]
    assert masks[2, 0, :, :5].all() and not masks[2, 0, :, 5:].any()


def test_noise_of_a_jpeg_mask_is_no_foreground(official) -> None:
    folder, samples = official
    image = samples[0].image.with_suffix(".JPG")
    samples[0].image.rename(image)
    mask = cv2.circle(np.zeros((40, 40), np.uint8), (20, 20), 10, 255, -1)
    cv2.imwrite(str(folder / "good/000.JPG"), mask, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert (cv2.imread(str(folder / "good/000.JPG"), 0) > 0).mean() > mask.astype(
        bool
    ).mean() + 0.05
    loaded = load_mask_folder(folder, [Sample(image, None, 0, GOOD, "train")], 40)[0, 0]
    assert overlap(loaded, (mask > 0).astype(np.uint8)) > 0.95


def test_png_mask_serves_a_jpeg_image(official) -> None:
    folder, samples = official
    image = samples[1].image.with_suffix(".jpg")
    masks = load_mask_folder(folder, [Sample(image, None, 0, GOOD, "train")], 20)
    assert masks.mean() == 0.5


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_mask_is_found_whose_name_has_another_unicode_form(official, form) -> None:
    folder, samples = official
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    name = f"부품/{samples[1].image.stem}_긁힘.JPG"
    mask = folder / unicodedata.normalize(other, name.replace(".JPG", ".png"))
    mask.parent.mkdir()
    (folder / "good" / samples[1].image.name).rename(mask)
    image = samples[1].image.parents[1] / unicodedata.normalize(form, name)
    sample = Sample(image, None, 0, GOOD, "train")
    assert load_mask_folder(folder, [sample], 20).mean() == 0.5
    assert find_masks(folder, "부품", [sample]) == [mask]


def test_one_mask_does_not_serve_two_images(official) -> None:
    folder, samples = official
    image = samples[1].image.with_suffix(".jpg")
    two = [samples[1], Sample(image, None, 0, GOOD, "train")]
    told = r"good/001\.png is the foreground mask of .*001\.\w+ and .*001\.\w+; give each its own"
    for given in (two, two[::-1]):
        with pytest.raises(DiffadError, match=told):
            load_mask_folder(folder, given, 20)
    cv2.imwrite(str(folder / "good/001.jpg"), np.full((40, 40), 255, np.uint8))
    assert load_mask_folder(folder, two, 20).mean(axis=(1, 2, 3)).tolist() == [0.5, 1]


def test_mask_of_zeros_and_ones_is_read(official) -> None:
    folder, samples = official
    path = folder / "good/000.png"
    cv2.imwrite(str(path), cv2.imread(str(path), 0) // 255)
    assert load_mask_folder(folder, samples[:1], 20).mean() == 0.25


def test_missing_and_empty_masks_are_named(official) -> None:
    folder, samples = official
    (folder / "good/001.png").unlink()
    with pytest.raises(DiffadError, match=r"001\.png: no foreground mask for"):
        load_mask_folder(folder, samples, 20)
    cv2.imwrite(str(folder / "good/001.png"), np.zeros((40, 40), np.uint8))
    with pytest.raises(DiffadError, match=r"001\.png holds no foreground"):
        load_mask_folder(folder, samples, 20)


def test_a_mask_of_noise_is_named(official) -> None:
    folder, samples = official
    noise = np.zeros((600, 600), np.uint8)
    noise[::2, ::2] = 255
    cv2.imwrite(str(folder / "good/001.png"), noise)
    with pytest.raises(DiffadError, match=r"001\.png: 90000 regions are more"):
        load_mask_folder(folder, samples, 20)


def test_missing_rembg_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(DiffadError, match=r"in the checkout .* install -e '\.\[rembg\]'"):
        isnet_masks(np.zeros((1, 3, 16, 16), np.uint8))


def fake_rembg(monkeypatch: pytest.MonkeyPatch, new_session, remove=None) -> None:
    module = ModuleType("rembg")
    module.new_session, module.remove = new_session, remove
    monkeypatch.setitem(sys.modules, "rembg", module)


def test_isnet_sees_rgb_images_and_its_soft_masks_are_cut_at_a_half(monkeypatch) -> None:
    def remove(image: np.ndarray, session: str, only_mask: bool) -> np.ndarray:
        assert session == "session of isnet-general-use" and only_mask
        assert image.shape == (16, 24, 3) and image.flags.c_contiguous
        return image[..., 0]  # the red channel

    fake_rembg(monkeypatch, lambda name: f"session of {name}", remove)
    images = np.zeros((2, 3, 16, 24), np.uint8)
    images[0, 0, :, :6], images[1, 0, :, :6], images[:, 2] = 128, 127, 255
    masks = isnet_masks(images)
    assert masks.shape == (2, 1, 16, 24) and masks.dtype == np.uint8
    assert masks.mean(axis=(1, 2, 3)).tolist() == [0.25, 0]


def test_weights_that_cannot_be_fetched_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(_: str) -> None:
        raise ConnectionError("no route to host")

    fake_rembg(monkeypatch, offline)
    with pytest.raises(DiffadError, match=r"isnet-general-use\.onnx"):
        isnet_masks(np.zeros((1, 3, 16, 16), np.uint8))
