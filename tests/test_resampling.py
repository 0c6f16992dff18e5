"""Paired resamples of pictures: equal to the metrics where nothing is resampled."""

import pytest
import torch

from diffad_lib.course.resampling import (
    interval,
    mean_interval,
    redrawn,
    redrawn_ap,
    redrawn_auroc,
)
from diffad_lib.metrics import image_auroc, pixel_ap

LABELS = torch.tensor([0] * 6 + [1] * 10)


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps [16,32,32] with overlapping scores, and their masks."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(16, 32, 32)
    masks[6:, 8:20, 8:20] = 1
    return masks + torch.randn(masks.shape, generator=generator), masks


def test_counts_keep_the_number_of_pictures_with_and_without_a_defect():
    counts = redrawn(LABELS, 50, seed=1)
    assert counts.shape == (50, 16)
    assert (counts[:, :6].sum(dim=1) == 6).all() and (counts[:, 6:].sum(dim=1) == 10).all()
    assert torch.equal(counts, redrawn(LABELS, 50, seed=1))
    assert not torch.equal(counts, redrawn(LABELS, 50, seed=2))


def test_pictures_counted_once_give_the_metric():
    maps, masks = drawn(0)
    scores, once = maps.amax(dim=(1, 2)), torch.ones(1, 16, dtype=torch.float64)
    scores[0] = scores[7]  # a tie counts half
    assert redrawn_auroc(scores, LABELS, once).item() == pytest.approx(
        image_auroc(scores.numpy(), LABELS.numpy()), abs=1e-12
    )
    exact = pixel_ap(maps.numpy(), masks.numpy())
    assert redrawn_ap(maps, masks, once).item() == pytest.approx(exact, abs=5e-4)


def test_a_picture_that_is_counted_twice_is_there_twice():
    maps, masks = drawn(1)
    counts = torch.ones(1, 16, dtype=torch.float64)
    counts[0, 9], counts[0, 7], counts[0, 2] = 3, 0, 2
    rows = torch.repeat_interleave(torch.arange(16), counts[0].long())
    scores = maps.mean(dim=(1, 2))
    assert redrawn_auroc(scores, LABELS, counts).item() == pytest.approx(
        image_auroc(scores[rows].numpy(), LABELS[rows].numpy()), abs=1e-12
    )
    exact = pixel_ap(maps[rows].numpy(), masks[rows].numpy())
    assert redrawn_ap(maps, masks, counts).item() == pytest.approx(exact, abs=5e-4)


def test_the_maps_may_have_a_channel():
    maps, masks = drawn(2)
    counts = redrawn(LABELS, 5)
    expected = redrawn_ap(maps, masks, counts)
    assert torch.equal(redrawn_ap(maps[:, None], masks[:, None], counts), expected)


def test_a_map_that_finds_everything_has_an_ap_of_one():
    _, masks = drawn(0)
    assert redrawn_ap(masks, masks, redrawn(LABELS, 5)).tolist() == pytest.approx([1] * 5)


def test_an_interval_leaves_out_a_fortieth_at_each_end():
    assert interval(torch.arange(201)) == (5, 195)


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0)) + 3
    low, high = mean_interval(values)
    error = 1.96 * values.std().item() / 20
    assert low == pytest.approx(values.mean().item() - error, abs=0.01)
    assert high == pytest.approx(values.mean().item() + error, abs=0.01)
