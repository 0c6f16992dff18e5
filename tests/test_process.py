import pytest
import torch

from diffad_lib.diffusion.process import (
    gaussian_noise,
    p_mean_variance,
    p_sample,
    predict_eps_from_x0,
    predict_x0_from_eps,
    q_posterior_mean_variance,
    q_sample,
    snr,
)
from diffad_lib.diffusion.schedule import Schedule, linear_betas
from diffad_lib.methods.diffusionad.official import load_diffusionad
from reference import (
    DIFFUSIONAD_CHECKPOINT,
    assert_matches,
    needs_reference,
    reference_tensors,
)

SCHEDULE = Schedule.from_betas(linear_betas(1000))


def images(batch=2, seed=0):
    return torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@needs_reference
def test_p_mean_variance_equals_the_official_one():
    detector = load_diffusionad([DIFFUSIONAD_CHECKPOINT])
    io = reference_tensors("diffusionad_small_io.safetensors")
    with torch.inference_mode():
        step = p_mean_variance(detector.schedule, detector.denoising, io["in.x_t"], io["in.t"])
    signal = SCHEDULE.sqrt_alphas_cumprod[io["in.t"]]
    assert_matches(step.mean, io["p.mean"])
    assert_matches(step.pred_x0, io["p.pred_x0"], divided_by=signal)
    assert_matches(step.variance.expand_as(step.mean), io["p.variance"])
    assert_matches(step.log_variance.expand_as(step.mean), io["p.log_variance"])


def q_step(x, t, noise):
    """x_t from x_{t-1} (Ho et al. 2020, eq. 2)."""
    beta = SCHEDULE.betas[t].item()
    return (1 - beta) ** 0.5 * x + beta**0.5 * noise


def test_steps_without_noise_shrink_the_image_as_the_closed_form_does():
    x = x_0 = images()
    for t in range(301):
        x = q_step(x, t, torch.zeros_like(x))
    closed = q_sample(SCHEDULE, x_0, torch.full((2,), 300), torch.zeros_like(x_0))
    torch.testing.assert_close(x, closed, rtol=1e-4, atol=1e-6)


def test_noise_of_many_steps_has_the_variance_of_the_closed_form():
    noise_fn = gaussian_noise(torch.Generator().manual_seed(0))
    x = torch.zeros(1, 1, 400, 400)
    for t in range(101):
        x = q_step(x, t, noise_fn(x, torch.tensor([t])))
    assert x.mean().item() == pytest.approx(0, abs=0.005)
    expected = 1 - SCHEDULE.alphas_cumprod[100].item()
    assert x.var().item() == pytest.approx(expected, rel=0.015)


def test_x0_and_eps_are_two_views_of_the_same_x_t():
    x_0, noise, t = images(3), torch.randn(3, 3, 8, 8), torch.tensor([0, 200, 999])
    x_t = q_sample(SCHEDULE, x_0, t, noise)
    recovered = predict_x0_from_eps(SCHEDULE, x_t, t, noise)
    assert_matches(recovered, x_0, divided_by=SCHEDULE.sqrt_alphas_cumprod[t])
    eps = predict_eps_from_x0(SCHEDULE, x_t, t, x_0)
    torch.testing.assert_close(eps, noise, rtol=0, atol=1e-4)


@pytest.mark.parametrize("t", [1, 2, 200, 999])
def test_posterior_follows_from_bayes_rule(t):
    x_0, x_t = images(1, seed=1), images(1, seed=2)
    beta, before = SCHEDULE.betas[t], SCHEDULE.alphas_cumprod[t - 1]
    # A product of two Gaussians in x_{t-1}: precisions add, means are weighted by them.
    precision = (1 - beta) / beta + 1 / (1 - before)
    mean = ((1 - beta).sqrt() / beta * x_t + before.sqrt() / (1 - before) * x_0) / precision
    posterior = q_posterior_mean_variance(SCHEDULE, x_0, x_t, torch.tensor([t]))
    torch.testing.assert_close(posterior.mean, mean.float())
    assert posterior.variance.item() == pytest.approx(1 / precision.item(), rel=1e-5)
    assert posterior.log_variance.exp().item() == pytest.approx(1 / precision.item(), rel=1e-5)


def test_posterior_at_the_first_step_is_x0_itself():
    x_0, x_t = images(1, seed=1), images(1, seed=2)
    posterior = q_posterior_mean_variance(SCHEDULE, x_0, x_t, torch.tensor([0]))
    torch.testing.assert_close(posterior.mean, x_0)
    assert posterior.variance.item() == 0
    assert torch.isfinite(posterior.log_variance).all()


def test_p_mean_variance_clamps_the_predicted_image():
    step = p_mean_variance(
        SCHEDULE, lambda x, t: -9 * torch.ones_like(x), images(), torch.tensor([500, 0])
    )
    assert step.pred_x0[0].min() == 1
    assert step.pred_x0.abs().max() <= 1


def test_p_sample_adds_the_given_noise_except_at_the_last_step():
    x_t, t = images(), torch.tensor([0, 400])
    noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(3))
    asked = []

    def noise_fn(x, times):
        asked.append((x, times))
        return noise

    def model(x, times):
        return 0.1 * x

    step = p_mean_variance(SCHEDULE, model, x_t, t)
    drawn = p_sample(SCHEDULE, model, x_t, t, noise_fn)
    assert torch.equal(drawn.sample[0], step.mean[0])
    spread = SCHEDULE.betas[400].sqrt().item()
    torch.testing.assert_close(drawn.sample[1], step.mean[1] + spread * noise[1])
    assert torch.equal(drawn.pred_x0, step.pred_x0)
    assert len(asked) == 1
    assert asked[0][0] is x_t
    assert asked[0][1] is t


def test_gaussian_noise_follows_its_generator_alone():
    x = images()
    draws = [gaussian_noise(torch.Generator().manual_seed(seed))(x, None) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_snr_falls_from_almost_clean_to_almost_noise():
    ratio = snr(SCHEDULE)
    assert (ratio.diff() < 0).all()
    assert ratio[0].item() == pytest.approx(9999, rel=1e-3)
    assert ratio[-1].item() == pytest.approx(4.036e-5, rel=1e-3)
