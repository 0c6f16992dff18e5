"""What every method keeps: the tests of a new one run by themselves."""

import pytest
import torch

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.methods import method_names
from diffad_lib.methods.method import Method, find_method, method_of
from diffad_lib.plans import Budget
from diffad_lib.types import TrainingBatch
from diffad_lib.weights import load_detector, save_detector

every_method = pytest.mark.parametrize("name", method_names())


def built(name: str) -> tuple[Method, Detector]:
    method = find_method(name)
    torch.manual_seed(0)
    return method, method.detector(smallest(method).detector)


def smallest(method: Method) -> Budget:
    return next(iter(method.budgets.values()))


def batch(size: int) -> TrainingBatch:
    generator = torch.Generator().manual_seed(1)
    normal = torch.rand(2, 3, size, size, generator=generator)
    mask = torch.zeros(2, 1, size, size)
    mask[0, :, :8, :8] = 1
    return TrainingBatch(normal, torch.where(mask > 0, 1 - normal, normal), mask, generator)


@every_method
def test_the_losses_are_finite_and_reach_every_trained_parameter(name: str) -> None:
    method, detector = built(name)
    losses = detector.train().training_losses(batch(detector.settings.image_size))
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    losses["total"].backward()
    groups = detector.parameter_groups()
    listed = [id(parameter) for group in groups.values() for parameter in group]
    trained = [id(parameter) for parameter in detector.parameters() if parameter.requires_grad]
    assert sorted(listed) == sorted(trained)
    plan = smallest(method).training
    assert [group["name"] for group in detector.optimizer(plan).param_groups] == list(groups)
    assert all(weight.grad is not None for group in groups.values() for weight in group)


@every_method
def test_a_score_depends_on_its_image_alone_and_shapes_are_as_promised(name: str) -> None:
    _, detector = built(name)
    size = detector.settings.image_size
    images = batch(size).image
    with torch.inference_mode():
        both, second = detector.eval().predict(images), detector.predict(images[1:])
    assert both.image_score.shape == (2,) and both.anomaly_map.shape == (2, 1, size, size)
    if both.reconstruction is not None:
        assert both.reconstruction.shape == images.shape
        assert both.reconstruction.min() >= 0 and both.reconstruction.max() <= 1
    torch.testing.assert_close(both.image_score[1:], second.image_score)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images * 255, r"reach from .* they have to be in \[0,1\]"),
        (lambda images: images * torch.nan, "reach from nan"),
        (lambda images: (images * 255).byte(), "uint8; give float32 in"),
        (lambda images: images.double(), "float64; give float32 in"),
        (lambda images: images.half(), "float16; give float32 in"),
        (lambda images: images.bfloat16(), "bfloat16; give float32 in"),
        (lambda images: images[:0], "empty batch"),
        (lambda images: images.numpy(), "are a ndarray; give a torch.Tensor"),
        (lambda images: images[0], r"shape \[3, .*; give \[B,3,"),
        (lambda images: images[:, :1], r"shape \[2, 1, "),
        (lambda images: images[..., 1:, 1:], r"shape \[2, 3, "),
    ],
    ids=[
        "bytes as floats",
        "NaN",
        "bytes",
        "doubles",
        "halves",
        "bfloats",
        "empty",
        "an array",
        "no batch axis",
        "grey",
        "another size",
    ],
)
@every_method
def test_images_that_cannot_be_meant_are_refused(name: str, change, message: str) -> None:
    _, detector = built(name)
    with pytest.raises(DiffadError, match=message):
        detector.predict(change(batch(detector.settings.image_size).image))


@every_method
def test_weights_and_settings_come_back(name: str, tmp_path) -> None:
    _, detector = built(name)
    save_detector(detector, tmp_path)
    loaded = load_detector(tmp_path)
    assert method_of(loaded) == name and loaded.settings == detector.settings
    for key, value in detector.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key]), key
