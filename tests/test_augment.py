"""Each augmentation has its closed form and its range; every image gets three different ones."""

import math
from itertools import permutations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from diffad_lib.synthesis import augment as module
from diffad_lib.synthesis.augment import (
    AUGMENTATIONS,
    augment,
    autocontrast,
    brightness,
    equalize,
    gamma_contrast,
    hue_and_saturation,
    invert,
    posterize,
    rotate_45,
    sharpness,
    solarize,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photographs(count: int = 4, size: int = 24, seed: int = 0) -> np.ndarray:
    """uint8 [N,3,S,S]: smooth, skewed, differing by channel; no channel fills the whole range."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(count * 3, size, size)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(plane, (0, 0), 2) for plane in noise])
    smooth -= smooth.min(axis=(1, 2), keepdims=True)
    smooth /= smooth.max(axis=(1, 2), keepdims=True)
    return (30 + 190 * smooth**1.5).astype(np.uint8).reshape(count, 3, size, size)


def as_float(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).float() / 255


def pil(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))


def from_pil(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)


def levels(images: Tensor) -> np.ndarray:
    return (images * 255).round().numpy().astype(int)


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch):
    """Sets what `uniform` returns, as shares of its range, and notes the ranges it is asked for."""
    ranges: list[tuple[float, float]] = []

    def set_shares(*shares: float) -> list[tuple[float, float]]:
        queue = list(shares)

        def fixed(_: torch.Generator, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
            ranges.append((low, high))
            return torch.full((count,), low + (high - low) * queue.pop(0))

        monkeypatch.setattr(module, "uniform", fixed)
        return ranges

    return set_shares


def test_gamma_raises_every_channel_to_its_own_power() -> None:
    images = as_float(photographs(200, 4))
    powers = gamma_contrast(images, generator()).log() / images.log()  # [N,3,H,W]
    gammas = powers[:, :, 0, 0]
    torch.testing.assert_close(
        powers, gammas[:, :, None, None].expand_as(powers), rtol=1e-3, atol=0
    )
    assert 0.5 <= gammas.min() < 0.55 and 1.95 < gammas.max() <= 2.0
    assert (gammas[:, 0] - gammas[:, 1]).abs().min() > 0


@pytest.mark.parametrize(("factor", "shift"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (0.25, 0.75)])
def test_brightness_multiplies_then_adds_and_clips(draw, factor: float, shift: float) -> None:
    ranges = draw(factor, shift)
    images = as_float(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, 1))
    expected = images * (0.8 + 0.4 * factor) + (-30 + 60 * shift) / 255
    torch.testing.assert_close(brightness(images, generator()), expected.clamp(0, 1))
    assert ranges == [(0.8, 1.2), (-30 / 255, 30 / 255)]


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 2.0])
def test_sharpness_is_that_of_pil(draw, factor: float) -> None:
    ranges = draw(factor / 2)
    images = photographs(2)
    ours = sharpness(as_float(images), generator()) * 255
    theirs = np.stack([from_pil(ImageEnhance.Sharpness(pil(i)).enhance(factor)) for i in images])
    inner = (..., slice(1, -1), slice(1, -1))  # PIL leaves the border as it is
    np.testing.assert_allclose(ours[inner].numpy(), theirs[inner], atol=2.1)  # PIL rounds twice
    assert ranges == [(0, 2)]


@pytest.mark.parametrize(("hue", "saturation"), [(0.0, 0.5), (1.0, 0.5), (0.7, 1.0), (0.2, 0.0)])
def test_hue_and_saturation_move_as_in_opencv(draw, hue: float, saturation: float) -> None:
    ranges = draw(hue, saturation)
    image = photographs(1)[0]
    hsv = cv2.cvtColor(as_float(image).numpy().transpose(1, 2, 0), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * (-50 + 100 * hue) / 255) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] + (-50 + 100 * saturation) / 255, 0, 1)
    expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).transpose(2, 0, 1)
    ours = hue_and_saturation(as_float(image)[None], generator())[0]
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-3)
    assert ranges == [(-50 / 255, 50 / 255)] * 2


def test_solarize_inverts_values_from_the_threshold_in_every_second_image() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, 1)
    images = as_float(ramp).expand(1000, -1, -1, -1)
    result = levels(solarize(images, generator())).reshape(1000, 3, 256)
    changed = (result != np.arange(256)).any(axis=(1, 2))
    assert abs(changed.mean() - 0.5) < 4 * 0.5 / math.sqrt(1000)
    thresholds = []
    for image in result[changed]:
        threshold = int(np.argmax(image[0] != np.arange(256)))  # the first level that changes
        expected = np.where(np.arange(256) >= threshold, 255 - np.arange(256), np.arange(256))
        np.testing.assert_array_equal(image, np.broadcast_to(expected, image.shape))
        thresholds.append(threshold)
    assert 32 <= min(thresholds) < 36 and 124 < max(thresholds) <= 128


def test_posterize_keeps_the_highest_one_to_eight_bits() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, 1)
    result = levels(posterize(as_float(ramp).expand(200, -1, -1, -1), generator()))
    bits = []
    for image in result.reshape(200, 3, 256):
        kept = int(math.log2(len(np.unique(image))))
        np.testing.assert_array_equal(image[0], np.arange(256) >> (8 - kept) << (8 - kept))
        bits.append(kept)
    assert set(bits) == set(range(1, 9))


def test_invert_is_its_own_inverse() -> None:
    images = as_float(photographs())
    torch.testing.assert_close(invert(images, generator()), 1 - images)


def test_autocontrast_is_that_of_pil_for_a_cutoff_of_0_to_20_percent() -> None:
    images = photographs(100, 12, seed=1)
    result = levels(autocontrast(as_float(images), generator()))
    cutoffs = []
    for image, ours in zip(images, result, strict=True):
        errors = [
            np.abs(ours - from_pil(ImageOps.autocontrast(pil(image), percent))).max()
            for percent in range(26)
        ]
        assert min(errors) <= 1  # PIL cuts the fraction off, we round
        cutoffs.append(int(np.argmin(errors)))
    assert min(cutoffs) == 0 and 18 <= max(cutoffs) <= 20
    assert len(set(cutoffs)) > 13


def test_equalize_is_that_of_pil() -> None:
    images = photographs(4, 64)
    images[1, :, 20:] = 240  # a bright background
    theirs = np.stack([from_pil(ImageOps.equalize(pil(image))) for image in images])
    np.testing.assert_array_equal(levels(equalize(as_float(images), generator())), theirs)


@pytest.mark.parametrize("function", [autocontrast, equalize])
def test_a_channel_of_one_value_stays(function) -> None:
    images = torch.full((2, 3, 16, 16), 77 / 255)
    torch.testing.assert_close(function(images, generator()), images)


def test_rotation_is_by_at_most_45_degrees(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def note(images: Tensor, degrees: Tensor) -> Tensor:
        asked.append(degrees)
        return images

    monkeypatch.setattr(module, "rotate", note)
    rotate_45(torch.zeros(2000, 1, 1, 1), generator())
    assert -45 <= asked[0].min() < -44 and 44 < asked[0].max() < 45


@pytest.mark.parametrize("function", AUGMENTATIONS, ids=lambda function: function.__name__)
def test_images_stay_in_range_and_the_input_as_it_was(function) -> None:
    images = as_float(photographs(8))
    images[0], images[1] = 0, 1
    before = images.clone()
    result = function(images, generator())
    assert result.shape == images.shape and result.dtype == torch.float32
    assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1
    assert torch.equal(images, before)
    assert not torch.equal(result[2:], images[2:])


def test_images_of_a_batch_are_augmented_independently() -> None:
    image = as_float(photographs(1)).expand(32, -1, -1, -1)
    result = augment(image, generator())
    assert len(result.flatten(1).unique(dim=0)) > 25


def test_every_image_gets_three_different_augmentations_in_any_order(monkeypatch) -> None:
    # Augmentation k appends the digit k to the number that an image holds.
    digits = [lambda images, _, k=k: images * 10 + k for k in range(10)]
    monkeypatch.setattr(module, "AUGMENTATIONS", tuple(digits))
    count = 7200
    numbers = augment(torch.zeros(count, 1, 1, 1), generator()).flatten().int().tolist()
    drawn = [tuple(int(digit) for digit in f"{number:03d}") for number in numbers]
    orders = list(permutations(range(10), 3))  # 720
    times = np.bincount([orders.index(order) for order in drawn], minlength=len(orders))
    expected = count / len(orders)
    chi_square = ((times - expected) ** 2 / expected).sum()
    assert chi_square < 842  # 0.1 % quantile for 719 degrees of freedom


def test_augmentation_depends_on_the_seed_alone() -> None:
    images = as_float(photographs(8))
    before = images.clone()
    torch.manual_seed(1)
    first = augment(images, generator(0))
    torch.manual_seed(2)
    assert torch.equal(first, augment(images, generator(0)))
    assert not torch.equal(first, augment(images, generator(1)))
    assert torch.equal(images, before)
