from dataclasses import replace

import pytest
import torch

from diffad_lib.diffusion.process import q_sample
from diffad_lib.errors import DiffadError
from diffad_lib.methods.diffusionad import DiffusionAD, DiffusionADSettings
from diffad_lib.methods.diffusionad.official import load_diffusionad
from diffad_lib.scores import highest_mean
from diffad_lib.types import TrainingBatch
from reference import (
    DIFFUSIONAD_CHECKPOINT,
    assert_matches,
    needs_reference,
    reference_tensors,
)


def small_diffusionad(**settings):
    """A network whose zero-initialised layers are not zero, so that it does something."""
    torch.manual_seed(0)
    sizes = {
        "image_size": 32,
        "base_width": 8,
        "segmentation_width": 4,
        "channel_multipliers": (1, 2),
        "residual_blocks": 1,
        "attention_resolutions": (),
    }
    detector = DiffusionAD(DiffusionADSettings(**sizes | settings))
    torch.nn.init.normal_(detector.denoising.out[-1].weight, std=0.1)
    return detector.eval()


def images(batch=3, seed=1):
    return torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def training_batch(anomalous=(True, False, True, False), seed=0):
    image = images(len(anomalous))
    mask = torch.zeros(len(anomalous), 1, 32, 32)
    mask[list(anomalous), :, 4:12, 4:12] = 1
    return TrainingBatch(image, image, mask, torch.Generator().manual_seed(seed))


@needs_reference
def test_map_and_score_equal_the_official_ones():
    detector = load_diffusionad([DIFFUSIONAD_CHECKPOINT])
    io = reference_tensors("diffusionad_small_io.safetensors")
    with torch.inference_mode():
        guided = detector.reconstruct(io["in.x0"], io["in.noise_normal"], io["in.noise_noisier"])
        anomaly_map = detector.segment(io["in.x0"], guided.pred_x0_norm_guided).sigmoid()
    assert_matches(anomaly_map, io["eval.anomaly_map"])
    assert_matches(highest_mean(anomaly_map), io["eval.image_score"])


def test_weights_in_half_precision_are_refused():
    with pytest.raises(DiffadError, match=r"images are torch.float16; .* use autocast"):
        small_diffusionad().half().predict(images().half())


def test_total_loss_weighs_its_terms_as_the_official_code_does():
    losses = small_diffusionad().training_losses(training_batch())
    total = losses["noise"] + 5 * losses["focal"] + losses["smooth_l1"]
    assert losses.keys() == {"total", "noise", "focal", "smooth_l1"}
    assert losses["total"].item() == pytest.approx(total.item())


def test_further_terms_are_added_with_their_weights():
    weights = {"repair_weight": 10.0, "no_discrepancy_weight": 0.1}
    losses = small_diffusionad(**weights).training_losses(training_batch())
    published = small_diffusionad().training_losses(training_batch())["total"]
    further = 10 * losses["repair"] + 0.1 * losses["no_discrepancy"]
    assert losses["total"].item() == pytest.approx((published + further).item())


def test_a_network_is_asked_to_repair_anomalous_images_too():
    detector = small_diffusionad(repair_weight=1.0)
    batch = training_batch((True, True))
    normal = batch.image.clone()
    normal[batch.mask.expand_as(normal) > 0] = 0.5
    batch = TrainingBatch(normal, batch.image, batch.mask, batch.generator)
    detector.training_losses(batch)["repair"].backward()
    assert detector.denoising.out[-1].weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in detector.segmentation.parameters())


def test_the_repair_term_is_the_squared_error_in_the_range_of_the_images():
    for signed in (False, True):
        detector = small_diffusionad(repair_weight=1.0, signed_range=signed)
        seen = []
        detector.segment = lambda images, given, seen=seen: seen.append(given) or images[:, :1]
        losses = detector.training_losses(batch := training_batch())
        expected = (seen[0] - batch.normal).square().mean()
        assert losses["repair"].item() == pytest.approx(expected.item())


def test_where_nothing_differs_the_head_is_asked_for_the_same_everywhere():
    detector = small_diffusionad(no_discrepancy_weight=1.0)
    batch = training_batch()
    losses = detector.training_losses(batch)
    logits = detector.segment(batch.image, batch.image)
    expected = (logits + 4).square().mean().item()
    assert losses["no_discrepancy"].item() == pytest.approx(expected)
    losses["no_discrepancy"].backward()
    assert all(weight.grad is None for weight in detector.denoising.parameters())


def test_segmentation_loss_also_trains_the_denoising_network():
    detector = small_diffusionad()
    detector.training_losses(training_batch())["focal"].backward()
    assert detector.denoising.down[0][0].weight.grad.any()


def test_a_batch_of_anomalies_alone_has_no_noise_loss_and_trains_on():
    detector = small_diffusionad()
    losses = detector.training_losses(training_batch([True] * 3))
    losses["total"].backward()
    assert losses["noise"].item() == 0
    assert losses["focal"].item() > 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in detector.parameters())


def test_anomalous_images_do_not_enter_the_noise_loss():
    detector = small_diffusionad()
    plain, changed = training_batch(), training_batch()
    changed.image[0] = 1 - changed.image[0]  # image 0 is anomalous
    noise = [detector.training_losses(batch)["noise"].item() for batch in (plain, changed)]
    assert noise[0] == pytest.approx(noise[1], rel=1e-5)
    changed = training_batch()
    changed.image[1] = 1 - changed.image[1]  # image 1 is normal
    assert detector.training_losses(changed)["noise"].item() != pytest.approx(noise[0], rel=1e-5)


def test_training_follows_the_generator_of_the_batch():
    detector = small_diffusionad()
    totals = [
        detector.training_losses(training_batch(seed=seed))["total"].item() for seed in (0, 0, 1)
    ]
    assert totals[0] == totals[1] != totals[2]


def test_training_without_a_generator_is_refused():
    image = images()
    with pytest.raises(ValueError, match="generator"):
        small_diffusionad().training_losses(TrainingBatch(image, image, image[:, :1]))


@torch.inference_mode()
def test_prediction_keeps_its_promised_shapes_and_ranges():
    prediction = small_diffusionad().predict(images())
    assert prediction.image_score.shape == (3,)
    assert prediction.anomaly_map.shape == (3, 1, 32, 32)
    assert prediction.reconstruction.shape == (3, 3, 32, 32)
    assert prediction.reconstruction.min() >= 0
    assert prediction.reconstruction.max() <= 1
    assert torch.equal(prediction.image_score, highest_mean(prediction.anomaly_map))


@torch.inference_mode()
def test_scores_repeat_and_do_not_depend_on_the_rest_of_the_batch():
    detector = small_diffusionad()
    torch.manual_seed(11)
    together = detector.predict(images()).image_score
    torch.manual_seed(12)
    alone = torch.cat([detector.predict(image[None]).image_score for image in images()])
    torch.testing.assert_close(together, alone)
    assert len(set(together.tolist())) == 3


@torch.inference_mode()
def test_another_generator_draws_other_noise():
    detector = small_diffusionad()
    fixed = detector.predict(images()).image_score
    other = detector.predict(images(), torch.Generator().manual_seed(7)).image_score
    assert not torch.equal(fixed, other)


@torch.inference_mode()
def test_signed_range_shows_the_diffusion_images_from_minus_one_to_one():
    seen = []
    detector = small_diffusionad(signed_range=True)
    detector.segmentation.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    zero_noise = torch.zeros(1, 3, 32, 32)
    guided = detector.reconstruct(images(), zero_noise, zero_noise)
    signal = detector.schedule.sqrt_alphas_cumprod[200].float()
    torch.testing.assert_close(guided.x_normal_t, signal * (2 * images() - 1))
    prediction = detector.predict(images())
    shown_image, shown_reconstruction = seen[0].chunk(2, dim=1)
    assert torch.equal(shown_image, images())
    torch.testing.assert_close(shown_reconstruction, prediction.reconstruction)


@torch.inference_mode()
def test_times_and_weight_of_the_test_are_settings():
    zero_noise = torch.zeros(1, 3, 32, 32)
    detector = small_diffusionad(test_normal_t=0, test_noisier_t=50, guidance_weight=0.0)
    guided = detector.reconstruct(images(), zero_noise, zero_noise)
    signal = detector.schedule.sqrt_alphas_cumprod[[0, 50]].float()
    torch.testing.assert_close(guided.x_normal_t, signal[0] * images())
    torch.testing.assert_close(guided.x_noisier_t, signal[1] * images())
    assert torch.equal(guided.pred_x0_norm_guided, guided.pred_x0_normal)


def test_times_of_the_training_are_settings():
    times = []
    detector = small_diffusionad(less_t_range=1, timesteps=50, test_normal_t=1, test_noisier_t=2)
    detector.denoising.register_forward_pre_hook(lambda _, inputs: times.append(inputs[1]))
    detector.training_losses(training_batch())
    normal_t, noisier_t = times[0].chunk(2)
    assert not normal_t.any()
    assert 1 <= noisier_t.min() <= noisier_t.max() < 50


def test_a_network_that_puts_out_the_image_predicts_its_noise():
    detector = small_diffusionad(prediction="x0")
    x_0, t = images(batch=2), torch.tensor([0, 700])
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(5))
    detector.denoising.register_forward_hook(lambda *_: x_0)
    predicted = detector.predict_noise(q_sample(detector.schedule, x_0, t, eps), t)
    torch.testing.assert_close(predicted, eps, atol=1e-4, rtol=0)


def test_a_network_that_puts_out_the_image_is_trained_on_the_error_of_the_image():
    """min(SNR, 5) times the squared error of x_0, for each time."""
    detector, batch = small_diffusionad(prediction="x0"), training_batch((False, False))
    seen = []
    detector.denoising.register_forward_hook(lambda _, given, out: seen.append((given[1], out)))
    noise_loss = detector.training_losses(batch)["noise"]
    t, x_0 = seen[0]
    alphas_cumprod = detector.schedule.alphas_cumprod[t]
    weight = (alphas_cumprod / (1 - alphas_cumprod)).clamp(max=5)
    error = (x_0 - batch.image.repeat(2, 1, 1, 1)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(noise_loss, (weight * error).float().sum() / 2)


def test_levels_computed_again_give_the_detector_the_same_gradients():
    found = []
    for levels in (0, 1, 2):
        detector = small_diffusionad(recompute_levels=levels)
        detector.to(memory_format=torch.channels_last)
        losses = detector.training_losses(training_batch())
        losses["total"].backward()
        found.append([*losses.values(), *(weight.grad for weight in detector.parameters())])
    for plain, one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, plain, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(two, plain, rtol=1e-6, atol=1e-6)


def test_training_times_end_at_the_noisier_t_range():
    detector, seen = small_diffusionad(noisier_t_range=302), []
    detector.denoising.register_forward_hook(lambda _, given, out: seen.append(given[1]))
    for seed in range(5):
        batch = replace(training_batch(), generator=torch.Generator().manual_seed(seed))
        detector.training_losses(batch)
    noisier_t = torch.cat([t.chunk(2)[1] for t in seen])
    assert set(noisier_t.tolist()) == {300, 301}


def test_score_is_the_mean_of_the_fifty_highest_pixels():
    anomaly_map = torch.zeros(1, 1, 32, 32)
    anomaly_map[0, 0, :10, :10] = torch.arange(100).reshape(10, 10) / 100
    assert highest_mean(anomaly_map).item() == pytest.approx(sum(range(50, 100)) / 100 / 50)


def test_the_image_score_averages_as_many_pixels_as_set():
    prediction = small_diffusionad(score_pixels=3).predict(images())
    highest = prediction.anomaly_map.flatten(1).sort(dim=1, descending=True).values[:, :3]
    torch.testing.assert_close(prediction.image_score, highest.mean(dim=1))


def test_parameter_groups_hold_every_parameter_once():
    detector = small_diffusionad()
    groups = detector.parameter_groups()
    assert groups.keys() == {"denoising", "segmentation"}
    listed = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(listed) == sorted(id(parameter) for parameter in detector.parameters())


def test_channels_last_and_bfloat16_give_nearly_the_same_losses():
    plain = small_diffusionad().training_losses(training_batch())
    detector = small_diffusionad().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        losses = detector.training_losses(training_batch())
    losses["total"].backward()
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(plain[name].item(), rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 48}, r"image_size: .*multiple of 32"),
        ({"less_t_range": 1000}, "less_t_range 1000"),
        ({"less_t_range": 0}, "less_t_range: "),
        ({"noisier_t_range": 300}, "noisier_t_range 300 must be above less_t_range 300"),
        ({"noisier_t_range": 1001}, "noisier_t_range 1001"),
        ({"test_noisier_t": -1}, "test_noisier_t: "),
        ({"test_normal_t": 50, "timesteps": 50, "less_t_range": 10}, "test_normal_t 50"),
        ({"beta_schedule": "square"}, "beta_schedule"),
        ({"prediction": "v"}, "prediction: "),
        ({"score_pixels": 1025}, "score_pixels 1025"),
        ({"channel_multipliers": ()}, "channel_multipliers"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(DiffadError, match=message):
        small_diffusionad(**settings)
