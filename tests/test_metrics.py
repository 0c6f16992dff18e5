import itertools
import math
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from diffad_lib.errors import DiffadError
from diffad_lib.metrics import (
    METRICS,
    Metric,
    aupro,
    compute_metrics,
    image_ap,
    image_auroc,
    pixel_ap,
    pixel_auroc,
    pr_curve,
    pro_curve,
    roc_curve,
)
from diffad_lib.metrics.intervals import draw_images, resampled
from reference import REFERENCE, needs_reference, reference_json, referenced_metrics

NAMES = ["image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro"]
PIXEL_NAMES = [name for name in NAMES if METRICS[name].unit == "pixel"]


def make_case(seed: int, levels: int = 12, images: int = 6, side: int = 16):
    """Maps with `levels` distinct scores, so with many ties, and masks with several regions.

    The first half of the images is normal.
    """
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, side, side), np.uint8)
    for mask in masks[images // 2 :]:
        for _ in range(3):
            row, column = rng.integers(0, side - 5, 2)
            mask[row : row + rng.integers(1, 6), column : column + rng.integers(1, 6)] = 1
    maps = rng.random(masks.shape) + 0.4 * masks * rng.random((images, 1, 1))
    maps = (np.floor(maps * levels) / levels).astype(np.float32)
    return maps, masks


def image_level(maps: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return maps.mean(axis=(1, 2)), masks.any(axis=(1, 2)).astype(int)


def brute_force_aupro(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """One threshold after the other, one region after the other, as the definition says."""
    regions = []
    for image, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [maps[image][labels == number] for number in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        fpr = (maps[masks == 0] >= threshold).mean()
        points.append((fpr, np.mean([(region >= threshold).mean() for region in regions])))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@needs_reference
def test_reference_values_are_reproduced():
    case = np.load(REFERENCE / "metrics_case.npz")
    given = (case[name] for name in ("image_scores", "image_labels", "scores", "masks"))
    actual = referenced_metrics(*given)
    expected = reference_json("metrics_case.json")
    assert actual == pytest.approx({name: expected[name] for name in actual}, rel=0, abs=1e-9)


@pytest.mark.parametrize("levels", [2, 12, 10**6])
@pytest.mark.parametrize("seed", range(5))
def test_aupro_equals_brute_force(seed, levels):
    maps, masks = make_case(seed, levels)
    for limit in (0.01, 0.05, 0.3, 1.0):
        expected = brute_force_aupro(maps, masks, limit)
        assert aupro(maps, masks, limit) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("levels", [2, 12, 10**6])
def test_auroc_and_ap_equal_scikit_learn(levels):
    maps, masks = make_case(7, levels)
    scores, labels = image_level(maps, masks)
    for ours, ours_ap, s, y in (
        (image_auroc(scores, labels), image_ap(scores, labels), scores, labels),
        (pixel_auroc(maps, masks), pixel_ap(maps, masks), maps.ravel(), masks.ravel()),
    ):
        assert ours == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        assert ours_ap == pytest.approx(average_precision_score(y, s), abs=1e-12)


def test_aupro_by_hand():
    # One region of two pixels, ten normal pixels. Scores fall 9 (defect), 5 (defect and one
    # normal pixel, tied), then the other nine: points (0, 1/2), (0.1, 1), (1, 1).
    maps = np.array([[[9, 5, 5, 4, 4, 3], [4, 3, 3, 2, 2, 1]]], float)
    masks = np.array([[[1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]])
    assert aupro(maps, masks, 0.05) == pytest.approx((0.5 + 0.75) / 2)
    assert aupro(maps, masks, 0.2) == pytest.approx((0.1 * 0.75 + 0.1) / 0.2)


def test_each_region_counts_the_same_whatever_its_size():
    maps, masks = np.zeros((1, 12, 12)), np.zeros((1, 12, 12), int)
    masks[0, :8, :8] = 1
    masks[0, 11, 11] = 1
    maps[0, :8, :8] = 1  # the large region is found, the one-pixel region is not
    fpr, pro = pro_curve(maps, masks)
    assert pro[fpr == 0].max() == pytest.approx(0.5)


def test_pixels_that_touch_at_a_corner_are_one_region():
    maps, masks = np.zeros((1, 8, 8)), np.zeros((1, 8, 8), int)
    masks[0, 2, 2] = masks[0, 3, 3] = 1  # one region of two pixels, diagonal
    masks[0, 6, 6] = 1
    maps[0, 2, 2] = 1
    fpr, pro = pro_curve(maps, masks)
    assert pro[fpr == 0].max() == pytest.approx(0.25)


def test_normal_images_add_false_positives():
    maps, masks = make_case(3)
    noisy = np.concatenate([maps, np.full_like(maps[:1], maps.max() + 1)])
    wider = np.concatenate([masks, np.zeros_like(masks[:1])])
    assert aupro(noisy, wider) < aupro(maps, masks) - 0.1


@pytest.mark.parametrize("transform", [np.exp, lambda x: 5 * x - 40, lambda x: x**3])
def test_monotone_transforms_change_nothing(transform):
    maps, masks = make_case(1)
    changed = transform(maps.astype(np.float64))
    for metric in (pixel_auroc, pixel_ap, aupro):
        assert metric(changed, masks) == pytest.approx(metric(maps, masks), abs=1e-12)


def test_order_of_images_changes_nothing():
    maps, masks = make_case(2)
    for metric in (pixel_auroc, pixel_ap, aupro):
        assert metric(maps[::-1], masks[::-1]) == pytest.approx(metric(maps, masks), abs=1e-12)


def test_perfect_constant_and_inverted_maps():
    _, masks = make_case(4)
    share = masks.mean()
    assert [f(masks, masks) for f in (pixel_auroc, pixel_ap, aupro)] == pytest.approx([1, 1, 1])
    flat = np.zeros(masks.shape)
    # One straight segment from (0,0) to (1,1): its mean height up to the limit is half of it.
    assert pixel_auroc(flat, masks) == pytest.approx(0.5)
    assert pixel_ap(flat, masks) == pytest.approx(share)
    assert aupro(flat, masks, 0.3) == pytest.approx(0.15)
    assert pixel_auroc(1 - masks, masks) == aupro(1 - masks, masks) == pytest.approx(0)


def test_curves_run_from_strict_to_lenient():
    maps, masks = make_case(5)
    fpr, tpr = roc_curve(maps, masks)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(pixel_auroc(maps, masks))
    fpr, pro = pro_curve(maps, masks)
    assert (fpr[0], pro[0], fpr[-1], pro[-1]) == pytest.approx((0, 0, 1, 1))
    assert (np.diff(fpr) >= 0).all() and (np.diff(pro) >= -1e-12).all()


def test_pr_curve_has_the_points_of_scikit_learn():
    maps, masks = make_case(6)
    recall, precision = pr_curve(maps, masks)
    ours = set(zip(recall.round(9), precision.round(9), strict=True))
    theirs = precision_recall_curve(masks.ravel(), maps.ravel())[:2]
    end = (0.0, 1.0)  # scikit-learn adds this point, at which nothing is predicted
    assert {(r, p) for p, r in zip(*(x.round(9) for x in theirs), strict=True)} - {end} <= ours
    assert (recall[-1], precision[-1]) == (1, pytest.approx(masks.mean()))


def test_pr_curve_starts_at_the_highest_score():
    recall, precision = pr_curve([0.1, 0.9, 0.5, 0.4], [0, 1, 1, 0])
    assert (recall[0], precision[0]) == (0.5, 1)
    recall, precision = pr_curve([0.1, 0.9, 0.5, 0.4], [1, 0, 1, 0])
    assert (recall[0], precision[0]) == (0, 0)


def brute_force_interval(metric, maps, masks, samples: int, seed: int) -> np.ndarray:
    """Repeats images in the arrays themselves."""
    rng = np.random.default_rng(seed)
    marked = masks.any(axis=(1, 2))
    values = []
    for _ in range(samples):
        rows = np.concatenate([rng.choice(np.flatnonzero(m), m.sum()) for m in (marked, ~marked)])
        values.append(metric(maps[rows], masks[rows]))
    return np.percentile(values, [2.5, 97.5])


@pytest.mark.parametrize(
    ("name", "metric"), [("pixel_auroc", pixel_auroc), ("pixel_ap", pixel_ap), ("aupro", aupro)]
)
def test_pixel_intervals_equal_a_bootstrap_of_the_arrays(name, metric):
    maps, masks = make_case(8, levels=10**6, images=12, side=20)
    result = compute_metrics(*image_level(maps, masks), maps, masks, bootstrap_samples=4000)[name]
    low, high = brute_force_interval(metric, maps, masks, 1000, seed=5)
    # Two sets of resamples: their percentiles differ by sampling noise alone.
    assert [result.low, result.high] == pytest.approx([low, high], abs=0.08 * (high - low))
    assert result.low < result.value < result.high


def test_image_intervals_equal_a_bootstrap_of_the_scores():
    rng = np.random.default_rng(0)
    labels = np.arange(60) >= 20
    scores = rng.normal(labels, 1.0)
    maps, masks = scores[:, None, None], labels[:, None, None]
    result = compute_metrics(scores, labels, maps, masks, bootstrap_samples=4000)
    for name, metric in (("image_auroc", pixel_auroc), ("image_ap", pixel_ap)):
        low, high = brute_force_interval(metric, maps, masks, 1000, seed=1)
        got = [result[name].low, result[name].high]
        assert got == pytest.approx([low, high], abs=0.08 * (high - low))


def test_coarse_thresholds_do_not_move_the_interval_off_the_value():
    # A single defective and a single normal image cannot be resampled into anything else, so
    # each end of the interval has to be the exact value.
    maps, masks = make_case(9, levels=10**6, images=2, side=128)
    result = compute_metrics(*image_level(maps, masks), maps, masks)
    for name in PIXEL_NAMES:
        metric = result[name]
        assert [metric.low, metric.high] == pytest.approx([metric.value] * 2, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_resampled_metric_is_that_of_the_images_drawn(name):
    maps, masks = make_case(17, levels=10**6, images=12, side=32)
    scores, labels = image_level(maps, masks)
    images = METRICS[name].unit == "image"
    given = (scores[:, None, None], labels[:, None, None]) if images else (maps, masks)
    weights = draw_images(labels > 0, 6, np.random.default_rng(2))
    found = resampled(name, *given, weights, fpr_limit=0.1)
    for value, counts in zip(found, weights.astype(int), strict=True):
        parts = (np.repeat(part, counts, axis=0) for part in (scores, labels, maps, masks))
        exact = compute_metrics(*parts, fpr_limit=0.1, bootstrap_samples=0)[name].value
        assert value == pytest.approx(exact, abs=1e-9 if images else 1e-3)
    assert np.ptp(found) > 0.01


def test_intervals_repeat_for_a_seed_and_narrow_with_more_images():
    few = make_case(10, images=8)
    many = [np.tile(array, (9, 1, 1)) for array in few]  # intervals shrink by 3
    first = compute_metrics(*image_level(*few), *few, seed=3)
    assert first == compute_metrics(*image_level(*few), *few, seed=3)
    assert first["aupro"].low != compute_metrics(*image_level(*few), *few, seed=4)["aupro"].low
    more = compute_metrics(*image_level(*many), *many)
    for name in PIXEL_NAMES:
        ratio = (first[name].high - first[name].low) / (more[name].high - more[name].low)
        assert 2.5 < ratio < 3.5


def test_compute_metrics_gives_the_values_of_the_single_functions():
    maps, masks = make_case(11)
    scores, labels = image_level(maps, masks)
    result = compute_metrics(scores, labels, maps, masks, fpr_limit=0.1, bootstrap_samples=0)
    assert list(result) == list(METRICS)
    assert {name: result[name].value for name in NAMES} == {
        "image_auroc": image_auroc(scores, labels),
        "image_ap": image_ap(scores, labels),
        "pixel_auroc": pixel_auroc(maps, masks),
        "pixel_ap": pixel_ap(maps, masks),
        "aupro": aupro(maps, masks, 0.1),
    }
    assert all(math.isnan(metric.low) and math.isnan(metric.high) for metric in result.values())


def test_perfect_detector_has_the_interval_one_to_one():
    _, masks = make_case(12)
    scores, labels = image_level(masks, masks)
    result = compute_metrics(scores, labels, masks, masks)
    assert all(result[name] == Metric(1.0, 1.0, 1.0) for name in NAMES)


def test_without_defects_every_metric_is_nan_with_a_reason():
    maps, masks = make_case(13)
    result = compute_metrics(maps.max((1, 2)), np.zeros(6), maps, np.zeros_like(masks))
    for name, metric in result.items():
        assert math.isnan(metric.value) and math.isnan(metric.low) and math.isnan(metric.high)
        assert metric.note.endswith(f"no defective {METRICS[name].unit}")


def test_without_normal_images_only_image_metrics_are_nan():
    maps, masks = (array[3:] for array in make_case(14))
    result = compute_metrics(maps.max((1, 2)), np.ones(3), maps, masks)
    assert math.isnan(result["image_auroc"].value) and "no normal image" in result["image_ap"].note
    assert result["pixel_auroc"].value == pixel_auroc(maps, masks)
    assert not math.isnan(result["aupro"].low)


def test_own_folder_without_masks_has_image_metrics_only():
    maps, masks = make_case(15)
    scores, labels = image_level(maps, masks)
    result = compute_metrics(scores, labels, maps, np.zeros_like(masks))
    assert result["image_auroc"].value == image_auroc(scores, labels)
    undefined = [name for name, metric in result.items() if math.isnan(metric.value)]
    assert undefined == [name for name, kind in METRICS.items() if kind.unit == "pixel"]


def test_an_empty_mask_of_a_defective_image_is_noted():
    maps, masks = make_case(16)
    scores, labels = image_level(maps, masks)
    masks = masks.copy()
    masks[-1] = 0
    result = compute_metrics(scores, labels, maps, masks)
    assert (
        result["aupro"].note
        == "defective images with an empty mask, whose pixels count as normal: 1"
    )
    assert result["aupro"].value == aupro(maps, masks)
    assert result["image_auroc"].note == ""


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error(bad):
    maps, masks = make_case(17)
    scores, labels = image_level(maps, masks)
    broken_maps, broken_scores = maps.copy(), scores.copy()
    broken_maps[2, 3, 4] = broken_scores[1] = bad
    calls = [
        lambda: compute_metrics(scores, labels, broken_maps, masks),
        lambda: compute_metrics(broken_scores, labels, maps, masks),
        lambda: image_auroc(broken_scores, labels),
        lambda: image_ap(broken_scores, labels),
        lambda: pixel_auroc(broken_maps, masks),
        lambda: pixel_ap(broken_maps, masks),
        lambda: aupro(broken_maps, masks),
        lambda: roc_curve(broken_scores, labels),
        lambda: pr_curve(broken_scores, labels),
        lambda: pro_curve(broken_maps, masks),
    ]
    for call in calls:
        with pytest.raises(DiffadError, match=r"^1 of \d+ scores are NaN or infinite"):
            call()


def test_one_class_is_an_error_of_the_single_functions():
    maps, masks = make_case(18)
    for metric in (pixel_auroc, pixel_ap, aupro, pro_curve):
        with pytest.raises(DiffadError, match="only normal examples"):
            metric(maps, np.zeros_like(masks))
        with pytest.raises(DiffadError, match="only defective examples"):
            metric(maps, np.ones_like(masks))
    for metric in (image_auroc, image_ap, roc_curve, pr_curve):
        with pytest.raises(DiffadError, match="only normal examples"):
            metric(np.arange(4.0), np.zeros(4))


def test_input_that_does_not_fit_is_an_error():
    maps, masks = make_case(19)
    scores, labels = image_level(maps, masks)
    with pytest.raises(DiffadError, match=r"\(6, 16, 16\) do not fit .* \(5, 16, 16\)"):
        aupro(maps, masks[:5])
    with pytest.raises(DiffadError, match=r"\(6,\) do not fit .* \(3,\)"):
        image_auroc(scores, labels[:3])
    with pytest.raises(DiffadError, match="one score an image"):
        image_auroc(maps, masks)
    with pytest.raises(DiffadError, match=r"images,height,width"):
        pixel_auroc(maps[:, None], masks[:, None])
    with pytest.raises(DiffadError, match="4 image scores do not fit 6"):
        compute_metrics(scores[1:5], labels[1:5], maps, masks)
    with pytest.raises(DiffadError, match="other than 0 and 1"):
        pixel_auroc(maps, 255 * masks)
    with pytest.raises(DiffadError, match="test image 4 is labelled normal"):
        compute_metrics(scores, [0, 0, 0, 1, 0, 1], maps, masks)


@pytest.mark.parametrize("limit", [0, -0.1, 1.5, math.nan])
def test_limit_outside_zero_to_one_is_an_error(limit):
    with pytest.raises(DiffadError, match="fpr_limit"):
        aupro(*make_case(20), limit)


@pytest.mark.slow
def test_metrics_of_many_pixels_need_little_more_memory_than_the_maps() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((12, 512, 512), np.float32)
    masks = np.zeros(maps.shape, np.uint8)
    masks[::2, 100:200, 100:200] = 1
    tracemalloc.start()
    compute_metrics(maps[:, 0, 0], masks.any((1, 2)), maps, masks, bootstrap_samples=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.2 * maps.nbytes
