import math

import pytest
import torch
import torch.nn.functional as F

from diffad_lib.losses import sigmoid_focal_loss, softmax_focal_loss, ssim
from reference import needs_reference, reference_json, reference_tensors


def images(seed=0, size=24):
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


@needs_reference
def test_draem_losses_equal_the_official_ones():
    io, expected = (
        reference_tensors("draem_small_io.safetensors"),
        reference_json("draem_losses.json"),
    )
    structure = 1 - ssim(io["out.reconstruction"], io["in.image"])
    focal = softmax_focal_loss(io["out.logits"], io["in.anomaly_mask"])
    assert structure.item() == pytest.approx(expected["ssim_loss"], abs=1e-6)
    assert focal.item() == pytest.approx(expected["focal"], abs=1e-6)


def dense_ssim(x, y, dynamic_range):
    """The textbook formula with one dense 11x11 window."""
    offsets = torch.arange(-5, 6, dtype=torch.float64)
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = torch.outer(line, line)
    window = (window / window.sum()).expand(3, 1, 11, 11)

    def local_mean(image):
        return F.conv2d(image, window, padding=5, groups=3)

    x, y = x.double(), y.double()
    c1, c2 = (0.01 * dynamic_range) ** 2, (0.03 * dynamic_range) ** 2
    mean_x, mean_y = local_mean(x), local_mean(y)
    var_x, var_y = local_mean(x * x) - mean_x**2, local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    return (
        (2 * mean_x * mean_y + c1)
        * (2 * covariance + c2)
        / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    ).mean()


@pytest.mark.parametrize(("shift", "dynamic_range"), [(0.0, 1), (-0.45, 1), (-0.7, 2)])
def test_ssim_equals_the_textbook_formula(shift, dynamic_range):
    x, y = images(0) + shift, images(1)
    assert ssim(x, y).item() == pytest.approx(dense_ssim(x, y, dynamic_range).item(), abs=1e-6)


def test_ssim_of_equal_images_is_one():
    assert ssim(images(), images()).item() == pytest.approx(1, abs=1e-6)


def test_ssim_is_computed_in_float32_under_autocast():
    x, y = images(0), images(1)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = ssim(x, y)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, ssim(x, y))


@pytest.mark.parametrize(("anomalous", "label"), [(0.5, 1), (0.5, 0), (0.9, 1), (0.9, 0)])
def test_softmax_focal_loss_of_a_single_probability(anomalous, label):
    logits = torch.tensor([1 - anomalous, anomalous]).log().reshape(1, 2, 1, 1)
    right = anomalous if label else 1 - anomalous
    expected = -((1 - right) ** 2) * math.log(right)
    loss = softmax_focal_loss(logits, torch.full((1, 1, 1, 1), float(label)))
    assert loss.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("anomalous", "label"), [(0.5, 1), (0.5, 0), (0.9, 1), (0.9, 0)])
def test_sigmoid_focal_loss_of_a_single_probability(anomalous, label):
    logits = torch.logit(torch.full((1, 1, 1, 1), anomalous))
    right = anomalous if label else 1 - anomalous
    expected = -0.5 * (1 - right) ** 4 * math.log(right)
    loss = sigmoid_focal_loss(logits, torch.full((1, 1, 1, 1), float(label)))
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_focal_losses_stay_finite_for_certain_and_wrong_logits():
    mask = torch.ones(1, 1, 2, 2)
    two_class = torch.tensor([200.0, -200.0]).reshape(1, 2, 1, 1).expand(1, 2, 2, 2)
    one_class = torch.full((1, 1, 2, 2), -200.0)
    for loss, logits in ((softmax_focal_loss, two_class), (sigmoid_focal_loss, one_class)):
        logits = logits.clone().requires_grad_()
        value = loss(logits, mask)
        value.backward()
        assert value.item() > 5
        assert torch.isfinite(logits.grad).all()


def test_focal_losses_are_means_over_all_pixels():
    logits, mask = torch.zeros(1, 1, 1, 2), torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    logits[..., 1] = -40  # right and certain: contributes nothing
    alone = sigmoid_focal_loss(logits[..., :1], mask[..., :1])
    assert sigmoid_focal_loss(logits, mask).item() == pytest.approx(alone.item() / 2)
