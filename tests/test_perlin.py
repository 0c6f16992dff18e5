"""Perlin noise has its closed form, and masks have the statistics of the official code."""

import math

import cv2
import numpy as np
import pytest
import torch

from diffad_lib.synthesis.perlin import (
    perlin_masks,
    perlin_noise,
    random_scales,
    rotate,
    uniform,
)

# Of 12,000 masks at 128 x 128 made by VitjanZ/DRAEM @ 2dbf673 with imgaug 0.4.0, seed 1.
OFFICIAL_EMPTY = 0.05417
OFFICIAL_MEAN_SHARE = 0.04589
OFFICIAL_QUANTILES = {0.1: 0.01654, 0.25: 0.03349, 0.5: 0.04218, 0.75: 0.05347, 0.9: 0.07258}
OFFICIAL_REGIONS = 23.610  # mean number of 8-connected regions of a mask
OFFICIAL_CORNERS = 0.00717  # mean share in the four corner squares of 16 x 16
OFFICIAL_COUNT = 12_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    """bool [3000,128,128]."""
    source = generator(3)
    batches = [perlin_masks(random_scales(100, source), 128, 128, source) for _ in range(30)]
    return torch.cat(batches)[:, 0].bool().numpy()


def corner_gradients(cell: np.ndarray) -> tuple[np.ndarray, float]:
    """Gradients [2,2,2] (down, right, component) at the corners of one cell, and the misfit.

    Noise is linear in them, so that a least-squares fit finds them from the pixels alone.
    """
    height, width = cell.shape
    y, x = np.meshgrid(np.arange(height) / height, np.arange(width) / width, indexing="ij")
    fade_y, fade_x = (6 * t**5 - 15 * t**4 + 10 * t**3 for t in (y, x))
    columns = []
    for down in (0, 1):
        for right in (0, 1):
            weight = (fade_y if down else 1 - fade_y) * (fade_x if right else 1 - fade_x)
            columns += [weight * (y - down), weight * (x - right)]
    system = math.sqrt(2) * np.stack([column.ravel() for column in columns], axis=1)
    gradients = np.linalg.lstsq(system, cell.ravel(), rcond=None)[0]
    return gradients.reshape(2, 2, 2), float(np.abs(system @ gradients - cell.ravel()).max())


def test_noise_is_perlins_formula_with_unit_gradients() -> None:
    cell = perlin_noise(torch.tensor([[1, 1]]), 24, 30, generator())[0, 0].double().numpy()
    gradients, misfit = corner_gradients(cell)
    assert misfit < 1e-5
    np.testing.assert_allclose(np.linalg.norm(gradients, axis=2), 1, atol=1e-4)


def test_neighbouring_cells_share_the_gradients_of_their_corners() -> None:
    noise = perlin_noise(torch.tensor([[2, 4]]), 32, 80, generator(1))[0, 0].double().numpy()
    cells = {
        (row, column): corner_gradients(noise[16 * row : 16 * row + 16, 20 * column :][:, :20])
        for row in range(2)
        for column in range(4)
    }
    assert max(misfit for _, misfit in cells.values()) < 1e-5
    for column in range(3):  # the right corners of a cell are the left ones of the next
        left, right = cells[0, column][0], cells[0, column + 1][0]
        np.testing.assert_allclose(left[:, 1], right[:, 0], atol=1e-4)
    np.testing.assert_allclose(cells[0, 2][0][1], cells[1, 2][0][0], atol=1e-4)


def test_gradient_directions_are_uniform() -> None:
    noise = perlin_noise(torch.ones(2000, 2, dtype=torch.int64), 8, 8, generator())
    # Near the first corner only its gradient counts: the slopes are its components.
    down, right = noise[:, 0, 1, 0], noise[:, 0, 0, 1]
    quarter = (torch.atan2(down, right) // (math.pi / 2)).long() + 2
    assert torch.bincount(quarter, minlength=4).min() > 500 - 5 * math.sqrt(500 * 0.75)


def test_every_image_has_its_own_grid() -> None:
    scales = torch.tensor([[1, 32], [32, 1], [4, 8]])
    noise = perlin_noise(scales, 64, 64, generator())[:, 0]
    for image, (rows, columns) in zip(noise, scales.tolist(), strict=True):
        lattice = image[:: 64 // rows, :: 64 // columns]
        assert lattice.abs().max() < 1e-5  # noise is 0 at lattice points
        assert image.abs().max() > 0.3


@pytest.mark.parametrize(("height", "width"), [(50, 70), (33, 97), (8, 8)])
def test_any_size_can_be_made(height: int, width: int) -> None:
    scales = torch.tensor([[32, 32], [1, 16], [8, 2]])
    noise = perlin_noise(scales, height, width, generator())
    assert noise.shape == (3, 1, height, width)
    assert noise.isfinite().all() and noise.abs().max() <= math.sqrt(2)
    assert perlin_masks(scales, height, width, generator()).shape == noise.shape


def test_scales_are_the_six_powers_of_two_equally_often_on_both_axes() -> None:
    exponents = random_scales(12_000, generator()).double().log2()
    pairs = torch.bincount((6 * exponents[:, 0] + exponents[:, 1]).long())
    assert len(pairs) == 36  # 1, 2, … 32 on each axis, in every combination
    expected = 12_000 / 36
    chi_square = ((pairs - expected) ** 2 / expected).sum()
    assert chi_square < 66.6  # 0.1 % quantile for 35 degrees of freedom


@pytest.mark.slow
def test_mask_area_share_matches_the_official_code(masks: np.ndarray) -> None:
    shares = masks.mean(axis=(1, 2))
    # Standard errors of both samples together; 4 of them are crossed once in 15,000 tests.
    unit = math.sqrt(1 / len(shares) + 1 / OFFICIAL_COUNT)
    assert abs(shares.mean() - OFFICIAL_MEAN_SHARE) < 4 * 0.031 * unit
    for level, value in OFFICIAL_QUANTILES.items():
        below = (shares <= value).mean()
        assert abs(below - level) < 4 * math.sqrt(level * (1 - level)) * unit, level


@pytest.mark.slow
def test_share_of_empty_masks_matches_the_official_code(masks: np.ndarray) -> None:
    empty = 1 - masks.any(axis=(1, 2)).mean()
    unit = math.sqrt(1 / len(masks) + 1 / OFFICIAL_COUNT)
    assert abs(empty - OFFICIAL_EMPTY) < 4 * math.sqrt(0.054 * 0.946) * unit


@pytest.mark.slow
def test_number_of_regions_matches_the_official_code(masks: np.ndarray) -> None:
    regions = [
        cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1 for mask in masks
    ]
    unit = math.sqrt(1 / len(masks) + 1 / OFFICIAL_COUNT)
    assert abs(np.mean(regions) - OFFICIAL_REGIONS) < 4 * np.std(regions) * unit


@pytest.mark.slow
def test_rotation_leaves_corners_as_empty_as_in_the_official_code(masks: np.ndarray) -> None:
    corners = [masks[:, rows, columns] for rows in (slice(16), slice(-16, None))
               for columns in (slice(16), slice(-16, None))]  # fmt: skip
    shares = np.mean([corner.mean(axis=(1, 2)) for corner in corners], axis=0)
    unit = math.sqrt(1 / len(masks) + 1 / OFFICIAL_COUNT)
    assert abs(shares.mean() - OFFICIAL_CORNERS) < 4 * shares.std() * unit


def test_masks_are_zero_or_one() -> None:
    masks = perlin_masks(random_scales(16, generator()), 32, 32, generator())
    assert masks.dtype == torch.float32
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_rotation_by_right_angles_moves_pixels_exactly() -> None:
    images = torch.rand(3, 2, 16, 16, generator=generator())
    turned = rotate(images, torch.tensor([0.0, 90.0, 180.0]))
    expected = [torch.rot90(image, turns, (1, 2)) for turns, image in enumerate(images)]
    # Either sense will do, because angles are symmetric.
    other = [torch.rot90(image, -turns, (1, 2)) for turns, image in enumerate(images)]
    assert torch.allclose(turned, torch.stack(expected), atol=1e-4) or torch.allclose(
        turned, torch.stack(other), atol=1e-4
    )


def test_rotation_keeps_distances_in_an_image_that_is_not_square() -> None:
    image = torch.zeros(1, 1, 41, 81)
    image[0, 0, 19:22, 54:57] = 1  # 15 pixels right of the centre
    turned = rotate(image, torch.tensor([90.0]))[0, 0]
    row, column = (turned > 0.5).nonzero().float().mean(dim=0)
    assert abs(row - 20).item() == pytest.approx(15, abs=0.1)
    assert column.item() == pytest.approx(40, abs=0.1)


def test_rotation_fills_corners_with_zeros() -> None:
    ones = torch.ones(1, 1, 32, 32)
    assert rotate(ones, torch.tensor([45.0]))[0, 0, 0, 0] == 0


def test_uniform_stays_in_its_range_and_fills_it() -> None:
    values = uniform(generator(), 5000, -2, 3)
    assert values.min() >= -2 and values.max() < 3
    assert values.mean().item() == pytest.approx(0.5, abs=4 * 5 / math.sqrt(12 * 5000))


def test_masks_depend_on_the_seed_alone() -> None:
    def make(seed: int) -> torch.Tensor:
        source = generator(seed)
        return perlin_masks(random_scales(8, source), 32, 32, source)

    torch.manual_seed(1)
    first = make(0)
    torch.manual_seed(2)
    assert torch.equal(first, make(0))
    assert not torch.equal(first, make(1))
