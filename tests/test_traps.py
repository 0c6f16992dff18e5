"""The traps of chapter 10 make the errors that they name, and no other."""

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import auc

import traps as tool
from diffad_lib.course import traps
from diffad_lib.course.shipped import shipped_record
from diffad_lib.datasets.regions import whole_regions
from diffad_lib.diffusion.denoising import normal_image_mean
from diffad_lib.diffusion.schedule import Schedule, linear_betas
from diffad_lib.metrics import aupro, image_auroc
from diffad_lib.synthesis.synthesizer import SynthesisSettings, Synthesizer
from small import small_detector

SIZE = 32
LABELS = np.repeat([0, 1], [10, 14])
SCORES = np.random.default_rng(0).random(24) + 0.4 * LABELS


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def synthesizer(**settings) -> Synthesizer:
    textures = np.random.default_rng(1).integers(0, 256, (4, 3, SIZE, SIZE), np.uint8)
    return Synthesizer(textures, SynthesisSettings(anomaly_probability=1.0, **settings))


def pictures(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=seeded(2))


# effect


def test_no_trap_has_no_effect():
    def figure(rows):
        return image_auroc(SCORES[rows], LABELS[rows])

    found = traps.effect(figure, figure, LABELS, samples=20)
    assert found.change == found.low == found.high == 0


def test_an_effect_is_paired_and_holds_what_it_measures():
    """Its interval is far narrower than that of either figure, as both see the same images."""
    shifted = np.where(np.arange(24) == 3, 2.0, SCORES)  # one false alarm

    def right(rows):
        return image_auroc(SCORES[rows], LABELS[rows])

    found = traps.effect(right, lambda rows: image_auroc(shifted[rows], LABELS[rows]), LABELS)
    assert found.change == pytest.approx(found.wrong - found.right) and found.change < 0
    assert found.low <= found.change <= found.high <= 0
    alone = [traps.effect(lambda rows: 0.0, right, LABELS, seed=s) for s in (0, 0, 1)]
    assert alone[0] == alone[1] != alone[2]
    coarse = traps.effect(
        right, lambda rows: image_auroc(SCORES.round(1)[rows], LABELS[rows]), LABELS
    )
    assert coarse.high - coarse.low < (alone[0].high - alone[0].low) / 3


def test_many_effects_are_those_of_each_trap_and_ask_for_the_right_figure_once():
    asked = []

    def right(rows):
        asked.append(rows)
        return image_auroc(SCORES[rows], LABELS[rows])

    wrongs = [lambda rows, n=n: image_auroc(SCORES.round(n)[rows], LABELS[rows]) for n in (0, 1)]
    found = traps.effects(right, wrongs, LABELS, samples=20)
    assert len(asked) == 21 and found[0].change != found[1].change
    assert found == [traps.effect(right, wrong, LABELS, samples=20) for wrong in wrongs]


def test_resamples_keep_the_number_of_each_kind():
    seen = []
    traps.effect(lambda rows: seen.append(LABELS[rows].sum()) or 0.0, lambda rows: 0.0, LABELS)
    assert {*seen} == {14}


# Batches


def test_imagenet_normalisation_is_that_of_the_published_constants():
    grey = torch.full((1, 3, 2, 2), 0.5)
    expected = torch.tensor([0.5 - 0.485, 0.5 - 0.456, 0.5 - 0.406]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    assert torch.allclose(traps.imagenet_normalised(grey)[0, :, 0, 0], expected)


def test_anomalies_in_0_1_are_pasted_on_normalised_images():
    """With β = 0 an anomaly hides the image, so its pixels are the texture's."""
    opaque = synthesizer(beta_max=0.0)
    trap = traps.normalise_then_paste(opaque, pictures(), None, seeded())
    pasted = trap.mask.expand_as(trap.image) > 0
    assert pasted.any()
    assert trap.image[pasted].min() >= 0 and trap.image[pasted].max() <= 1
    assert torch.equal(trap.image[~pasted], trap.normal[~pasted])
    assert torch.equal(trap.normal, traps.imagenet_normalised(pictures()))


def test_the_control_normalises_image_and_anomaly_together():
    right = synthesizer(lighting=0.2)(pictures(), None, seeded())
    control = traps.paste_then_normalise(synthesizer(lighting=0.2), pictures(), None, seeded())
    assert torch.equal(control.image, traps.imagenet_normalised(right.image))
    assert torch.equal(control.normal, traps.imagenet_normalised(right.normal))
    assert torch.equal(control.mask, right.mask)


def test_without_light_the_control_has_the_same_anomalies():
    trap = traps.normalise_then_paste(synthesizer(), pictures(), None, seeded())
    control = traps.paste_then_normalise(synthesizer(), pictures(), None, seeded())
    assert torch.equal(trap.mask, control.mask) and torch.equal(trap.normal, control.normal)
    assert not torch.equal(trap.image, control.image)


def test_light_is_changed_before_images_are_normalised():
    """`relight` clamps to [0,1], which would cut normalised images."""
    lit = traps.normalise_then_paste(synthesizer(lighting=0.2), pictures(), None, seeded())
    assert lit.normal.min() < -1 and lit.normal.max() > 1
    assert not torch.equal(lit.normal, traps.imagenet_normalised(pictures()))


def test_a_synthesizer_that_turns_images_is_refused():
    turning = synthesizer(rotation_probability=1.0, rotation_degrees=45)
    with pytest.raises(ValueError, match="turns no image"):
        traps.normalise_then_paste(turning, pictures(), None, seeded())


# Means without a normal image


@pytest.mark.parametrize("mean", [traps.empty_mean, traps.zero_over_zero])
def test_with_a_normal_image_both_means_are_right(mean):
    errors, is_normal = torch.rand(5, generator=seeded()), torch.tensor([1, 0, 0, 1, 1]).bool()
    assert torch.isclose(mean(errors, is_normal), normal_image_mean(errors, ~is_normal))


@pytest.mark.parametrize(
    ("mean", "gradient_dies"), [(traps.empty_mean, False), (traps.zero_over_zero, True)]
)
def test_without_one_the_loss_is_nan_and_one_of_them_spoils_the_gradient(mean, gradient_dies):
    weight = torch.ones(3, requires_grad=True)
    loss = mean(weight * torch.arange(3.0), torch.zeros(3, dtype=torch.bool))
    assert loss.isnan()
    (loss + weight.sum()).backward()
    assert bool(weight.grad.isnan().any()) == gradient_dies
    assert gradient_dies or torch.equal(weight.grad, torch.ones(3))


# Masks


def blob(side: int = 128) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (60, 60), 17, 1, -1)
    cv2.line(mask, (5, 100), (120, 120), 1, 1)
    return mask


def test_a_cut_mask_lies_between_the_whole_pixels_and_the_touched_ones():
    mask = blob()
    cut, whole = traps.cut_mask(mask, 64), whole_regions(mask, 64) > 0
    touched = mask.reshape(64, 2, 64, 2).any(axis=(1, 3))
    assert (whole <= cut).all() and (cut <= touched).all()
    assert whole.sum() < cut.sum() < touched.sum()


# Test sets


def test_training_images_take_the_place_of_normal_ones():
    known = np.arange(100.0, 130.0)
    dirty = traps.with_known(SCORES, LABELS, known, 4, np.random.default_rng(0))
    assert np.array_equal(dirty[LABELS == 1], SCORES[LABELS == 1])
    changed = dirty[dirty != SCORES]
    assert len(changed) == 4 and len({*changed}) == 4 and np.isin(changed, known).all()
    assert SCORES.max() < 100  # the given scores stay


def test_defective_images_are_called_normal():
    dirty = traps.mislabelled(LABELS, 3, np.random.default_rng(0))
    assert (LABELS - dirty).sum() == 3 and (LABELS - dirty).min() == 0 and LABELS.sum() == 14


# Scores


def test_minmax_of_each_batch_fills_0_to_1():
    found = traps.minmax(SCORES, 10)  # batches of 10, 10 and 4
    for part in (found[:10], found[10:20], found[20:]):
        assert part.min() == 0 and part.max() == 1
    assert np.array_equal(np.argsort(found[:10]), np.argsort(SCORES[:10]))


def test_minmax_of_the_whole_set_changes_no_order():
    assert image_auroc(traps.minmax(SCORES, 24), LABELS) == image_auroc(SCORES, LABELS)
    assert image_auroc(traps.minmax(SCORES, 1), LABELS) == 0.5  # every score is 0


def test_a_tie_that_counts_one_half_is_auroc():
    rounded = SCORES.round(1)
    assert traps.tied_auroc(rounded, LABELS, 0.5) == pytest.approx(image_auroc(rounded, LABELS))


def test_a_tie_that_counts_wholly_is_what_sorting_gives_with_normal_images_first():
    rounded = SCORES.round(1)
    ranks = np.empty(24)
    ranks[np.argsort(rounded, kind="stable")] = np.arange(1, 25)
    sorted_auroc = (ranks[LABELS == 1].sum() - 14 * 15 / 2) / 140
    assert traps.tied_auroc(rounded, LABELS, 1) == pytest.approx(sorted_auroc)
    assert traps.tied_auroc(rounded, LABELS, 0) < traps.tied_auroc(rounded, LABELS, 0.5)


# Curves


def maps_and_masks() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    masks = np.zeros((6, 24, 24), np.uint8)
    masks[3:, 4:9, 4:9] = 1
    masks[5, 15:17, 12:20] = 1
    return rng.random((6, 24, 24)) + 0.5 * masks, masks


def pro_by_loops(maps, masks, count, limit):
    """Threshold by threshold and region by region, as one reads the code."""
    high, low = maps.max(), maps.min()
    rates, overlaps = [], []
    for step in range(count):
        marked = maps > high - step * (high - low) / count
        shares = []
        for one, mask in zip(marked, masks, strict=True):
            number, regions = cv2.connectedComponents(mask, connectivity=8)
            shares += [one[regions == region].mean() for region in range(1, number)]
        rates.append(marked[masks == 0].mean())
        overlaps.append(np.mean(shares))
    rates, overlaps = np.array(rates), np.array(overlaps)
    inside = rates <= limit
    rates = rates[inside]
    return auc((rates - rates.min()) / (rates.max() - rates.min()), overlaps[inside])


@pytest.mark.parametrize("count", [7, 50])
def test_pro_of_thresholds_is_the_published_loop(count):
    maps, masks = maps_and_masks()
    maps = np.minimum(maps, 0.9)  # saturated, so that pixels lie on the first threshold
    found = traps.pro_of_thresholds(maps, masks, count)
    assert found == pytest.approx(pro_by_loops(maps, masks, count, 0.3))


def test_many_thresholds_come_near_the_exact_area():
    maps, masks = maps_and_masks()
    exact = aupro(maps, masks)
    errors = [
        abs(traps.pro_of_thresholds(maps, masks, count, rescaled=False) - exact)
        for count in (20, 20_000)
    ]
    assert errors[1] < 1e-3 < errors[0]


def test_protocols_begin_with_the_exact_one_and_answer_for_chosen_images():
    maps, masks = maps_and_masks()
    native = [np.kron(mask, np.ones((2, 2), np.uint8)) for mask in masks]
    native[5][18, 8:10] = native[5][19, 8] = 1  # three quarters of a pixel
    most = masks.copy()
    most[5, 9, 4] = 1
    regions = np.stack([cv2.connectedComponents(mask)[1] for mask in masks]).astype(np.uint16)
    regions[5][regions[5] == 2] = 1  # one region that resizing has torn
    found, rows = traps.protocols(maps, regions, native), np.array([0, 4, 4, 5])
    assert next(iter(found.values()))(rows) == aupro(maps[rows], regions[rows])
    assert found["regions found anew"](rows) == aupro(maps[rows], masks[rows])
    for name, protocol in found.items():
        assert 0 < protocol(rows) <= 1 and protocol(rows) != protocol(rows[1:3]), name
    assert found["resized then cut"](rows) == aupro(maps[rows], most[rows])
    assert found["cast to integers"](rows) == aupro(maps[rows], masks[rows])


# Diffusion


def test_a_predictor_is_told_a_later_t():
    told = traps.told_late(lambda x_t, t: x_t + t.reshape(-1, 1), 3)
    assert torch.equal(told(torch.zeros(2, 1), torch.tensor([0, 7])), torch.tensor([[3.0], [10]]))


def test_a_late_detector_shares_the_weights_and_leaves_the_other_as_it_was():
    detector = small_detector("diffusionad", prediction="x0")
    images = pictures(2)
    with torch.inference_mode():
        before = detector.predict(images).reconstruction
        late = traps.late_detector(detector, 50).predict(images).reconstruction
        on_time = traps.late_detector(detector, 0).predict(images).reconstruction
        after = detector.predict(images).reconstruction
    assert torch.equal(before, after) and torch.equal(before, on_time)
    assert not torch.equal(before, late)
    assert traps.late_detector(detector, 1).denoising is detector.denoising


def test_counting_from_1_reads_the_last_entry_at_t_0():
    schedule = Schedule.from_betas(linear_betas())
    found = traps.alphas_cumprod_from_1(schedule, torch.tensor([0, 1]))
    assert found.tolist() == schedule.alphas_cumprod[[999, 0]].tolist()


def test_unseeded_noise_gives_another_score_at_each_call():
    detector = small_detector("diffusionad")
    images, noise = pictures(1).expand(2, -1, -1, -1), seeded()
    with torch.inference_mode():
        first, maps = traps.predict_unseeded(detector, images, noise)
        second, _ = traps.predict_unseeded(detector, images, noise)
        again, _ = traps.predict_unseeded(detector, images, seeded())
        one_field = detector.predict(images).image_score
    assert first.shape == (2,) and maps.shape == (2, 1, SIZE, SIZE)
    assert first[0] != first[1] and not torch.equal(first, second)
    assert torch.equal(first, again) and one_field[0] == one_field[1]


# The records


@pytest.fixture(params=["traps", "traps_real"])
def record(request: pytest.FixtureRequest) -> dict:
    """What the tool has written of the mini data, and of a real category."""
    return shipped_record(request.param)


def every_prediction(record: dict) -> list[dict]:
    """All predictions of the test set in the record, with their scores and metrics."""
    runs = [run for of_seeds in record["runs"].values() for run in of_seeds]
    swapped = [run["swapped"] for run in record["runs"]["draem"]]
    if "noise" not in record:
        return [*runs, *swapped]
    seeds = record["noise"]["seeds"]
    late = [one for run in seeds for one in run["late"].values()]
    return [*runs, *swapped, *seeds, *late, *record["noise"]["draws"]]


def test_every_kind_was_trained_with_three_seeds(record):
    assert {*record["runs"]} == {*record["kinds"]}
    for kind, of_seeds in record["runs"].items():
        assert [run["seed"] for run in of_seeds] == [0, 1, 2], kind
        assert len({tuple(run["image_scores"]) for run in of_seeds}) == 3


def test_the_metrics_of_the_record_are_those_of_its_scores(record):
    predictions, labels = every_prediction(record), np.array(record["labels"])
    kinds = len(record["kinds"])
    assert len(predictions) == 3 * kinds + 3 + (17 if "noise" in record else 0)
    for one in predictions:
        value = one["metrics"]["image_auroc"][0]
        assert value == pytest.approx(image_auroc(np.array(one["image_scores"]), labels), abs=1e-9)
        assert all(low <= value <= high for value, low, high in one["metrics"].values())


def test_the_last_look_of_a_training_is_its_result(record):
    for run in record["runs"]["draem"]:
        last = run["looks"][-1]
        assert np.allclose(last["image_scores"], run["image_scores"], atol=1e-5)
        assert last["pixel_ap"] == pytest.approx(run["metrics"]["pixel_ap"][0], abs=1e-4)


def test_protocols_of_the_record_are_those_of_the_library(record):
    maps, masks = maps_and_masks()
    names = [*traps.protocols(maps, masks.astype(np.uint16), [*masks])]
    for run in record["runs"]["draem"]:
        assert [*run["protocols"]] == names
        assert run["protocols"][names[0]] == pytest.approx(run["metrics"]["aupro"][0])


@pytest.mark.parametrize("study", [tool.MINI, tool.REAL], ids=lambda study: study.name)
def test_a_record_is_of_the_trainings_of_the_tool(study):
    record = shipped_record(study.name)
    assert (record["dataset"], record["category"]) == (study.dataset, study.category)
    assert record["kinds"] == {name: kind.overrides for name, kind in study.kinds.items()}
    assert {len(run["looks"]) for run in record["runs"][tool.RIGHT]} == {tool.LOOKS}
