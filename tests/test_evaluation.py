"""Predictions repeat and depend on the image alone, not on the batch it sits in."""

import tracemalloc

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from diffad_lib import evaluation
from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import (
    Invariance,
    SetPrediction,
    in_batches,
    measure_invariance,
    predict_all,
    predict_batch,
)
from diffad_lib.methods import method_names
from diffad_lib.methods.method import find_method
from diffad_lib.types import Prediction
from small import small_detector
from toy import ToyDetector, toy_detector

FABRIC = Fabric(accelerator="cpu", devices=1)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)


class NoisyDetector(ToyDetector):
    """One noise field for all images of a batch, as DiffusionAD has; remembers what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, bool, bool]] = []

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        self.seen.append((images.clone(), self.training, torch.is_inference_mode_enabled()))
        noise = torch.randn(1, *images.shape[1:], generator=generator)
        return super().predict(images + noise)


def test_shapes_types_and_throughput() -> None:
    predictions = predict_all(toy_detector(), IMAGES, FABRIC, batch_size=2)
    assert predictions.image_scores.shape == (5,)
    assert predictions.anomaly_maps.shape == (5, 32, 32)
    assert predictions.image_scores.dtype == predictions.anomaly_maps.dtype == np.float32
    np.testing.assert_array_equal(
        predictions.image_scores, predictions.anomaly_maps.max(axis=(1, 2))
    )
    assert predictions.images_per_second == pytest.approx(5 / predictions.seconds)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16])
def test_scores_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    torch.manual_seed(0)
    detector = NoisyDetector()
    whole = predict_all(detector, IMAGES, FABRIC, batch_size=4, seed=3)
    other = predict_all(detector, IMAGES, FABRIC, batch_size, seed=3)
    np.testing.assert_allclose(whole.image_scores, other.image_scores, atol=1e-5)
    np.testing.assert_allclose(whole.anomaly_maps, other.anomaly_maps, atol=1e-5)


OUT_OF_MEMORY = (
    torch.OutOfMemoryError(),
    RuntimeError("MPS backend out of memory (allocated: 8 GB)"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
)


@pytest.mark.parametrize(
    ("name", "error"), zip(method_names(), OUT_OF_MEMORY, strict=True), ids=method_names()
)
def test_where_the_memory_runs_out_half_of_the_images_are_predicted_at_once(
    name: str,
    error: RuntimeError,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    detector, sizes = small_detector(name), []
    whole, predict = predict_all(detector, IMAGES, FABRIC, batch_size=5), detector.predict

    def fail(images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        sizes.append(len(images))
        if len(images) > most:
            raise error
        return predict(images, generator)

    evaluation._tell_halves.cache_clear()
    monkeypatch.setattr(detector, "predict", fail)
    most = 2
    halved = predict_all(detector, IMAGES, FABRIC, batch_size=5)
    assert sizes == [5, 2, 3, 1, 2]
    np.testing.assert_allclose(whole.image_scores, halved.image_scores, atol=1e-5)
    np.testing.assert_allclose(whole.anomaly_maps, halved.anomaly_maps, atol=1e-5)
    told = [line for line in capsys.readouterr().out.splitlines() if "memory ran out" in line]
    assert [line.split()[6] for line in told] == ["5", "3"]
    most = 0
    with pytest.raises(type(error)):
        predict_all(detector, IMAGES, FABRIC, batch_size=5)
    sizes.clear()
    error = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        predict_all(detector, IMAGES, FABRIC, batch_size=5)
    assert sizes == [5]


def test_diffusionads_scores_repeat_and_do_not_depend_on_the_batch_size() -> None:
    torch.manual_seed(0)
    settings = {"image_size": 32, "base_width": 8, "segmentation_width": 4, "residual_blocks": 1}
    method = find_method("diffusionad")
    detector = method.detector(method.settings(**settings, channel_multipliers=(1, 2)))
    whole = predict_all(detector, IMAGES, FABRIC, batch_size=5)
    again = predict_all(detector, IMAGES, FABRIC, batch_size=5)
    single = predict_all(detector, IMAGES, FABRIC, batch_size=1)
    np.testing.assert_array_equal(whole.image_scores, again.image_scores)
    np.testing.assert_allclose(whole.image_scores, single.image_scores, atol=1e-5)


def test_the_seed_decides_and_the_global_state_does_not() -> None:
    detector = NoisyDetector()
    torch.manual_seed(1)
    first = predict_all(detector, IMAGES, FABRIC, seed=0)
    torch.manual_seed(2)
    same = predict_all(detector, IMAGES, FABRIC, seed=0)
    other = predict_all(detector, IMAGES, FABRIC, seed=1)
    np.testing.assert_array_equal(first.image_scores, same.image_scores)
    assert not np.array_equal(first.image_scores, other.image_scores)


def test_the_detector_sees_unit_range_pixels_in_evaluation_and_inference_mode() -> None:
    detector = NoisyDetector().train()
    predict_batch(detector, IMAGES[:2], FABRIC)
    images, training, inference = detector.seen[0]
    np.testing.assert_allclose(images.numpy(), IMAGES[:2] / 255, atol=1e-6)
    assert not training and inference


def test_images_that_are_no_bytes_are_refused_and_not_taken_for_black_ones() -> None:
    with pytest.raises(DiffadError, match="images are float32; give uint8, 0 to 255"):
        predict_batch(NoisyDetector(), (IMAGES[:1] / 255).astype(np.float32), FABRIC)


def test_a_large_set_takes_the_memory_of_its_maps_once() -> None:
    images = np.zeros((64, 3, 128, 128), np.uint8)
    tracemalloc.start()  # NumPy's memory: PyTorch's, of one batch, is not counted
    maps = predict_all(toy_detector(), images, FABRIC, batch_size=4).anomaly_maps
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert maps.nbytes <= peak < 1.3 * maps.nbytes


def test_a_long_prediction_tells_from_time_to_time_how_far_it_is(monkeypatch, capsys) -> None:
    clock = iter(range(0, 1000, 8))  # each look at the clock is 8 s after the last
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    rows = list(in_batches(10, 2))
    assert [(one.start, one.stop) for one in rows] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "image 2/10  0.1 images/s  64 s left",  # after 16 s
        "image 6/10  0.2 images/s  21 s left",  # after 32 s
    ]


def test_read_only_images_are_accepted_and_left_as_they_are() -> None:
    images = IMAGES.copy()
    images.flags.writeable = False
    predict_all(toy_detector(), images, FABRIC)
    np.testing.assert_array_equal(images, IMAGES)


def measured(detector: Detector, batch_size: int = 16, fabric: Fabric = FABRIC) -> Invariance:
    images = np.random.default_rng(1).integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)
    whole = predict_all(detector, images, fabric, batch_size, seed=5)
    return measure_invariance(detector, images, fabric, whole, seed=5)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("name", method_names())
def test_every_methods_scores_are_those_of_the_image_alone(name: str, batch_size: int) -> None:
    found = measured(small_detector(name), batch_size)
    assert found.holds and found.images == 4
    assert found.score_difference < 1e-6 and found.map_difference < 1e-6 < found.tolerance < 1e-4


@pytest.mark.parametrize("name", method_names())
def test_half_precision_has_a_coarser_tolerance(name: str) -> None:
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    found = measured(small_detector(name), fabric=fabric)
    assert found.holds and found.tolerance == 1e-2


class BatchStatistics(ToyDetector):
    """Takes mean and variance from the batch, as a network left in training mode does."""

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        return super().predict((images - images.mean()) / images.std())


class NoiseOfTheBatch(ToyDetector):
    """A noise field for each place in the batch."""

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        return super().predict(images + 0.1 * torch.randn(images.shape, generator=generator))


class ScoreOfTheBatch(ToyDetector):
    """Maps of the images alone, scores that are scaled by the batch."""

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        found = super().predict(images)
        return Prediction(found.image_score / found.image_score.max(), found.anomaly_map)


class Remembers(ToyDetector):
    """Adds what it saw before."""

    seen = 0

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        self.seen += len(images)
        found = super().predict(images)
        return Prediction(found.image_score, found.anomaly_map + 1e-3 * self.seen)


@pytest.mark.parametrize("kind", [BatchStatistics, NoiseOfTheBatch, ScoreOfTheBatch, Remembers])
def test_a_detector_whose_scores_depend_on_the_batch_is_caught(kind: type[ToyDetector]) -> None:
    torch.manual_seed(0)
    assert not measured(kind()).holds
    assert measured(toy_detector()).holds


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_detector_that_scores_otherwise_at_one_batch_size_is_caught(size: int) -> None:
    class Otherwise(ToyDetector):
        def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
            return super().predict(images * 0.9 if len(images) == size else images)

    torch.manual_seed(0)
    assert not measured(Otherwise()).holds


def test_invariance_that_is_no_number_does_not_hold() -> None:
    assert not Invariance(1, float("nan"), 0.0, 1e-5).holds
    assert not Invariance(1, 0.0, float("nan"), 1e-5).holds
    assert Invariance(1, 1e-5, 0.0, 1e-5).holds


def test_a_single_image_that_scores_zero_is_measured() -> None:
    image, zero = IMAGES[:1], np.zeros
    whole = SetPrediction(zero(1, np.float32), zero((1, 32, 32), np.float32), 1.0)
    found = measure_invariance(Zero(), image, FABRIC, whole)
    assert found == Invariance(1, 0.0, 0.0, found.tolerance) and found.holds


class Zero(ToyDetector):
    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        return Prediction(torch.zeros(len(images)), torch.zeros_like(images[:, :1]))
