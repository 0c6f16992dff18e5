import pytest
import torch
import torch.nn.functional as F

from diffad_lib.errors import DiffadError
from diffad_lib.methods.draem import Draem, DraemSettings
from diffad_lib.methods.draem.detector import ReconstructiveNetwork
from diffad_lib.scores import smoothed_maximum
from diffad_lib.types import TrainingBatch
from reference import (
    DRAEM_CHECKPOINTS,
    assert_matches,
    needs_reference,
    reference_json,
    reference_tensors,
    shapes,
)


def small_draem(seed=0, **settings):
    torch.manual_seed(seed)
    sizes = {"image_size": 32, "base_width": 8, "segmentation_width": 4}
    return Draem(DraemSettings(**sizes | settings))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    normal = torch.rand(4, 3, 32, 32, generator=generator)
    mask = torch.zeros(4, 1, 32, 32)
    mask[::2, :, 4:12, 4:12] = 1
    return TrainingBatch(normal, torch.where(mask == 1, 1 - normal, normal), mask)


@needs_reference
def test_full_size_state_dict_equals_the_official_one():
    with torch.device("meta"):
        network = ReconstructiveNetwork()
    expected = reference_json("draem_full_state_dict_shapes.json")
    assert shapes(network) == expected["reconstructive(base_width=128)"]


@needs_reference
def test_outputs_and_losses_equal_the_official_ones():
    io = reference_tensors("draem_small_io.safetensors")
    detector = small_draem(image_size=64, base_width=16, segmentation_width=8).eval()
    # Unlike load_draem, this keeps the official order of the colours, as in the reference.
    networks = (detector.reconstruction, detector.segmentation)
    for network, path in zip(networks, DRAEM_CHECKPOINTS, strict=True):
        network.load_state_dict(torch.load(path, weights_only=True))
    with torch.inference_mode():
        reconstruction, logits = detector(io["in.augmented_image"])
        prediction = detector.predict(io["in.augmented_image"])
        losses = detector.training_losses(
            TrainingBatch(io["in.image"], io["in.augmented_image"], io["in.anomaly_mask"])
        )
    assert_matches(reconstruction, io["out.reconstruction"])
    assert_matches(logits, io["out.logits"])
    assert_matches(prediction.anomaly_map, io["out.anomaly_map"])
    assert_matches(prediction.image_score, io["out.image_score"])
    expected = reference_json("draem_losses.json")
    names = {"l2": "l2", "ssim": "ssim_loss", "focal": "focal", "total": "total"}
    assert losses.keys() == names.keys()
    for ours, theirs in names.items():
        assert losses[ours].item() == pytest.approx(expected[theirs], abs=1e-5)


def test_weights_start_as_published():
    detector = small_draem()
    convolution = detector.reconstruction.decoder.db1[0].weight
    norm = detector.segmentation.encoder_segment.block6[1]
    assert convolution.std().item() == pytest.approx(0.02, rel=0.05)
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.02)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.5)
    assert not norm.bias.any()


def test_segmentation_loss_also_trains_the_reconstruction():
    detector = small_draem()
    detector.training_losses(batch())["focal"].backward()
    assert detector.reconstruction.encoder.block1[0].weight.grad.any()


def test_reconstruction_is_trained_towards_the_normal_image():
    detector, data = small_draem(), batch()
    reconstruction, _ = detector(data.image)
    expected = F.mse_loss(reconstruction, data.normal)
    assert detector.training_losses(data)["l2"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_training_lowers_the_loss():
    detector, data = small_draem(), batch()
    optimizer = torch.optim.Adam(detector.parameters(), lr=3e-3)
    totals = []
    for _ in range(15):
        loss = detector.training_losses(data)["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < 0.8 * totals[0]


def test_parameter_groups_hold_every_parameter_once():
    detector = small_draem()
    groups = detector.parameter_groups()
    assert groups.keys() == {"reconstruction", "segmentation"}
    listed = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(listed) == sorted(id(parameter) for parameter in detector.parameters())


def test_prediction_keeps_its_promised_shapes_and_ranges():
    detector, images = small_draem().eval(), batch().image
    with torch.inference_mode():
        prediction = detector.predict(images)
        alone = detector.predict(images[2:3])
    assert prediction.image_score.shape == (4,)
    assert prediction.anomaly_map.shape == (4, 1, 32, 32)
    assert prediction.reconstruction.shape == (4, 3, 32, 32)
    assert prediction.reconstruction.min() >= 0
    assert prediction.reconstruction.max() <= 1
    torch.testing.assert_close(alone.image_score, prediction.image_score[2:3])


@pytest.mark.parametrize("window", [21, 11, 5])
def test_score_is_the_highest_average_over_a_window(window: int):
    anomaly_map = torch.zeros(2, 1, 64, 64)
    anomaly_map[0, 0, 20 : 20 + window, 20 : 20 + window] = 0.5
    anomaly_map[1, 0, 0, 0] = 1.0
    scores = smoothed_maximum(anomaly_map, window)
    assert scores.tolist() == pytest.approx([0.5, 1 / window**2])


def test_a_detector_scores_with_its_own_window():
    narrow = small_draem(score_window=3).eval()
    with torch.inference_mode():
        prediction = narrow.predict(batch().image)
    expected = smoothed_maximum(prediction.anomaly_map, 3)
    assert torch.equal(prediction.image_score, expected)
    with pytest.raises(DiffadError, match=r"score_window: .*must be odd.*\(got 4\)"):
        DraemSettings(score_window=4)


def test_channels_last_and_bfloat16_give_nearly_the_same_losses():
    plain = small_draem().training_losses(batch())
    detector, data = small_draem().to(memory_format=torch.channels_last), batch()
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector.training_losses(data)
    losses["total"].backward()
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(plain[name].item(), rel=0.03)


def test_image_size_must_suit_five_halvings():
    with pytest.raises(DiffadError, match=r"image_size: .*multiple of 32 \(got 48\)"):
        DraemSettings(image_size=48)
