"""Our networks, losses and metrics give the official numbers, in every checkout.

tests/reference/README.md tells where the numbers come from; official_recipe.py makes the weights
and inputs that they were computed with. The functions above the first test hold every call of the
library.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from diffad_lib.diffusion.denoising import NoiseLevel, NormGuided, norm_guided_one_step
from diffad_lib.diffusion.process import ReverseStep, p_mean_variance
from diffad_lib.diffusion.schedule import Schedule, cosine_betas, linear_betas
from diffad_lib.losses import sigmoid_focal_loss, softmax_focal_loss, ssim
from diffad_lib.methods.diffusionad import DiffusionAD, DiffusionADSettings
from diffad_lib.methods.draem import Draem, DraemSettings
from diffad_lib.methods.method import find_method
from diffad_lib.scores import highest_mean
from diffad_lib.types import TrainingBatch
from official_recipe import fill, images, noise, numbers
from reference import referenced_metrics

REFERENCE = Path(__file__).resolve().parent / "reference"
TOLERANCE = 1e-5
"""Absolute, in float32. What is divided by √ᾱ_t has it divided, too."""
EVERY = 3
"""Of the values of each image, every third is stored."""
SHAPE = (2, 3, 32, 32)
SCHEDULES = {"linear": linear_betas, "cosine": cosine_betas}

# The library


def schedule(name: str = "linear") -> Schedule:
    return Schedule.from_betas(SCHEDULES[name](1000))


@cache
def draem() -> Draem:
    detector = Draem(DraemSettings(image_size=32, base_width=4, segmentation_width=4))
    fill(detector.reconstruction, "draem.reconstruction")
    fill(detector.segmentation, "draem.segmentation")
    return detector


def draem_batch() -> TrainingBatch:
    normal, image = images("draem.image", *SHAPE), images("draem.augmented_image", *SHAPE)
    return TrainingBatch(normal, image, mask("draem.mask"))


@cache
def diffusionad() -> DiffusionAD:
    sizes = {"image_size": 32, "base_width": 32, "segmentation_width": 4, "norm_groups": 32}
    detector = DiffusionAD(DiffusionADSettings(**sizes))
    fill(detector.denoising, "diffusionad.unet")
    fill(detector.segmentation, "diffusionad.segmentation")
    return detector


def guided_at_test_times(detector: DiffusionAD, x_0: Tensor) -> NormGuided:
    """The detector's own times and weight: t_s = 200, t_b = 400, w = 1."""
    return detector.reconstruct(x_0, *both_noises())


def guided_at(detector: DiffusionAD, x_0: Tensor, times: tuple[Tensor, Tensor]) -> NormGuided:
    normal, noisier = map(NoiseLevel, times, both_noises())
    return norm_guided_one_step(
        schedule(), detector.predict_noise, x_0, normal, noisier, weight=1.0
    )


def anomaly_map(detector: DiffusionAD, x_0: Tensor, reconstruction: Tensor) -> Tensor:
    return detector.segment(x_0, reconstruction).sigmoid()


def image_score(the_map: Tensor) -> Tensor:
    return highest_mean(the_map, 50)


def reverse_step(detector: DiffusionAD, x_t: Tensor, t: Tensor) -> ReverseStep:
    return p_mean_variance(schedule(), detector.predict_noise, x_t, t)


def diffusionad_losses(
    detector: DiffusionAD, image: Tensor, its_mask: Tensor, patch: pytest.MonkeyPatch
) -> dict[str, Tensor]:
    """The losses of training with the times and noises of the reference instead of random ones."""
    times, noises = iter(training_times()), iter(both_noises())
    patch.setattr(torch, "randint", lambda *_, **__: next(times))
    patch.setattr(torch, "randn", lambda *_, **__: next(noises))
    batch = TrainingBatch(image, image, its_mask, torch.Generator())
    return detector.training_losses(batch)


def metrics(case: dict[str, np.ndarray]) -> dict[str, float]:
    maps = (case["thousandths"] / 1000).astype(np.float32)
    return referenced_metrics(case["image_scores"], case["image_labels"], maps, case["masks"])


def full_size_networks(method: str) -> dict[str, nn.Module]:
    with torch.device("meta"):
        found = find_method(method)
        detector = found.detector(found.settings())
    return dict(detector.named_children())


# Inputs and comparisons


def mask(name: str) -> Tensor:
    return (numbers(name, 2, 1, 32, 32) > 0.5).float()


def both_noises() -> tuple[Tensor, Tensor]:
    return noise("diffusionad.normal_noise", *SHAPE), noise("diffusionad.noisier_noise", *SHAPE)


def training_times() -> tuple[Tensor, Tensor]:
    return torch.tensor([17, 250]), torch.tensor([350, 990])


def x_0() -> Tensor:
    return images("diffusionad.image", *SHAPE)


def x_t_and_t() -> tuple[Tensor, Tensor]:
    return noise("diffusionad.x_t", *SHAPE), torch.tensor([0, 999])


def strong_logits() -> Tensor:
    return 5 * numbers("strong.logits", 2, 2, 32, 32)


def read_json(name: str) -> Any:
    return json.loads((REFERENCE / name).read_text())


@cache
def official(name: str) -> dict[str, Tensor]:
    return load_file(REFERENCE / f"{name}.safetensors")


def assert_equal(actual: Tensor, expected: Tensor, divided_by: Tensor | float = 1.0) -> None:
    """`divided_by`: √ᾱ_t [B] of values that were divided by it."""
    if actual.ndim == 4:
        actual = actual.flatten(1)[:, ::EVERY]
    assert actual.shape == expected.shape
    tolerance = TOLERANCE / torch.as_tensor(divided_by, dtype=torch.float64)
    error = (actual - expected).abs().reshape(len(expected) if expected.ndim else 1, -1)
    assert (error <= tolerance.reshape(-1, 1)).all(), f"largest error {error.max():.2e}"


def assert_same_gradient(network: nn.Module, expected: Tensor) -> None:
    gradients = [parameter.grad.flatten() for parameter in network.parameters()]
    assert torch.cat(gradients).norm().item() == pytest.approx(expected.item(), rel=2e-3)


# DRAEM


def test_draem_predicts_as_the_official_code():
    expected, image = official("draem"), draem_batch().image
    with torch.no_grad():
        reconstruction, logits = draem()(image)
        prediction = draem().predict(image)
    assert_equal(reconstruction, expected["reconstruction"])
    assert_equal(logits, expected["logits"])
    assert_equal(prediction.anomaly_map, expected["anomaly_map"])
    assert_equal(prediction.image_score, expected["image_score"])


def test_draem_has_the_official_losses_and_gradients():
    expected, detector = official("draem"), draem()
    losses = detector.training_losses(draem_batch())
    names = {"l2": "l2", "ssim": "ssim_loss", "focal": "focal", "total": "total"}
    assert losses.keys() == names.keys()
    for ours, theirs in names.items():
        assert_equal(losses[ours], expected[f"loss.{theirs}"])
    detector.zero_grad()
    losses["total"].backward()
    assert_same_gradient(detector.reconstruction, expected["gradient_norm.reconstruction"])
    assert_same_gradient(detector.segmentation, expected["gradient_norm.segmentation"])


def test_structural_similarity_is_the_official_one_in_both_dynamic_ranges():
    expected, batch = official("draem"), draem_batch()
    dark = 0.1 * batch.normal, 0.1 * batch.normal + 0.1 * batch.image
    low = 1.7 * batch.normal - 0.7, 0.5 * batch.normal + 0.5 * batch.image - 0.3
    assert low[0].min() < -0.5 < dark[0].min()
    assert_equal(1 - ssim(*dark), expected["ssim_loss_of_dark"])
    assert_equal(1 - ssim(*low), expected["ssim_loss_of_low"])


def test_focal_losses_of_strong_logits_are_the_official_ones():
    logits, target = strong_logits(), mask("draem.mask")
    assert_equal(softmax_focal_loss(logits, target), official("draem")["focal_of_strong"])
    one = sigmoid_focal_loss(logits[:, :1], target)
    assert_equal(one, official("diffusionad")["focal_of_strong"])


# DiffusionAD


def test_noise_prediction_is_the_official_one():
    with torch.no_grad():
        eps = diffusionad().predict_noise(*x_t_and_t())
    assert_equal(eps, official("diffusionad")["eps"])


def test_norm_guided_denoising_and_segmentation_are_the_official_ones():
    expected, detector = official("diffusionad"), diffusionad()
    with torch.no_grad():
        guided = guided_at_test_times(detector, x_0())
        the_map = anomaly_map(detector, x_0(), guided.pred_x0_norm_guided)
    normal, noisier = schedule().sqrt_alphas_cumprod[[200, 400]].tolist()
    assert_equal(guided.x_normal_t, expected["eval.x_normal_t"])
    assert_equal(guided.x_noisier_t, expected["eval.x_noisier_t"])
    assert_equal(guided.pred_x0_normal, expected["eval.pred_x0_normal"], normal)
    assert_equal(guided.pred_x0_noisier, expected["eval.pred_x0_noisier"], noisier)
    assert_equal(guided.pred_x_t_noisier, expected["eval.pred_x_t_noisier"], noisier)
    assert_equal(guided.pred_x0_norm_guided, expected["eval.pred_x0_norm_guided"], noisier)
    errors = [
        (eps - true).square().mean()
        for eps, true in zip((guided.eps_normal, guided.eps_noisier), both_noises(), strict=True)
    ]
    assert_equal(sum(errors), expected["eval.loss"])
    assert_equal(the_map, expected["eval.anomaly_map"])
    assert_equal(image_score(the_map), expected["eval.image_score"])


def test_norm_guided_training_form_is_the_official_one():
    expected = official("diffusionad")
    with torch.no_grad():
        guided = guided_at(diffusionad(), x_0(), training_times())
    signal = schedule().sqrt_alphas_cumprod[training_times()[1]]
    assert_equal(guided.x_normal_t, expected["train.x_normal_t"])
    assert_equal(guided.x_noisier_t, expected["train.x_noisier_t"])
    assert_equal(guided.pred_x0_norm_guided, expected["train.pred_x0_norm_guided"], signal)


@pytest.mark.slow
def test_diffusionad_has_the_official_losses_and_gradients(monkeypatch):
    expected, detector = official("diffusionad"), diffusionad()
    one_anomalous = mask("diffusionad.mask")
    one_anomalous[0] = 0
    with monkeypatch.context() as patch:
        losses = diffusionad_losses(detector, x_0(), one_anomalous, patch)
    assert_equal(losses["noise"], expected["train.loss"])
    assert_equal(losses["focal"], expected["train.focal"])
    assert_equal(losses["smooth_l1"], expected["train.smooth_l1"])
    assert_equal(losses["total"], expected["train.total"])
    detector.zero_grad()
    (losses["total"] - losses["noise"]).backward(retain_graph=True)
    by_segmentation = expected["train.gradient_norm.denoising_by_segmentation"]
    assert_same_gradient(detector.denoising, by_segmentation)
    detector.zero_grad()
    losses["total"].backward()
    assert_same_gradient(detector.denoising, expected["train.gradient_norm.denoising"])
    assert_same_gradient(detector.segmentation, expected["train.gradient_norm.segmentation"])


def test_reverse_step_is_the_official_one():
    expected, (x_t, t) = official("diffusionad"), x_t_and_t()
    with torch.no_grad():
        step = reverse_step(diffusionad(), x_t, t)
        inside = reverse_step(diffusionad(), x_t, torch.tensor([2, 500]))
    assert_equal(step.mean, expected["p.mean"])
    assert_equal(step.pred_x0, expected["p.pred_x0"], schedule().sqrt_alphas_cumprod[t])
    assert_equal(step.variance.flatten(), expected["p.variance"])
    assert_equal(step.log_variance.flatten(), expected["p.log_variance"])
    # At both ends of time the two variances that p could have are almost the same.
    assert_equal(inside.mean, expected["p_inside.mean"])
    assert_equal(inside.variance.flatten(), expected["p_inside.variance"])
    assert_equal(inside.log_variance.flatten(), expected["p_inside.log_variance"])


@pytest.mark.parametrize("name", SCHEDULES)
def test_constants_of_the_schedule_are_the_official_ones(name):
    constants = read_json("schedules.json")[name]
    assert len(constants) >= 8
    for constant, by_t in constants.items():
        values = getattr(schedule(name), constant)
        for t, expected in by_t.items():
            assert values[int(t)].item() == pytest.approx(expected, rel=1e-9, abs=1e-15), constant


# Both


@pytest.mark.parametrize("method", ["draem", "diffusionad"])
def test_full_size_state_dicts_have_the_official_names_and_shapes(method):
    expected = read_json("state_dict_shapes.json")[method]
    networks = full_size_networks(method)
    assert networks.keys() == expected.keys()
    for name, network in networks.items():
        shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
        assert shapes == expected[name]


def test_metrics_of_maps_with_ties_are_reproduced():
    with np.load(REFERENCE / "metrics_case.npz") as case:
        actual = metrics(dict(case))
    expected = read_json("metrics_case.json")
    assert actual == pytest.approx({name: expected[name] for name in actual}, rel=0, abs=1e-9)
