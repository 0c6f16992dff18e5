"""Anomalies are pasted by the recipes of DRAEM and DiffusionAD, from one generator."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from diffad_lib.methods.method import find_method
from diffad_lib.synthesis import synthesizer as module
from diffad_lib.synthesis.synthesizer import (
    MASK_TRIES,
    SynthesisSettings,
    Synthesizer,
    relight,
    shuffle_patches,
)
from diffad_lib.types import TrainingBatch

SIZE = 48  # at 32 pixels the finest grid has lattice points only, where noise is 0
PLAIN = SynthesisSettings()  # DRAEM's without rotation
DRAEM, DIFFUSIONAD = (
    find_method(name).budgets["paper"].synthesis for name in ("draem", "diffusionad")
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_images(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=generator(seed))


def bank(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)


def white() -> np.ndarray:
    return np.full((1, 3, SIZE, SIZE), 255, np.uint8)


@pytest.fixture
def no_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "augment", lambda images, _: images)


def betas(batch: TrainingBatch, value: float) -> Tensor:
    """β of every anomalous image, where images of one value got a white texture."""
    rows = batch.is_anomalous
    inside = (batch.image * batch.mask)[rows].flatten(1).amax(dim=1)
    return (1 - inside) / (1 - value)


def test_pixels_outside_the_mask_are_unchanged_and_inside_they_change() -> None:
    images = noise_images(64)
    batch = Synthesizer(bank(), PLAIN)(images, None, generator())
    assert torch.equal(batch.normal, images)
    outside = (batch.mask == 0).expand_as(images)
    assert torch.equal(batch.image[outside], images[outside])
    changed = (batch.image != images).any(dim=1, keepdim=True)
    assert changed[batch.mask == 1].float().mean() > 0.95
    assert batch.image.min() >= 0 and batch.image.max() <= 1
    assert set(batch.mask.unique().tolist()) == {0.0, 1.0}


def test_input_is_not_written_to() -> None:
    images, before = noise_images(16), noise_images(16)
    Synthesizer(bank(), DRAEM)(images, None, generator())
    assert torch.equal(images, before)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "low", "high"), [(DRAEM, 0.0, 0.9), (DIFFUSIONAD, 0.2, 0.8)])
def test_blend_keeps_a_share_beta_of_the_image(no_augmentation, recipe, low, high) -> None:
    # Rotated corners are black, and so no source of β.
    recipe = SynthesisSettings(beta_min=recipe.beta_min, beta_max=recipe.beta_max)
    images = torch.full((4000, 3, SIZE, SIZE), 0.25)
    batch = Synthesizer(white(), recipe)(images, None, generator())
    blended = batch.image[batch.mask.expand_as(images) == 1]
    assert blended.min() > 0.25  # the same β at all pixels of an image:
    inside = torch.where(batch.mask == 1, batch.image[:, :1], torch.nan).flatten(1)
    spread = [row[~row.isnan()].std(correction=0).item() for row in inside if row.isfinite().any()]
    assert max(spread) < 1e-6
    found = betas(batch, 0.25).sort().values.double()
    assert low <= found.min() and found.max() <= high
    steps = torch.arange(1, len(found) + 1) / len(found)
    distance = (steps - (found - low) / (high - low)).abs().max()
    assert distance < 1.95 / math.sqrt(len(found))  # Kolmogorov–Smirnov, 0.1 %


def test_recipes_have_the_published_values() -> None:
    # DRAEM's paper: the anomaly's own opacity is in [0.1, 1.0].
    betas, turned = {"beta_max": 1 - 0.1}, {"rotation_degrees": 45, "rotation_probability": 0.3}
    assert SynthesisSettings(beta_min=0.0, anomaly_probability=0.5, **betas, **turned) == DRAEM
    betas = {"beta_min": 0.2, "beta_max": 0.8}
    own = {"foreground": "auto", "self_augmentation_probability": 0.5}
    assert SynthesisSettings(anomaly_probability=0.5, **betas, **own) == DIFFUSIONAD


@pytest.mark.slow
def test_share_of_normal_images_matches_the_official_code() -> None:
    # A coin, and the empty masks: 5.4 % of the official ones (see test_perlin.py).
    count = 4000
    batch = Synthesizer(bank(), PLAIN)(noise_images(count), None, generator())
    share = batch.is_anomalous.float().mean().item()
    assert abs(share - 0.5 * (1 - 0.054)) < 4 * 0.5 / math.sqrt(count)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probabilities_of_zero_and_one_are_kept(probability: float) -> None:
    recipe = SynthesisSettings(anomaly_probability=probability)
    batch = Synthesizer(bank(), recipe)(
        noise_images(32), torch.ones(32, 1, SIZE, SIZE), generator()
    )
    assert batch.is_anomalous.all() if probability else torch.equal(batch.image, batch.normal)
    assert probability or not batch.mask.any()


def test_anomalies_stay_on_the_foreground_and_are_redrawn_until_they_meet_it() -> None:
    foreground = torch.zeros(400, 1, SIZE, SIZE)
    foreground[:, :, 15:27, 21:33] = 1
    recipe = SynthesisSettings(anomaly_probability=1)
    batch = Synthesizer(bank(), recipe)(noise_images(400), foreground, generator())
    assert not (batch.mask * (1 - foreground)).any()
    assert batch.is_anomalous.float().mean() > 0.97  # about a third without redrawing


def test_only_empty_masks_are_redrawn_at_most_50_times_on_their_grid(monkeypatch) -> None:
    asked = []
    make = module.perlin_masks

    def note(scales: Tensor, *arguments) -> Tensor:
        asked.append(scales)
        return make(scales, *arguments)

    monkeypatch.setattr(module, "perlin_masks", note)
    foreground = torch.ones(20, 1, SIZE, SIZE)
    foreground[3] = foreground[7] = 0
    recipe = SynthesisSettings(anomaly_probability=1)
    batch = Synthesizer(bank(), recipe)(noise_images(20), foreground, generator())
    assert MASK_TRIES == len(asked) == 50
    assert len(asked[0]) == 20
    assert torch.equal(asked[-1], asked[0][[3, 7]])
    # Without a foreground they end as normal images.
    assert batch.is_anomalous.nonzero()[:, 0].tolist() == [i for i in range(20) if i not in (3, 7)]
    assert torch.equal(batch.image[[3, 7]], batch.normal[[3, 7]])


def test_without_a_foreground_nothing_is_redrawn(monkeypatch) -> None:
    monkeypatch.setattr(
        module, "perlin_masks", lambda scales, *_: torch.zeros(len(scales), 1, SIZE, SIZE)
    )
    batch = Synthesizer(bank(), SynthesisSettings(anomaly_probability=1))(
        noise_images(4), None, generator()
    )
    assert not batch.is_anomalous.any() and torch.equal(batch.image, batch.normal)


@pytest.mark.parametrize(("kind", "share"), [("object", 0.5), ("texture", 0.0)])
def test_half_of_an_objects_anomalies_show_the_object_itself(no_augmentation, kind, share) -> None:
    images = torch.full((3000, 3, SIZE, SIZE), 0.25)
    batch = Synthesizer(white(), DIFFUSIONAD, kind)(images, None, generator())
    anomalous = batch.is_anomalous
    own = (batch.image == batch.normal)[anomalous].flatten(1).all(dim=1)  # all patches are equal
    assert abs(own.float().mean().item() - share) <= 4 * math.sqrt(share * (1 - share) / len(own))


def test_own_source_is_augmented_and_then_shuffled(monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(module, "augment", lambda images, _: calls.append("augment") or images)
    shuffle = shuffle_patches
    monkeypatch.setattr(
        module, "shuffle_patches", lambda *given: calls.append("shuffle") or shuffle(*given)
    )
    recipe = SynthesisSettings(anomaly_probability=1, self_augmentation_probability=1)
    images = noise_images(8)
    batch = Synthesizer(white(), recipe)(images, torch.ones(8, 1, SIZE, SIZE), generator())
    assert calls == ["augment", "shuffle"]
    # No white shows through: the source was the noise, of mean 0.5, and not the texture.
    inside = batch.image[batch.mask.expand_as(images) == 1]
    assert inside.mean().item() == pytest.approx(0.5, abs=0.05)


def test_own_anomaly_shows_the_shuffled_image(no_augmentation, monkeypatch) -> None:
    monkeypatch.setattr(module, "shuffle_patches", lambda images, _: torch.zeros_like(images))
    recipe = SynthesisSettings(beta_max=0, anomaly_probability=1, self_augmentation_probability=1)
    batch = Synthesizer(white(), recipe)(torch.ones(16, 3, SIZE, SIZE), None, generator())
    assert batch.mask.any()
    assert torch.equal(batch.image, (1 - batch.mask).expand_as(batch.image))


def test_patch_shuffle_is_a_permutation_of_the_64_patches() -> None:
    side = SIZE // 8
    patches = torch.arange(64.0).reshape(1, 1, 8, 8)
    labels = patches.repeat_interleave(side, 2).repeat_interleave(side, 3)
    inside = torch.arange(float(side**2)).reshape(side, side).repeat(8, 8) / 100
    images = (labels + inside).expand(2000, 3, -1, -1)
    shuffled = shuffle_patches(images, generator())
    assert torch.equal(shuffled[:, 0], shuffled[:, 2])  # channels stay together
    torch.testing.assert_close(shuffled % 1, images % 1)  # patches are not turned
    moved = shuffled[:, 0].floor()[:, ::side, ::side].flatten(1).long()  # [N,64]
    assert torch.equal(moved.sort(dim=1).values, torch.arange(64).expand(2000, -1))
    assert torch.equal(shuffled[:, 0].floor()[:, 1::side, 2::side].flatten(1).long(), moved)
    # Every patch comes to every place equally often, neighbours included.
    first, second = moved[:, 0], moved[:, 8]
    chi_square = ((torch.bincount(first, minlength=64) - 2000 / 64) ** 2 / (2000 / 64)).sum()
    assert chi_square < 103  # 0.1 % quantile for 63 degrees of freedom
    same_column = (first % 8 == second % 8).float().mean().item()
    assert abs(same_column - 7 / 63) < 4 * math.sqrt(7 / 63 * 56 / 63 / 2000)


def test_only_textures_get_random_regions(monkeypatch) -> None:
    left = torch.zeros(1, 1, SIZE, SIZE)
    left[..., : SIZE // 2] = 1
    monkeypatch.setattr(module, "random_regions", lambda count, *_: left.expand(count, -1, -1, -1))
    for kind, recipe, kept in [
        ("texture", DIFFUSIONAD, True),
        ("object", DIFFUSIONAD, False),
        ("texture", DRAEM, False),
    ]:
        batch = Synthesizer(bank(), recipe, kind)(noise_images(64), None, generator())
        assert bool((batch.mask[..., SIZE // 2 :] == 0).all()) == kept, (kind, recipe)


def test_stated_share_of_images_is_rotated_with_its_foreground() -> None:
    recipe = SynthesisSettings(rotation_degrees=90, rotation_probability=0.3, anomaly_probability=1)
    images = torch.zeros(1000, 3, SIZE, SIZE)
    images[:, :, 6:18, 18:30] = 1  # above the centre
    batch = Synthesizer(bank(), recipe)(images, images[:, :1], generator())
    turned = (batch.normal != images).flatten(1).any(dim=1)
    assert abs(turned.float().mean().item() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 1000)
    assert (batch.normal[:, :1][batch.mask == 1] > 0.49).all()


def test_rotation_angles_fill_the_stated_range(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(module, "rotate", lambda images, degrees: asked.append(degrees) or images)
    Synthesizer(bank(), DRAEM)(noise_images(2000), None, generator())
    assert -45 <= asked[0].min() < -44 and 44 < asked[0].max() < 45


def test_light_changes_slowly_and_within_the_stated_range() -> None:
    grey = torch.full((400, 3, SIZE, SIZE), 0.5)
    gain = relight(grey, 0.2, generator()) / 0.5 - 1  # [400,3,H,W]
    assert 0.12 < gain.abs().max() <= 0.2
    assert abs(gain.mean()) < 0.01 and gain.std() > 0.03
    assert (gain.flatten(2).amax(2) - gain.flatten(2).amin(2)).mean() > 0.03  # uneven
    assert (gain[..., 1:] - gain[..., :-1]).abs().max() < 0.02
    tint = (gain - gain.mean(dim=1, keepdim=True)).abs().mean()
    assert 0.2 < tint / gain.abs().mean() < 1.0


def test_light_falls_on_image_and_target_alike_and_only_where_asked_for() -> None:
    images = noise_images(32)
    recipe = SynthesisSettings(anomaly_probability=0.0, lighting=0.2)
    batch = Synthesizer(bank(), recipe)(images, None, generator())
    assert torch.equal(batch.image, batch.normal)
    assert ((batch.normal - images).abs() <= 0.2 * images + 1e-6).all()
    assert (batch.normal != images).flatten(1).any(dim=1).all()
    plain = Synthesizer(bank(), SynthesisSettings(anomaly_probability=0.0))
    assert torch.equal(plain(images, None, generator()).normal, images)


@pytest.mark.parametrize("kind", ["object", "texture"])
def test_batch_depends_on_the_seed_alone(kind: str) -> None:
    images, foreground = noise_images(12), torch.ones(12, 1, SIZE, SIZE)
    synthesize = Synthesizer(bank(), DIFFUSIONAD, kind)
    torch.manual_seed(1)
    first = synthesize(images, foreground, generator(4))
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        second = synthesize(images, foreground, generator(4))
    finally:
        torch.set_num_threads(threads)
    for name in ("normal", "image", "mask"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first.mask, synthesize(images, foreground, generator(5)).mask)


def test_batch_carries_the_generator_for_the_losses() -> None:
    source = generator()
    assert Synthesizer(bank(), PLAIN)(noise_images(2), None, source).generator is source


def test_all_textures_are_used(no_augmentation) -> None:
    textures = (np.arange(8, dtype=np.uint8) * 30)[:, None, None, None]
    textures = np.broadcast_to(textures, (8, 3, SIZE, SIZE))
    recipe = SynthesisSettings(beta_max=0, anomaly_probability=1)
    images, whole = torch.ones(400, 3, SIZE, SIZE), torch.ones(400, 1, SIZE, SIZE)
    batch = Synthesizer(textures, recipe)(images, whole, generator())
    shown = (batch.image[batch.mask.expand_as(images) == 1] * 255).round()
    assert shown.unique().tolist() == [0, 30, 60, 90, 120, 150, 180, 210]


def test_textures_must_be_there_and_of_the_images_size() -> None:
    with pytest.raises(ValueError, match="at least one texture"):
        Synthesizer(bank()[:0], PLAIN)
    with pytest.raises(ValueError, match=r"\[3, 16, 16\].*\[3, 48, 48\]"):
        Synthesizer(bank(), PLAIN)(torch.zeros(2, 3, 16, 16), None, generator())
