import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from diffad_lib import plots
from diffad_lib.metrics import compute_metrics
from diffad_lib.metrics.curves import REGIONS
from diffad_lib.types import TrainingBatch


def texts(legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def lines(axis) -> dict[str, np.ndarray]:
    """Points [T,2] of the lines by their label."""
    return {line.get_label(): line.get_xydata() for line in axis.lines}


def drawn(axis) -> np.ndarray:
    return np.asarray(axis.images[0].get_array())


@pytest.fixture
def test_set():
    """Scores, labels, maps and masks of four normal and six defective images."""
    rng = np.random.default_rng(0)
    masks = np.zeros((10, 16, 16), np.uint8)
    masks[4:, 3:9, 3:9] = 1
    maps = (rng.random(masks.shape) + 0.7 * masks).astype(np.float32)
    masks[5:, 13, 13] = 1  # a region of one pixel, not found
    return maps.mean(axis=(1, 2)), masks.any(axis=(1, 2)).astype(int), maps, masks


def test_image_grid_shows_every_image_with_its_title():
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), np.uint8)
    figure = plots.image_grid(images, titles=list("abcde"), columns=3)
    shown = [axis for axis in figure.axes if axis.images]
    assert len(figure.axes) == 6 and len(shown) == 5
    assert [axis.get_title() for axis in shown] == list("abcde")
    assert np.array_equal(drawn(shown[4]), images[4].transpose(1, 2, 0))
    assert not figure.axes[5].axison


def test_a_title_with_dollars_is_no_formula():
    figure = plots.image_grid(np.zeros((1, 3, 8, 8), np.uint8), titles=["cost_$5_$x^"])
    (axis,) = figure.axes
    assert axis.title._preprocess_math(axis.get_title()) == ("cost_$5_$x^", False)
    figure.canvas.draw()


def test_noised_images_are_stretched_each_by_its_own_mean_and_spread():
    noise = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = torch.stack([3 + 0.1 * noise[0], -1 + 5 * noise[1]])
    shown = plots.stretched(images)
    assert torch.allclose(shown.mean(dim=(1, 2, 3)), torch.tensor(0.5), atol=1e-5)
    assert torch.allclose(shown.std(dim=(1, 2, 3)), torch.tensor(0.25), atol=1e-5)
    assert torch.equal(shown[0] > shown[0, 0, 0, 0], images[0] > images[0, 0, 0, 0])


def test_heat_is_black_at_0_and_brightest_from_its_high_end_on():
    maps = torch.tensor([[[[0.0, 0.3], [0.6, 5.0]]]])
    colours = plots.heat(maps, 0.6)
    assert colours.shape == (1, 3, 2, 2) and colours[0, :, 0, 0].max() < 0.02
    assert torch.equal(colours[0, :, 1, 0], colours[0, :, 1, 1])
    red, green, blue = colours[0, :, 1, 1]
    assert red > 0.9 and green > 0.9 and blue < red
    assert colours[0, :, 0, 1].sum() < colours[0, :, 1, 1].sum()


def test_images_of_every_kind_are_drawn_in_their_range(caplog):
    rgb = torch.full((3, 4, 4), 0.25)
    noisy = torch.full((3, 4, 4), 1.7)  # an x_t, outside [0,1]
    grey = np.full((1, 4, 4), 200, np.uint8)
    mask = torch.ones(1, 4, 4)
    bytes_ = torch.full((3, 4, 4), 90, dtype=torch.uint8)
    half = torch.full((3, 4, 4), 0.5, dtype=torch.bfloat16)
    axes = plots.image_grid([rgb, noisy, grey, mask, bytes_, half]).axes
    assert drawn(axes[0]).shape == (4, 4, 3) and np.allclose(drawn(axes[0]), 0.25)
    assert drawn(axes[1]).max() == 1 and not caplog.records  # matplotlib's, about clipping
    assert drawn(axes[2]).shape == (4, 4) and axes[2].images[0].get_clim() == (0, 255)
    assert drawn(axes[3]).shape == (4, 4) and axes[3].images[0].get_clim() == (0, 1)
    assert drawn(axes[4]).max() == 90 and drawn(axes[4]).dtype == np.uint8
    assert np.allclose(drawn(axes[5]), 0.5)


def test_synthesis_sheet_has_normal_mask_and_anomalous_rows():
    normal, image, mask = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 8, 8), torch.zeros(3, 1, 8, 8)
    mask[1, :, :4, :4] = 1
    figure = plots.synthesis_sheet(TrainingBatch(normal, image, mask), columns=2)
    assert len(figure.axes) == 6
    assert [axis.get_ylabel() for axis in figure.axes[::2]] == ["normal", "mask", "anomalous"]
    assert [axis.get_title() for axis in figure.axes[:2]] == ["left normal", "25.0% anomalous"]
    assert np.allclose(drawn(figure.axes[1]), normal[1].permute(1, 2, 0))
    assert np.array_equal(drawn(figure.axes[3]), mask[1, 0])
    assert np.allclose(drawn(figure.axes[5]), image[1].permute(1, 2, 0))


def test_loss_curves_show_every_term_and_every_learning_rate():
    history = pd.DataFrame(
        {
            "step": [10, 20, 30],
            "seconds": [1.0, 2.0, 3.0],
            "total": [3.0, 2.0, 1.0],
            "focal": [0.3, 0.2, 0.1],
            "l2": [1.3, 1.2, 1.1],
            "lr/segmentation": [1e-3, 1e-4, 1e-5],
        }
    )
    losses, rates = plots.loss_curves(history).axes
    assert set(lines(losses)) == {"total", "focal", "l2"}
    assert np.array_equal(lines(losses)["focal"], [[10, 0.3], [20, 0.2], [30, 0.1]])
    assert np.array_equal(lines(rates)["segmentation"], [[10, 1e-3], [20, 1e-4], [30, 1e-5]])
    assert texts(losses.get_legend()) == ["total", "focal", "l2"]
    assert losses.get_xlabel() == rates.get_xlabel() == "optimiser step"
    assert losses.get_ylabel() == "loss (log scale)" and losses.get_yscale() == "log"
    assert rates.get_ylabel() == "learning rate (log scale)"
    assert len({line.get_color() for line in losses.lines}) == 3


def by_name(axis, start: str) -> np.ndarray:
    return next(points for label, points in lines(axis).items() if label.startswith(start))


def test_curves_have_the_areas_that_their_legend_states(test_set):
    metrics = compute_metrics(*test_set, fpr_limit=0.2)
    roc, pr, pro = plots.roc_pr_pro_curves(*test_set, metrics, fpr_limit=0.2).axes
    for axis, name, key in (
        (roc, "image AUROC", "image_auroc"),
        (roc, "pixel AUROC", "pixel_auroc"),
    ):
        points = by_name(axis, f"{name}: {metrics[key].value:.3f} [{metrics[key].low:.3f}, ")
        assert np.array_equal(points[[0, -1]], [[0, 0], [1, 1]])
        assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(
            metrics[key].value, abs=1e-3
        )
    precision = by_name(pr, f"pixel AP: {metrics['pixel_ap'].value:.3f}")
    assert precision[-1] == pytest.approx([1, test_set[3].mean()])
    overlap = by_name(pro, f"AUPRO up to 0.2: {metrics['aupro'].value:.3f}")
    x = np.linspace(0, 0.2, 5000)
    area = np.trapezoid(np.interp(x, overlap[:, 0], overlap[:, 1]), x) / 0.2
    assert area == pytest.approx(metrics["aupro"].value, abs=2e-3)
    filled = pro.collections[0].get_paths()[0].get_extents()
    assert filled.x1 == pytest.approx(0.2)
    assert by_name(pro, "limit")[:, 0] == pytest.approx([0.2, 0.2])
    assert [axis.get_xlabel() for axis in (roc, pr, pro)] == [
        "false-positive rate",
        "recall",
        "false-positive rate of pixels",
    ]
    assert [axis.get_ylabel() for axis in (roc, pr, pro)] == [
        "true-positive rate",
        "precision",
        "per-region overlap",
    ]


def test_numbered_regions_change_the_region_curve_alone(test_set):
    scores, labels, maps, masks = test_set
    regions = masks.astype(REGIONS)
    regions[:, : masks.shape[1] // 2] *= 7  # two numbers where the mask shows one region
    whole = plots.roc_pr_pro_curves(*test_set, compute_metrics(*test_set)).axes
    metrics = compute_metrics(scores, labels, maps, regions)
    parts = plots.roc_pr_pro_curves(scores, labels, maps, regions, metrics).axes
    for before, after, start in zip(
        whole, parts, ("pixel AUROC", "pixel AP", "AUPRO"), strict=True
    ):
        same = np.array_equal(by_name(before, start), by_name(after, start))
        assert same == (start != "AUPRO")


def test_a_perfect_detector_still_gets_its_area_filled(test_set):
    _, labels, _, masks = test_set
    metrics = compute_metrics(labels, labels, masks, masks)
    pro = plots.roc_pr_pro_curves(labels, labels, masks, masks, metrics).axes[2]
    extents = pro.collections[0].get_paths()[0].get_extents()
    assert [extents.x0, extents.x1, extents.y1] == pytest.approx([0, 0.3, 1])


def test_undefined_curves_are_left_out_and_named(test_set):
    scores, labels, maps, masks = test_set
    empty = np.zeros_like(masks)
    metrics = compute_metrics(scores, labels, maps, empty)
    roc, _, pro = plots.roc_pr_pro_curves(scores, labels, maps, empty, metrics).axes
    assert len(lines(roc)["pixel AUROC: undefined"]) == 0
    assert "AUPRO up to 0.3: undefined" in texts(pro.get_legend())
    assert len(by_name(roc, "image AUROC: ")) > 2


def test_many_points_are_thinned_without_moving_the_curve():
    y = np.sqrt(np.linspace(0, 1, 200_000))
    x = np.linspace(0, 1, 200_000)
    thin_x, thin_y = plots._thinned(x, y)
    assert len(thin_x) <= 2002
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (0, 0, 1, 1)
    assert np.abs(np.interp(x, thin_x, thin_y) - y).max() < 2e-3


def test_histogram_counts_every_image_once(test_set):
    scores, labels, _, _ = test_set
    axis = plots.score_histogram(scores, labels).axes[0]
    normal, defect = axis.containers
    assert sum(bar.get_height() for bar in normal) == 4
    assert sum(bar.get_height() for bar in defect) == 6
    assert texts(axis.get_legend()) == ["normal (4 images)", "defect (6 images)"]
    assert axis.get_xlabel() == "image score (higher is more anomalous)"
    assert axis.get_ylabel() == "test images"
    assert to_rgb(normal[0].get_facecolor()) != to_rgb(defect[0].get_facecolor())
    bars = [bar for bar in defect if bar.get_height()]
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(scores.max())


def test_histogram_of_equal_scores_is_one_bar():
    axis = plots.score_histogram(np.full(5, 0.5), [0, 0, 1, 1, 1]).axes[0]
    assert [sum(bar.get_height() for bar in bars) for bars in axis.containers] == [2, 3]
    assert texts(axis.get_legend()) == ["normal (2 images)", "defect (3 images)"]


def test_example_rows_are_the_extremes_of_each_kind():
    scores = np.array([0.1, 0.9, 0.3, 0.2, 0.8, 0.5, 0.4])
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    rows = {group: list(indices) for group, indices in plots.example_rows(scores, labels).items()}
    assert rows == {
        "best: defect scored high": [4, 5],
        "best: normal scored low": [0, 2],
        "worst: defect scored low": [3, 6],
        "worst: normal scored high": [1, 2],
    }
    few = plots.example_rows(scores[:1], labels[:1])
    assert [len(indices) for indices in few.values()] == [0, 1, 0, 1]


def test_prediction_sheet_draws_the_rows_on_one_stated_scale(test_set):
    scores, labels, maps, masks = test_set
    images = np.random.default_rng(1).integers(0, 256, (10, 3, 16, 16), np.uint8)
    rows = plots.example_rows(scores, labels, count=1)
    order = np.concatenate(list(rows.values()))
    reconstructions = torch.rand(4, 3, 16, 16)
    for shaped in (masks, masks[:, None]):
        figure = plots.prediction_sheet(rows, images, reconstructions, maps, shaped, scores)
        panels, bar = np.array(figure.axes[:-1]).reshape(4, 4), figure.axes[-1]
        for number, index in enumerate(order):
            image, reconstruction, anomaly_map, truth = (drawn(axis) for axis in panels[number])
            assert np.array_equal(image, images[index].transpose(1, 2, 0))
            assert np.allclose(reconstruction, reconstructions[number].permute(1, 2, 0))
            assert np.array_equal(anomaly_map, maps[index])
            assert np.array_equal(truth, masks[index])
            assert f"score {scores[index]:.3f}" in panels[number, 0].get_ylabel()
    assert {axis.images[0].get_clim() for axis in panels[:, 2]} == {
        (maps.min(), np.quantile(maps, 0.999))
    }
    assert panels[0, 0].get_ylabel().startswith("best\ndefect scored high")
    assert [axis.get_title() for axis in panels[0]] == [
        "image",
        "reconstruction",
        "anomaly map",
        "ground truth",
    ]
    assert "one scale for all" in bar.get_xlabel()


def test_figures_are_not_shown_twice(test_set):
    plots.score_histogram(*test_set[:2])
    assert plt.get_fignums() == []
