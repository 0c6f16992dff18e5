"""Training batches depend on (seed, index) only and go through every image once an epoch."""

import numpy as np
import pytest
import torch

from diffad_lib.batches import SyntheticBatches
from diffad_lib.synthesis.synthesizer import SynthesisSettings, Synthesizer

COUNT, SIZE = 10, 32


def batches(seed: int = 0, batch_size: int = 4, foregrounds: np.ndarray | None = None):
    rng = np.random.default_rng(0)
    # Every image has one value, so that a batch tells which images it holds.
    values = np.arange(COUNT, dtype=np.uint8)[:, None, None, None] * 20
    images = np.broadcast_to(values, (COUNT, 3, SIZE, SIZE))
    textures = rng.integers(0, 256, (5, 3, SIZE, SIZE), dtype=np.uint8)
    synthesizer = Synthesizer(textures, SynthesisSettings(), kind="object")
    names = [f"{number}.png" for number in range(COUNT)]
    device = torch.device("cpu")
    return SyntheticBatches(images, names, synthesizer, batch_size, seed, device, foregrounds)


def shown(source: SyntheticBatches, index: int) -> list[str]:
    return source.describe(index).split(", ")


def test_a_batch_is_the_same_whenever_it_is_asked_for() -> None:
    first, second = batches(), batches()
    second(0)
    torch.testing.assert_close(first(7).image, second(7).image, rtol=0, atol=0)
    torch.testing.assert_close(first(7).mask, second(7).mask, rtol=0, atol=0)


def test_seeds_give_different_batches() -> None:
    assert not torch.equal(batches(0)(0).image, batches(1)(0).image)


def test_every_epoch_holds_every_image_once_in_another_order() -> None:
    source = batches(batch_size=5)
    epochs = [shown(source, 2 * epoch) + shown(source, 2 * epoch + 1) for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(f"{number}.png" for number in range(COUNT))
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_batch_may_cross_epochs_and_be_larger_than_the_data() -> None:
    names = shown(batches(batch_size=25), 0)
    assert len(names) == 25
    assert sorted(names[:COUNT]) == sorted(names[COUNT : 2 * COUNT])


def test_description_names_the_images_of_the_batch() -> None:
    source = batches()
    values = (source(0).normal[:, 0, 0, 0] * 255 / 20).round().int().tolist()
    assert [f"{value}.png" for value in values] == shown(source, 0)


def test_pixels_are_scaled_to_the_unit_interval() -> None:
    normal = batches(batch_size=COUNT)(0).normal
    assert normal.max().item() == pytest.approx(180 / 255)
