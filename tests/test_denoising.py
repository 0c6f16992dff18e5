from functools import partial

import pytest
import torch

from diffad_lib.diffusion.denoising import (
    NoiseLevel,
    ddim_denoise,
    iterative_denoise,
    norm_guided_one_step,
    norm_guided_training,
    normal_image_mean,
    one_step_denoise,
    random_levels,
)
from diffad_lib.diffusion.process import gaussian_noise, q_sample
from diffad_lib.diffusion.schedule import Schedule, extract, linear_betas
from diffad_lib.methods.diffusionad.official import load_diffusionad
from reference import (
    DIFFUSIONAD_CHECKPOINT,
    assert_matches,
    needs_reference,
    reference_tensors,
)

SCHEDULE = Schedule.from_betas(linear_betas(1000))
MEAN, DEVIATION = 0.2, 0.1


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise_like(x, seed=0):
    return torch.randn(x.shape, generator=generator(seed))


def gaussian_world(x_t, t):
    """The best noise prediction where every pixel is N(MEAN, DEVIATION²)."""
    alphas_cumprod = extract(SCHEDULE.alphas_cumprod, t, x_t.ndim)
    variance = alphas_cumprod * DEVIATION**2 + 1 - alphas_cumprod
    return (1 - alphas_cumprod).sqrt() * (x_t - alphas_cumprod.sqrt() * MEAN) / variance


class CountingModel:
    def __init__(self, model=gaussian_world):
        self.model, self.times, self.batches = model, [], []

    def __call__(self, x_t, t):
        self.times.append(t)
        self.batches.append(x_t)
        return self.model(x_t, t)


@pytest.mark.parametrize(
    "denoise",
    [
        partial(ddim_denoise, steps=1000),
        partial(iterative_denoise, noise_fn=gaussian_noise(generator(5))),
    ],
)
def test_all_steps_recover_a_known_distribution_from_pure_noise(denoise):
    x_0 = denoise(SCHEDULE, gaussian_world, torch.randn(1, 1, 64, 64, generator=generator()), 999)
    assert x_0.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert x_0.std().item() == pytest.approx(DEVIATION, rel=0.06)


def test_one_step_from_pure_noise_gives_only_the_mean():
    noise = torch.randn(1, 1, 64, 64, generator=generator())
    x_0 = one_step_denoise(SCHEDULE, gaussian_world, noise, torch.tensor([999]))
    assert x_0.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert x_0.std().item() < 0.01


def test_one_step_is_exact_for_a_perfect_noise_prediction():
    x_0 = torch.rand(3, 3, 8, 8, generator=generator())
    t, noise = torch.tensor([0, 300, 900]), noise_like(x_0, 1)
    x_t = q_sample(SCHEDULE, x_0, t, noise)
    recovered = one_step_denoise(SCHEDULE, lambda x, times: noise, x_t, t)
    assert_matches(recovered, x_0, divided_by=SCHEDULE.sqrt_alphas_cumprod[t])


@pytest.mark.parametrize("bound", [-1.0, 1.0])
def test_one_step_stays_in_the_range_of_the_diffusion(bound):
    x_t, t = noise_like(torch.empty(2, 3, 8, 8)), torch.tensor([300, 900])
    far_off = torch.full_like(x_t, -50 * bound)
    x_0 = one_step_denoise(SCHEDULE, lambda x, times: far_off, x_t, t)
    assert torch.equal(x_0, torch.full_like(x_0, bound))


@pytest.mark.parametrize("steps", [2, 7, 301])
def test_ddim_is_exact_for_a_perfect_noise_prediction(steps):
    x_0 = torch.rand(2, 3, 8, 8, generator=generator())
    noise = noise_like(x_0, 1)
    x_t = q_sample(SCHEDULE, x_0, torch.tensor([300, 300]), noise)
    recovered = ddim_denoise(SCHEDULE, lambda x, t: noise, x_t, 300, steps)
    torch.testing.assert_close(recovered, x_0, rtol=0, atol=1e-4)


def test_ddim_calls_the_model_once_a_step_at_falling_times():
    x_t, seen = torch.randn(2, 1, 4, 4, generator=generator()), []
    model = CountingModel()
    result = ddim_denoise(SCHEDULE, model, x_t, 400, 5, callback=seen.append)
    times = [step["t"] for step in seen]
    assert times == [400, 320, 240, 159, 79]
    assert [t.tolist() for t in model.times] == [[t, t] for t in times]
    assert torch.equal(seen[0]["x"], x_t)
    assert torch.equal(seen[-1]["pred_x0"], result)


def test_one_ddim_step_is_one_step_denoising():
    x_t = torch.randn(2, 1, 4, 4, generator=generator())
    one_step = one_step_denoise(SCHEDULE, gaussian_world, x_t, torch.tensor([400, 400]))
    assert torch.equal(ddim_denoise(SCHEDULE, gaussian_world, x_t, 400, 1), one_step)


def test_iterative_denoising_visits_every_time_down_to_zero():
    x_t, seen = torch.randn(2, 1, 4, 4, generator=generator()), []
    result = iterative_denoise(
        SCHEDULE, gaussian_world, x_t, 20, gaussian_noise(generator()), callback=seen.append
    )
    assert [step["t"] for step in seen] == list(range(20, -1, -1))
    assert torch.equal(seen[0]["x"], x_t)
    # At t = 0 no noise is added and the posterior mean is the predicted image.
    torch.testing.assert_close(result, seen[-1]["pred_x0"])


@pytest.mark.parametrize(("start", "steps"), [(10, 0), (10, 12), (1000, 5), (-1, 1)])
def test_impossible_starts_and_steps_are_refused(start, steps):
    with pytest.raises(ValueError, match="must be from"):
        ddim_denoise(SCHEDULE, gaussian_world, torch.zeros(1, 1, 4, 4), start, steps)


def official_guided(io, normal_t, noisier_t, is_anomalous):
    """Loss and result on the official input, with the official weights."""
    detector = load_diffusionad([DIFFUSIONAD_CHECKPOINT])
    levels = (
        NoiseLevel(normal_t, io["in.noise_normal"]),
        NoiseLevel(noisier_t, io["in.noise_noisier"]),
    )
    with torch.inference_mode():
        return norm_guided_training(
            SCHEDULE, detector.denoising, io["in.x0"], is_anomalous, levels, weight=1.0
        )


@needs_reference
def test_test_form_equals_the_official_one():
    io = reference_tensors("diffusionad_small_io.safetensors")
    times = torch.full((2,), 200), torch.full((2,), 400)
    loss, guided = official_guided(io, *times, torch.zeros(2, dtype=torch.bool))
    normal, noisier = SCHEDULE.sqrt_alphas_cumprod[[200, 400]].tolist()
    assert_matches(guided.x_normal_t, io["eval.x_t_normal"])
    assert_matches(guided.x_noisier_t, io["eval.x_t_noisier"])
    assert_matches(guided.pred_x0_normal, io["eval.pred_x0_normal"], divided_by=normal)
    assert_matches(guided.pred_x0_noisier, io["eval.pred_x0_noisier"], divided_by=noisier)
    assert_matches(guided.pred_x_t_noisier, io["eval.pred_x_t_noisier"], divided_by=noisier)
    assert_matches(guided.pred_x0_norm_guided, io["eval.pred_x0_norm_guided"], divided_by=noisier)
    assert_matches(loss.reshape(1), io["eval.loss"])


@needs_reference
def test_training_form_equals_the_official_one():
    io = reference_tensors("diffusionad_small_io.safetensors")
    times, labels = (io["train.normal_t"], io["train.noisier_t"]), io["train.anomaly_label"]
    loss, guided = official_guided(io, *times, labels == 1)
    signal = SCHEDULE.sqrt_alphas_cumprod[io["train.noisier_t"]]
    assert_matches(guided.pred_x0_norm_guided, io["train.pred_x0_norm_guided"], divided_by=signal)
    assert_matches(loss.reshape(1), io["train.loss"])


def guided_with(model, x_0, weight):
    t = torch.tensor([100, 250])
    normal, noisier = NoiseLevel(t, noise_like(x_0, 1)), NoiseLevel(t + 400, noise_like(x_0, 2))
    return norm_guided_one_step(SCHEDULE, model, x_0, normal, noisier, weight)


def test_guidance_of_weight_zero_changes_nothing():
    x_0 = torch.rand(2, 1, 8, 8, generator=generator())
    guided = guided_with(gaussian_world, x_0, weight=0)
    assert torch.equal(guided.pred_x0_norm_guided, guided.pred_x0_normal)


def test_guidance_moves_the_reconstruction_towards_the_guide():
    x_0 = torch.rand(2, 1, 8, 8, generator=generator())
    guided = guided_with(gaussian_world, x_0, weight=1)
    before = (guided.pred_x0_normal - guided.pred_x0_noisier).abs().mean()
    after = (guided.pred_x0_norm_guided - guided.pred_x0_noisier).abs().mean()
    assert after < before


def test_both_noise_levels_run_as_one_batch():
    x_0 = torch.rand(2, 1, 8, 8, generator=generator())
    model = CountingModel()
    guided = guided_with(model, x_0, weight=1)
    assert len(model.batches) == 1
    assert torch.equal(model.batches[0], torch.cat([guided.x_normal_t, guided.x_noisier_t]))
    assert model.times[0].tolist() == [100, 250, 500, 650]


def train_on(x_0, is_anomalous, model=gaussian_world, seed=0, less_t_range=300):
    levels = random_levels(SCHEDULE, x_0, less_t_range, generator(seed))
    return norm_guided_training(SCHEDULE, model, x_0, is_anomalous, levels, 1.0)


def test_training_times_cover_their_two_ranges():
    model = CountingModel()
    train_on(torch.zeros(20_000, 1, 1, 1), torch.zeros(20_000, dtype=torch.bool), model)
    normal_t, noisier_t = model.times[0].chunk(2)
    assert (normal_t.min(), normal_t.max()) == (0, 299)
    assert (noisier_t.min(), noisier_t.max()) == (300, 999)
    assert normal_t.float().mean().item() == pytest.approx(149.5, rel=0.02)
    assert noisier_t.float().mean().item() == pytest.approx(649.5, rel=0.02)


def test_the_noisier_times_end_where_they_are_told():
    x_0 = torch.zeros(5_000, 1, 1, 1)
    normal, noisier = random_levels(SCHEDULE, x_0, 300, generator(), noisier_t_range=600)
    assert (normal.t.min(), normal.t.max()) == (0, 299)
    assert (noisier.t.min(), noisier.t.max()) == (300, 599)


def test_training_loss_is_the_noise_error_of_the_normal_images():
    x_0, is_anomalous = torch.zeros(4, 1, 8, 8), torch.tensor([True, False, False, True])
    model = CountingModel(lambda x, t: torch.zeros_like(x))
    loss, _ = train_on(x_0, is_anomalous, model)
    # With x_0 = 0, x_t is the noise scaled; with a prediction of 0, the error is the noise.
    x_t, t = model.batches[0], model.times[0]
    noise = x_t / extract(SCHEDULE.sqrt_one_minus_alphas_cumprod, t, 4)
    normal, noisier = noise.square().mean(dim=(1, 2, 3)).chunk(2)
    torch.testing.assert_close(loss, (normal + noisier)[[1, 2]].mean())
    assert not torch.equal(noise[:4], noise[4:])


def test_loss_weights_scale_the_error_of_each_time():
    def loss(weights):
        x_0, normal = torch.rand(1, 1, 8, 8, generator=generator()), torch.tensor([False])
        levels = random_levels(SCHEDULE, x_0, 300, generator())
        loss, _ = norm_guided_training(SCHEDULE, gaussian_world, x_0, normal, levels, 1.0, weights)
        return loss.item()

    small_t = (torch.arange(1000) < 300).double()
    assert loss(None) == loss(torch.ones(1000))
    assert 2 * loss(small_t) + 3 * loss(1 - small_t) == pytest.approx(loss(3 - small_t))


def test_a_batch_of_anomalies_alone_has_loss_zero_and_a_finite_gradient():
    weight = torch.ones(1, requires_grad=True)
    loss, guided = train_on(
        torch.rand(3, 1, 8, 8, generator=generator()),
        torch.ones(3, dtype=torch.bool),
        lambda x, t: weight * gaussian_world(x, t),
    )
    assert loss.item() == 0
    (loss + guided.pred_x0_norm_guided.mean()).backward()
    assert torch.isfinite(weight.grad).all()


def test_one_broken_anomalous_image_does_not_spoil_the_loss():
    values = torch.tensor([1.0, float("nan"), 3.0])
    assert normal_image_mean(values, torch.tensor([False, True, False])).item() == 2


def test_training_follows_its_generator_alone():
    x_0, labels = torch.rand(2, 1, 8, 8, generator=generator()), torch.zeros(2, dtype=torch.bool)
    first, again, other = (train_on(x_0, labels, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].x_noisier_t, again[1].x_noisier_t)
    assert not torch.equal(first[0], other[0])
