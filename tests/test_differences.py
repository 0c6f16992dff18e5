"""Is a difference real: the parts against other ways to compute them, the rule on planted ones."""

import numpy as np
import pytest
import torch
from scipy import stats

from diffad_lib.course.lessons import imagined_runs
from diffad_lib.errors import DiffadError
from diffad_lib.metrics import image_auroc
from diffad_lib.metrics.differences import (
    Difference,
    auroc_difference,
    combined,
    mean_interval,
    seed_difference,
    seeds_needed,
    student_t,
    unpaired,
)

RNG = np.random.default_rng(3)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def the_same_numbers_whatever_ran_before():
    RNG.bit_generator.state = START


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 4.2, 30, 3000])
@pytest.mark.parametrize("probability", [0.5, 0.8, 0.975, 0.999])
def test_quantiles_of_student_are_those_of_scipy(probability, freedom):
    assert student_t(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), 1e-4)


def test_the_interval_of_a_mean_is_that_of_scipy():
    values = RNG.random(4)
    mean, interval = mean_interval(values)
    ends = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (mean, *interval) == pytest.approx((values.mean(), *ends), 1e-4)
    assert mean_interval([0.5]) == (0.5, None)


def test_the_interval_over_seeds_is_that_of_welch():
    a, b = RNG.random(3), 2 * RNG.random(5)
    value, interval = seed_difference(a, b)
    ends = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert value == pytest.approx(a.mean() - b.mean())
    assert interval == pytest.approx(tuple(ends), 1e-4)


def test_one_seed_tells_nothing_of_others_and_equal_seeds_have_no_width():
    assert seed_difference([0.5], [0.1, 0.2])[1] is None
    assert seed_difference([1, 1], [1, 1, 1]) == (0, (0, 0))


def scored(count=40, seeds=2):
    labels = (np.arange(count) % 3 > 0).astype(int)
    return (RNG.normal(size=(seeds, count)) + labels).round(1), labels


def test_auroc_is_the_mean_of_the_seeds_and_ties_count_half():
    (a, labels), (b, _) = scored(), scored()
    expected = np.mean([image_auroc(row, labels) for row in a])
    expected -= np.mean([image_auroc(row, labels) for row in b])
    assert auroc_difference(a, b, labels, samples=10).value == pytest.approx(expected)


def test_the_same_images_are_drawn_for_both():
    a, labels = scored()
    assert auroc_difference(a, a, labels).images == (0, 0)
    shifted = auroc_difference(a, a + 5, labels)  # the same order, so the same AUROC
    assert shifted.images == (0, 0) and shifted.value == 0


def test_drawn_images_agree_with_a_plain_bootstrap():
    (a, labels), (b, _) = scored(), scored()
    rng, found = np.random.default_rng(9), []
    classes = [np.flatnonzero(labels == kind) for kind in (0, 1)]
    for _ in range(2000):
        rows = np.concatenate([rng.choice(kind, len(kind)) for kind in classes])
        pair = [np.mean([image_auroc(row[rows], labels[rows]) for row in side]) for side in (a, b)]
        found.append(pair[0] - pair[1])
    ends = auroc_difference(a, b, labels).images
    assert ends == pytest.approx(tuple(np.percentile(found, [2.5, 97.5])), abs=0.015)


def test_the_same_scores_give_the_same_interval():
    (a, labels), (b, _) = scored(), scored()
    assert auroc_difference(a, b, labels) == auroc_difference(a, b, labels)


def test_widths_add_up_as_squares_on_each_side():
    assert combined(0.5, (0.2, 0.9), (0.1, 0.8)) == Difference(
        0.5, (0.2, 0.9), (0.1, 0.8), (0.5 - 0.5, 0.5 + 0.5)
    )
    assert unpaired(0.1, (0.4, 1.0), (0.0, 0.8)) == pytest.approx((0.1 - 0.5, 0.1 + 0.5))


def test_without_a_spread_over_seeds_nothing_is_called_real():
    a, labels = scored(seeds=1)
    told = auroc_difference(a + 9 * labels, -a, labels)
    assert told.both is None and told.is_real is None


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([[0.1, 0.2]], [1, 1], "one class"),
        ([[0.1, np.nan]], [0, 1], "NaN"),
        ([[0.1, 0.2, 0.3]], [0, 1], "do not fit"),
    ],
)
def test_scores_that_cannot_be_judged_are_an_error(scores, labels, words):
    with pytest.raises(DiffadError, match=words):
        auroc_difference(scores, scores, labels)


def called_real(advantage, seeds, trials, seed):
    """Share of imagined comparisons that are called real, by both noises and by images alone."""
    generator, calls = torch.Generator().manual_seed(seed), []
    for _ in range(trials):
        a, b, labels = (side.numpy() for side in imagined_runs(advantage, seeds, generator))
        told = auroc_difference(a, b, labels, samples=300)
        calls.append((told.is_real, not told.images[0] <= 0 <= told.images[1]))
    return np.mean(calls, axis=0)


@pytest.mark.slow
def test_null_effects_are_called_real_in_less_than_a_twentieth():
    real, by_images = called_real(0.0, 3, 300, 11)
    assert real <= 0.05
    assert by_images > 0.15  # what the rule is there to prevent


@pytest.mark.slow
def test_planted_effects_are_found_at_the_stated_rate():
    """With as many seeds as `seeds_needed` says, 4 of 5 are found (a little more: see the module).

    The spreads and the noise of images are those of the imagined detectors, measured on many.
    """
    many = imagined_runs(1.0, 400, torch.Generator().manual_seed(12))
    a, b, labels = (side.numpy() for side in many)
    spreads = [np.std([image_auroc(row, labels) for row in side], ddof=1) for side in (a, b)]
    widths, values = [], []
    generator = torch.Generator().manual_seed(13)
    for _ in range(60):
        few = (side.numpy() for side in imagined_runs(1.0, 5, generator))
        told = auroc_difference(*few, samples=300)
        values.append(told.value)
        widths.append(told.images[1] - told.images[0])
    value, half = float(np.mean(values)), float(np.mean(widths)) / 2
    typical = Difference(value, (value - half, value + half), None, None)
    count = seeds_needed(typical, *spreads)
    assert count is not None and 3 <= count <= 8
    assert 0.7 <= called_real(1.0, count, 200, 14)[0] <= 0.95
    assert called_real(1.0, count - 1, 200, 15)[0] < 0.8


def test_more_seeds_do_not_help_where_the_test_images_leave_too_much_open():
    coarse = Difference(0.02, (-0.03, 0.07), None, None)
    assert seeds_needed(coarse, 0.001, 0.001) is None
    fine = Difference(0.02, (0.019, 0.021), None, None)
    assert seeds_needed(fine, 0.001, 0.001) == 2
    assert seeds_needed(fine, 0.02, 0.02) > seeds_needed(fine, 0.01, 0.01) > 2
    assert seeds_needed(Difference(0.0, (0, 0), None, None), 0.1, 0.1) is None
