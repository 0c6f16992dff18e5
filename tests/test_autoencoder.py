import pytest
import torch

from diffad_lib.errors import DiffadError
from diffad_lib.methods.autoencoder import Autoencoder, AutoencoderSettings
from diffad_lib.scores import smoothed_maximum
from diffad_lib.types import TrainingBatch


def small_autoencoder(bottleneck=4):
    torch.manual_seed(0)
    settings = AutoencoderSettings(image_size=32, base_width=8, bottleneck=bottleneck)
    return Autoencoder(settings)


def stripes():
    """Four images of vertical stripes of different phase and colour."""
    columns = torch.arange(32) / 32
    phases = torch.arange(4).reshape(4, 1, 1, 1) * 0.7
    colours = torch.tensor([1.0, 0.6, 0.2]).reshape(1, 3, 1, 1)
    return 0.5 + 0.4 * colours * torch.sin(12 * columns + phases).expand(4, 1, 32, 32)


def normal_batch():
    images = stripes()
    return TrainingBatch(images, images, torch.zeros(4, 1, 32, 32))


@pytest.mark.parametrize("bottleneck", [1, 7])
def test_code_has_the_asked_channels_at_a_sixteenth_of_the_size(bottleneck):
    detector = small_autoencoder(bottleneck)
    assert detector.encoder(stripes()).shape == (4, bottleneck, 2, 2)
    assert detector(stripes()).shape == (4, 3, 32, 32)


def test_training_looks_at_normal_images_only():
    detector, normal = small_autoencoder(), stripes()
    pasted = TrainingBatch(normal, torch.zeros_like(normal), torch.ones(4, 1, 32, 32))
    plain = TrainingBatch(normal, normal, torch.zeros(4, 1, 32, 32))
    assert torch.equal(
        detector.training_losses(pasted)["total"], detector.training_losses(plain)["total"]
    )


def test_training_lowers_the_error_and_a_wider_code_lowers_it_further():
    final = {}
    for bottleneck in (1, 16):
        detector, data = small_autoencoder(bottleneck), normal_batch()
        optimizer = torch.optim.Adam(detector.parameters(), lr=3e-3)
        totals = []
        for _ in range(60):
            loss = detector.training_losses(data)["total"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            totals.append(loss.item())
        assert totals[-1] < 0.2 * totals[0]
        final[bottleneck] = totals[-1]
    assert final[16] < final[1]


@pytest.mark.parametrize("window", [21, 5])
def test_map_is_the_mean_absolute_residual_and_scores_follow_it(window):
    images = stripes()
    size = images.shape[-1]
    settings = AutoencoderSettings(image_size=size, base_width=8, score_window=window)
    detector = Autoencoder(settings).eval()
    with torch.inference_mode():
        prediction = detector.predict(images)
    residual = (images - prediction.reconstruction).abs().mean(dim=1, keepdim=True)
    assert torch.equal(prediction.anomaly_map, residual)
    assert torch.equal(prediction.image_score, smoothed_maximum(residual, window))
    assert prediction.reconstruction.min() >= 0
    assert prediction.reconstruction.max() <= 1


def test_parameter_groups_hold_every_parameter_once():
    detector = small_autoencoder()
    groups = detector.parameter_groups()
    assert groups.keys() == {"reconstruction"}
    assert len(groups["reconstruction"]) == len(list(detector.parameters()))


def test_image_size_must_suit_four_halvings():
    with pytest.raises(DiffadError, match=r"image_size: .*multiple of 16 \(got 40\)"):
        AutoencoderSettings(image_size=40)


def test_images_may_be_of_the_dtype_of_the_weights_and_no_other() -> None:
    detector = small_autoencoder().eval().bfloat16()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert detector.predict(images.bfloat16()).image_score.isfinite().all()
        with pytest.raises(DiffadError, match="float32; give bfloat16 in"):
            detector.predict(images)
