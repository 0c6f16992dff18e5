import pytest
import torch

from diffad_lib.diffusion.schedule import (
    Schedule,
    cosine_betas,
    extract,
    linear_betas,
    min_snr_weights,
)
from reference import needs_reference, reference_json


@needs_reference
@pytest.mark.parametrize(("name", "betas"), [("linear", linear_betas), ("cosine", cosine_betas)])
def test_constants_equal_the_official_ones(name, betas):
    schedule = Schedule.from_betas(betas(1000))
    for constant, by_t in reference_json("schedules.json")[name].items():
        values = getattr(schedule, constant)
        for t, expected in by_t.items():
            assert values[int(t)].item() == pytest.approx(expected, rel=1e-9, abs=1e-15), constant


def test_linear_betas_scale_with_the_number_of_steps():
    assert linear_betas(1000)[[0, -1]].tolist() == pytest.approx([1e-4, 0.02])
    assert linear_betas(100)[[0, -1]].tolist() == pytest.approx([1e-3, 0.2])


def test_cosine_betas_are_capped():
    assert cosine_betas(50).max().item() == 0.999


def test_model_variance_is_fixed_large():
    schedule = Schedule.from_betas(linear_betas(100))
    assert schedule.model_variance[0] == schedule.posterior_variance[1]
    assert torch.equal(schedule.model_variance[1:], schedule.betas[1:])
    assert torch.equal(schedule.model_log_variance, schedule.model_variance.log())


def test_constants_stay_float64_and_are_cast_when_used():
    schedule = Schedule.from_betas(linear_betas(100).float())
    assert schedule.timesteps == 100
    assert schedule.sqrt_one_minus_alphas_cumprod.dtype == torch.float64
    picked = extract(schedule.betas, torch.tensor([3, 0]), 4)
    assert picked.dtype == torch.float32
    assert picked.shape == (2, 1, 1, 1)
    assert picked.flatten().tolist() == schedule.betas[[3, 0]].float().tolist()


@pytest.mark.parametrize(
    "betas", [[0.0, 0.1], [0.1, 1.0], [0.1], [[0.1, 0.2]], [0.1, float("nan")]]
)
def test_betas_outside_the_open_unit_interval_are_refused(betas):
    with pytest.raises(ValueError, match="betas"):
        Schedule.from_betas(torch.tensor(betas))


def test_min_snr_weights_make_the_error_of_the_image_count_by_the_capped_snr():
    schedule = Schedule.from_betas(torch.tensor([0.1, 0.5, 0.5]))  # SNR 9, 9/11, 9/31
    assert min_snr_weights(schedule).tolist() == pytest.approx([5 / 9, 1, 1])
    assert min_snr_weights(schedule, limit=0.5).tolist() == pytest.approx([1 / 18, 11 / 18, 1])
