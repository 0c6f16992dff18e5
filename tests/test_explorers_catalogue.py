"""The five explorers: their render functions against values worked out by hand."""

import numpy as np
import pytest
import torch

from diffad_lib.course.explorers import (
    Diffusion,
    Explorer,
    guidance_explorer,
    synthesis_explorer,
    threshold_explorer,
    timestep_explorer,
    trajectory_explorer,
)
from diffad_lib.course.explorers.pictures import coloured, rgb
from diffad_lib.course.explorers.reconstruction import remembering
from diffad_lib.diffusion.denoising import NoiseLevel, ddim_denoise, norm_guided_one_step
from diffad_lib.diffusion.process import predict_eps_from_x0, q_sample
from diffad_lib.diffusion.schedule import Schedule, linear_betas
from diffad_lib.errors import DiffadError
from diffad_lib.metrics import aupro
from diffad_lib.mini.texture_bank import builtin_textures
from diffad_lib.plots import SKY, VERMILION, YELLOW
from diffad_lib.synthesis.augment import augment
from diffad_lib.synthesis.perlin import perlin_masks
from diffad_lib.synthesis.synthesizer import shuffle_patches

HALVES = Schedule.from_betas(torch.tensor([0.5, 0.5, 0.5]))  # ᾱ = 1/2, 1/4, 1/8
TWENTY = Schedule.from_betas(torch.full((20,), 0.05))
GREY = torch.full((3, 8, 8), 0.5)


def seeded_noise(seed: int, size: int = 8) -> torch.Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Counted:
    """A network that predicts 0.1 x_t + t / 100 and remembers how many images it saw."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        self.images += len(x_t)
        return 0.1 * x_t + t.view(-1, 1, 1, 1) / 100


def test_timesteps_noise_the_image_and_tell_its_snr():
    view = timestep_explorer(GREY, HALVES, seed=3).render(t=1)
    x_t = 0.5 * 0.5 + 0.75**0.5 * seeded_noise(3)[0]
    shown = 0.5 + (x_t - x_t.mean()) / (4 * x_t.std())
    assert np.array_equal(view.tiles["x_t, contrast stretched"], rgb(shown))
    assert (view.tiles["x₀"] == 128).all() and len(view.tiles) == 3
    assert view.caption == (
        "t = 1 of 0 … 2: x_t = 0.500 x₀ + 0.866 ε; SNR 0.3333 (-4.8 dB)"
    )  # ᾱ / (1 - ᾱ) = 1/3


def dented(depth: float) -> torch.Tensor:
    """GREY with four pixels changed in three colours: ‖d‖² = 12 depth²."""
    image = GREY.clone()
    image[:, 2:4, 5:7] -= depth
    return image


def test_timesteps_show_the_clean_twin_in_the_same_noise_and_tell_d_prime():
    explorer = timestep_explorer(dented(0.4), HALVES, seed=3, twin=GREY)
    alone = timestep_explorer(dented(0.4), HALVES, seed=3)
    of_twin = timestep_explorer(GREY, HALVES, seed=3).render(t=1)
    view = explorer.render(t=1)
    x_t, clean_t = "x_t, contrast stretched", "x_t of the clean twin"
    assert list(view.tiles) == ["x₀", x_t, clean_t, "share of image and noise"]
    assert np.array_equal(view.tiles[clean_t], of_twin.tiles[x_t])
    assert np.array_equal(view.tiles[x_t], alone.render(t=1).tiles[x_t])
    assert not np.array_equal(view.tiles[x_t], view.tiles[clean_t])
    # SNR 1 and 1/3: d′ = √1.92 √SNR, AUROC = Φ(d′/√2) = Φ(0.980) and Φ(0.566).
    told = "; d′ 1.39, AUROC of the best detector 0.84"
    assert explorer.render(t=0).caption.endswith(told)
    assert view.caption == alone.render(t=1).caption + (
        "; d′ 0.80 (lost), AUROC of the best detector 0.71"
    )


def test_d_prime_counts_the_contrast_of_the_range():
    signed = timestep_explorer(2 * dented(0.4) - 1, HALVES, (-1, 1), twin=2 * GREY - 1)
    assert "; d′ 1.60, " in signed.render(t=1).caption


def test_the_static_slider_and_the_widget_show_the_twin_and_d_prime():
    explorer = timestep_explorer(dented(0.4), HALVES, twin=GREY)
    page, widget = explorer.html(), explorer.live(t=(1,)).children[-1].value
    for face in (page, widget):
        assert "x_t of the clean twin" in face and "d′ 0.80 (lost)" in face


@pytest.mark.parametrize(
    ("twin", "told"),
    [
        (torch.full((3, 9, 9), 0.5), r"the twin \[3, 9, 9\] does not fit the image \[3, 8, 8\]"),
        (GREY, "the twin equals the image"),
        (2 * GREY + 1, r"2 to 2, outside \[0, 1\]"),
    ],
)
def test_a_twin_that_is_none_is_refused(twin, told):
    with pytest.raises(DiffadError, match=told):
        timestep_explorer(GREY, HALVES, twin=twin)


def test_timesteps_mark_t_on_the_schedule():
    explorer = timestep_explorer(GREY, HALVES)
    tiles = [explorer.render(t=t).tiles["share of image and noise"] for t in (0, 1, 2)]
    # The marker is the column with the most black below the axis of the plot's left edge.
    columns = [(tile[:, 70:].max(axis=2) < 60).sum(axis=0).argmax() for tile in tiles]
    assert columns[0] < columns[1] < columns[2]


def test_timesteps_cover_the_schedule_from_its_first_to_its_last_step():
    (slider,) = timestep_explorer(GREY, Schedule.from_betas(linear_betas())).parameters
    assert slider.values[0] == 0 and slider.values[-1] == 999 and 20 <= len(slider.values) <= 30
    assert slider.values[slider.start] == 200
    (slider,) = timestep_explorer(GREY, HALVES).parameters
    assert slider.values == (0, 1, 2)


def test_a_signed_image_is_shown_in_its_range():
    view = timestep_explorer(torch.zeros(3, 8, 8), HALVES, (-1, 1)).render(t=0)
    assert (view.tiles["x₀"] == 128).all()


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "no float tensor"),
        (torch.zeros(1, 3, 8, 8), r"\[1, 3, 8, 8\]; give one image"),
        (torch.zeros(1, 8, 8), r"\[1, 8, 8\]; give one image"),
        (torch.full((3, 8, 8), 255.0), r"255 to 255, outside \[0, 1\]"),
        (torch.full((3, 8, 8), torch.nan), "outside"),
    ],
)
def test_an_image_that_is_none_is_refused(image, told):
    with pytest.raises(DiffadError, match=told):
        timestep_explorer(image, HALVES)


def test_trajectories_are_walked_once_and_in_order():
    network = Counted()
    explorer = trajectory_explorer(GREY, Diffusion(TWENTY, network), starts=(9, 15), ddim_steps=2)
    captions = [explorer.render(percent, 9, "ancestral").caption for percent in (0, 50, 100)]
    places = [caption.split(":")[0].split(" made, ")[1] for caption in captions]
    assert places == ["x is at t = 9", "x is at t = 4", "x is at the end"]
    assert [caption.split(", ")[1][:2] for caption in captions] == ["0 ", "5 ", "10"]
    assert network.images == 10 + 1  # ten steps, and the one step
    explorer.render(50, 9, "DDIM-2")
    assert network.images == 10 + 1 + 2 + 1


def test_a_ddim_trajectory_shows_the_states_of_the_sampler():
    explorer = trajectory_explorer(
        GREY, Diffusion(TWENTY, Counted()), starts=(9,), ddim_steps=2, seed=5
    )
    x_t = q_sample(TWENTY, GREY[None], torch.tensor([9]), seeded_noise(5))
    steps = []
    end = ddim_denoise(TWENTY, Counted(), x_t, 9, 2, steps.append)
    first, half, last = (explorer.render(percent, 9, "DDIM-2").tiles for percent in (0, 50, 100))
    assert np.array_equal(first["x on its way"], rgb(x_t[0]))
    assert np.array_equal(first["x̂₀ predicted from it"], first["x̂₀ in one step"])
    assert np.array_equal(half["noised to the start"], rgb(x_t[0]))
    assert np.array_equal(half["x on its way"], rgb(steps[1]["x"][0]))
    assert np.array_equal(half["x̂₀ predicted from it"], rgb(steps[1]["pred_x0"][0]))
    assert np.array_equal(last["x on its way"], rgb(end[0]))
    assert np.array_equal(last["x̂₀ predicted from it"], rgb(end[0]))
    assert not np.array_equal(half["x on its way"], last["x on its way"])


def test_the_errors_of_a_trajectory_are_split_by_the_mask():
    mask = np.zeros((8, 8), int)
    mask[:4] = 1
    repaired = GREY.clone()
    repaired[:, :4] = 0.25  # the network knows this image: off by 1/4 in the defect only

    def knows(x_t, t):
        return predict_eps_from_x0(TWENTY, x_t, t, repaired[None])

    view = trajectory_explorer(GREY, Diffusion(TWENTY, knows), (9,), 2, mask).render(
        50, 9, "DDIM-2"
    )
    numbers = "0.000 (normal), 0.250 (defect)"
    assert view.caption.endswith(f"mean |x₀ − x̂₀| {numbers}; in one step {numbers}")


def test_guidance_shows_what_the_library_computes():
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1))
    explorer = guidance_explorer(
        image, Diffusion(TWENTY, Counted()), (3, 5), (8, 15), (0.0, 0.3), seed=7
    )
    view = explorer.render(t_s=5, t_b=15, share=0.3)
    w = 0.3 / (1 - TWENTY.alphas_cumprod[5].item())  # chapter 05: λ = w (1 − ᾱ)
    guided = norm_guided_one_step(
        TWENTY, Counted(), image[None], NoiseLevel(torch.tensor([5]), seeded_noise(7)),
        NoiseLevel(torch.tensor([15]), seeded_noise(8)), w,
    )  # fmt: skip
    assert np.array_equal(view.tiles["norm-guided x̂₀"], rgb(guided.pred_x0_norm_guided[0]))
    assert np.array_equal(view.tiles["one step from t_s"], rgb(guided.pred_x0_normal[0]))
    assert np.array_equal(view.tiles["one step from t_b"], rgb(guided.pred_x0_noisier[0]))
    residual = (image - guided.pred_x0_norm_guided[0]).abs().mean(dim=0)
    assert np.array_equal(
        view.tiles["|x₀ − x̂₀|, black 0, yellow ≥ 0.5"], coloured(residual, (0, 0.5))
    )
    mixed = 0.7 * guided.pred_x0_normal + 0.3 * guided.pred_x0_noisier
    results = torch.stack([guided.pred_x0_normal, guided.pred_x0_norm_guided])
    inside = (results.abs() < 1).all(dim=0)  # what was not clamped
    torch.testing.assert_close(mixed.float()[inside], guided.pred_x0_norm_guided[inside])
    assert view.caption == (
        f"t_s = 5, t_b = 15, λ = 0.3, so w = {w:.2f}: mean |x₀ − x̂₀| {residual.mean():.3f}"
    )
    unguided = explorer.render(t_s=5, t_b=15, share=0.0).tiles
    assert np.array_equal(unguided["norm-guided x̂₀"], unguided["one step from t_s"])
    assert not np.array_equal(view.tiles["norm-guided x̂₀"], unguided["norm-guided x̂₀"])


def test_a_remembered_prediction_belongs_to_its_image_and_its_time():
    network = Counted()
    model = remembering(network)
    x_t, t = torch.stack([GREY, GREY, 0 * GREY, GREY]), torch.tensor([1, 2, 1, 1])
    for _ in range(2):
        assert torch.equal(model(x_t, t), Counted()(x_t, t))
    assert network.images == 3


def test_guidance_asks_the_network_once_for_every_time():
    network = Counted()
    guidance_explorer(GREY, Diffusion(TWENTY, network), (3, 5), (8, 15), (0.0, 0.3, 1.0)).html()
    assert network.images == 4


def test_guidance_starts_at_the_choice_of_the_paper():
    schedule = Schedule.from_betas(linear_betas())
    explorer = guidance_explorer(GREY, Diffusion(schedule, Counted()))
    start = {p.name: p.values[p.start] for p in explorer.parameters}
    assert start == {"t_s": 200, "t_b": 400, "share": 0.34}
    assert start["share"] == pytest.approx(1 - schedule.alphas_cumprod[200].item(), abs=0.005)
    assert ", λ = 0.34, so w = 0.99: " in explorer.render(**start).caption


def test_guidance_offers_the_matched_noise_and_starts_at_the_nearest_values():
    schedule = Schedule.from_betas(linear_betas())
    diffusion = Diffusion(schedule, Counted())
    t_s, t_b, _ = guidance_explorer(GREY, diffusion).parameters
    assert 52 in t_s.values and 147 in t_b.values
    far = guidance_explorer(GREY, diffusion, (20, 150, 290), (330, 600), (0.0, 0.5, 0.9))
    assert [p.values[p.start] for p in far.parameters] == [150, 330, 0.5]


@pytest.fixture
def synthesis():
    """A grey image, of which the left half is foreground, and two textures."""
    foreground = np.zeros((1, 64, 64), np.uint8)
    foreground[..., :32] = 1
    return synthesis_explorer(
        torch.full((3, 64, 64), 0.5), builtin_textures(64, 2), foreground, betas=(0.0, 0.5), seed=2
    )


AT = {"scale": (4, 4), "threshold": 0.5, "beta": 0.0, "source": "texture 2", "foreground": "off"}


def test_synthesis_pastes_the_source_where_the_noise_is_above_the_threshold(synthesis):
    tiles = synthesis.render(**AT).tiles
    mask = tiles["mask M"][..., 0] == 255
    library = perlin_masks(torch.tensor([[4, 4]]), 64, 64, torch.Generator().manual_seed(2))
    assert np.array_equal(mask, library[0, 0].numpy() == 1) and 0.01 < mask.mean() < 0.5
    assert (tiles["Perlin noise, −1 black, 1 white"][mask] >= 191).all()  # 0.5 of -1 … 1
    assert np.array_equal(tiles["anomalous image"][mask], tiles["source A, augmented"][mask])
    assert (tiles["anomalous image"][~mask] == 128).all()
    higher = synthesis.render(**AT | {"threshold": 0.6}).tiles["mask M"][..., 0] == 255
    assert higher.sum() < mask.sum() and not (higher & ~mask).any()


def test_synthesis_lets_the_image_show_through_by_beta(synthesis):
    view = synthesis.render(**AT | {"beta": 0.5})
    mask = view.tiles["mask M"][..., 0] == 255
    blend = (view.tiles["source A, augmented"][mask].astype(int) + 128) / 2
    assert np.abs(view.tiles["anomalous image"][mask] - blend).max() <= 1
    assert view.caption.endswith("β = 0.5: 50% of the image shows through; source: texture 2")


def test_synthesis_keeps_the_mask_on_the_object(synthesis):
    everywhere, kept = (synthesis.render(**AT | {"foreground": f}) for f in ("off", "on"))
    free, inside = (view.tiles["mask M"][..., 0] == 255 for view in (everywhere, kept))
    assert free[:, 32:].any() and not inside[:, 32:].any()
    assert np.array_equal(free[:, :32], inside[:, :32])
    total, stray = free.sum(), free[:, 32:].sum()
    assert (
        f"covers {free.mean():.1%} of the image, {stray} of its {total} pixels"
        in everywhere.caption
    )
    assert f", 0 of its {inside.sum()} pixels beside the object" in kept.caption


def test_synthesis_draws_the_source_from_a_texture_or_from_the_image_itself(synthesis):
    sources = {
        name: synthesis.render(**AT | {"source": name}).tiles["source A, augmented"]
        for name in ("texture 1", "texture 2", "own patches")
    }
    assert not np.array_equal(sources["texture 1"], sources["texture 2"])
    generator = torch.Generator().manual_seed(2)
    own = shuffle_patches(augment(torch.full((1, 3, 64, 64), 0.5), generator), generator)
    assert np.array_equal(sources["own patches"], rgb(own[0]))


def test_without_a_foreground_there_is_nothing_to_switch():
    explorer = synthesis_explorer(GREY, np.zeros((1, 3, 8, 8), np.uint8))
    assert [p.name for p in explorer.parameters] == ["scale", "threshold", "beta", "source"]
    settings = {p.name: p.values[p.start] for p in explorer.parameters}
    assert "object" not in explorer.render(**settings).caption
    with pytest.raises(DiffadError, match=r"textures are float64 \[1, 3, 8, 8\]; give uint8"):
        synthesis_explorer(GREY, np.zeros((1, 3, 8, 8)))
    with pytest.raises(DiffadError, match=r"give uint8 \[M,3,8,8\]"):
        synthesis_explorer(GREY, np.zeros((1, 3, 16, 16), np.uint8))


MASK = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]])
SCORES = np.array(
    [[0.9, 0.2, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1], [0.1, 0.8, 0.1, 0.3], [0.1, 0.1, 0.1, 0.1]]
)


def test_a_threshold_is_worth_its_precision_recall_and_overlap():
    explorer = threshold_explorer(torch.zeros(3, 4, 4), SCORES, MASK)
    # Marked: (0,0), half of the first region, and (2,1), false. The second region is missed.
    view = explorer.render(threshold=0.5)
    area = aupro(SCORES[None], MASK[None])
    assert view.caption == (
        "threshold 0.5: precision 0.50, recall 0.33, "
        f"region overlap 0.25 (AUPRO {area:.2f}); 1 false-positive pixels, 7.7% of the normal ones"
    )
    assert "recall 0.67, region overlap 0.75" in explorer.render(threshold=0.3).caption  # >=
    nothing = explorer.render(threshold=1.0).caption
    assert "precision undefined, recall 0.00" in nothing and "0 false-positive" in nothing


def test_the_outcome_of_every_pixel_has_its_colour():
    view = threshold_explorer(torch.zeros(3, 4, 4), SCORES, MASK).render(threshold=0.5)
    outcome = view.tiles["blue hit, yellow missed, orange false"]
    names = {tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)): c for c in (SKY, YELLOW, VERMILION)}
    seen = {
        (row, column): names[tuple(outcome[row, column].tolist())]
        for row, column in np.argwhere(outcome.any(axis=2)).tolist()
    }
    assert seen == {(0, 0): SKY, (0, 1): YELLOW, (2, 3): YELLOW, (2, 1): VERMILION}


def test_the_pro_curve_moves_its_marker_with_the_threshold():
    explorer = threshold_explorer(torch.zeros(3, 4, 4), SCORES, MASK)
    plots = [explorer.render(threshold=t).tiles["PRO curve of this image"] for t in (0.1, 0.5)]
    dark = [np.argwhere(plot[:160, 75:].max(axis=2) < 60).mean(axis=0) for plot in plots]
    assert dark[0][1] > dark[1][1] + 200  # right: all pixels marked
    assert dark[0][0] < dark[1][0] - 80  # and above: all regions found


def test_a_live_threshold_starts_where_something_is_marked():
    scores = torch.linspace(0, 0.46, 64).view(8, 8)
    explorer = threshold_explorer(GREY, scores, scores > 0.4)
    values = np.arange(0.01, 1, 0.01).round(2).tolist()  # half of them mark nothing
    (row, screen) = explorer.live(threshold=values).children
    (offered,) = explorer.parameters
    assert abs(row.children[0].value - offered.values[offered.start]) < 0.006
    assert "precision undefined" not in screen.value


def test_thresholds_rise_from_half_of_the_image_to_its_last_pixels():
    scores = np.random.default_rng(0).random((64, 64)) ** 3
    mask = np.zeros((64, 64), int)
    mask[:8, :8] = 1
    (slider,) = threshold_explorer(torch.zeros(3, 64, 64), scores, mask).parameters
    assert list(slider.values) == sorted(set(slider.values)) and len(slider.values) == 25
    assert [float(text) for text in slider.texts] == list(slider.values)
    shares = [(scores >= value).mean() for value in slider.values]
    assert abs(shares[0] - 0.5) < 0.01 and 0 < shares[-1] < 0.002


@pytest.mark.parametrize(
    ("scores", "mask", "told"),
    [
        (SCORES, np.zeros((4, 4)), "needs both 0 and 1"),
        (SCORES, 255 * MASK, "needs both 0 and 1"),
        (SCORES, np.zeros((8, 8)), "does not fit the image"),
        (SCORES[:2], MASK, "finite and of the mask's shape"),
        (SCORES * np.nan, MASK, "finite"),
    ],
)
def test_maps_and_masks_that_do_not_fit_are_refused(scores, mask, told):
    with pytest.raises(DiffadError, match=told):
        threshold_explorer(torch.zeros(3, 4, 4), scores, mask)


def noisy_explorers() -> list[Explorer]:
    """Every explorer with its default values, and pictures that compress as badly as noise."""
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(3, 64, 64, generator=rng)
    schedule = Schedule.from_betas(linear_betas())
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 1

    def network(x_t, t):
        return predict_eps_from_x0(schedule, x_t, t, torch.rand(x_t.shape, generator=rng))

    return [
        timestep_explorer(image, schedule, twin=1 - image),
        trajectory_explorer(image, Diffusion(schedule, network), mask=mask),
        guidance_explorer(image, Diffusion(schedule, network), mask=mask),
        synthesis_explorer(image, builtin_textures(64, 1), mask),
        threshold_explorer(image, torch.rand(64, 64, generator=rng), mask),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("explorer", noisy_explorers(), ids=lambda e: e.title)
def test_the_default_values_keep_a_notebook_small(explorer):
    assert len(explorer.html().encode()) < 600_000
    assert len(explorer.sheet_settings()) <= 7
