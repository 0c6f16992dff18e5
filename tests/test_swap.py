"""The swap test tells a head that needs its reconstruction from one that does not look at it."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from diffad_lib.course.lessons import mini_split
from diffad_lib.course.shipped import load_shipped
from diffad_lib.evaluation import predict_all
from diffad_lib.methods import method_names
from diffad_lib.methods.method import find_method
from diffad_lib.metrics import image_auroc, pixel_ap
from diffad_lib.swap import ANOTHER, ITSELF, NOISE, OWN, swap_test
from diffad_lib.types import Prediction
from toy import ToyDetector, toy_detector

FABRIC = Fabric(accelerator="cpu", devices=1)
COUNT, SIDE = 20, 16
LABELS = np.arange(COUNT) % 2
MASKS = np.zeros((COUNT, SIDE, SIDE), np.uint8)
MASKS[LABELS == 1, 4:8, 4:8] = 1
IMAGES = np.full((COUNT, 3, SIDE, SIDE), 100, np.uint8)
IMAGES += np.arange(COUNT, dtype=np.uint8)[:, None, None, None]  # its brightness names the image
IMAGES += 60 * MASKS[:, None]


class Head(ToyDetector):
    """Its reconstruction is perfect; its map is the residual, or the image alone."""

    def __init__(self, needs_it: bool) -> None:
        super().__init__()
        self.needs_it = needs_it
        self.seen: list[Tensor] = []

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        clean = images.flatten(1).amin(dim=1).reshape(-1, 1, 1, 1).expand_as(images)
        return self.judge(images, clean)

    def judge(self, images: Tensor, reconstruction: Tensor) -> Prediction:
        self.seen.append(reconstruction)
        residual = (images - reconstruction).abs() if self.needs_it else images
        anomaly_map = residual.mean(dim=1, keepdim=True)
        return Prediction(anomaly_map.flatten(1).amax(dim=1), anomaly_map, reconstruction)


def test_a_head_that_needs_its_reconstruction_falls_to_chance_with_the_image_itself() -> None:
    found = swap_test(Head(needs_it=True), IMAGES, LABELS, MASKS, FABRIC, batch_size=8)
    assert found[ITSELF]["image_auroc"] == 0.5
    assert found[ITSELF]["pixel_ap"] == pytest.approx(MASKS.mean())
    assert found[NOISE]["pixel_ap"] < 0.3
    assert found[ANOTHER]["pixel_ap"] > 0.9  # all backgrounds are much the same


def test_a_head_that_looks_at_the_image_alone_keeps_its_figures() -> None:
    found = swap_test(Head(needs_it=False), IMAGES, LABELS, MASKS, FABRIC, batch_size=8)
    assert [*found] == [OWN, ITSELF, ANOTHER, NOISE]
    assert all(row == {"image_auroc": 1.0, "pixel_ap": 1.0} for row in found.values())


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
def test_another_image_is_the_one_seven_places_before(batch_size: int) -> None:
    head = Head(needs_it=True)
    swap_test(head, IMAGES, LABELS, MASKS, FABRIC, batch_size)
    batches = -(-COUNT // batch_size)
    others = torch.cat([head.seen[2 + 2 * index] for index in range(batches)])
    brightness = (255 * others[:, 0, 0, 0]).round().int().tolist()
    assert brightness == [100 + (row - 7) % COUNT for row in range(COUNT)]


def test_where_the_memory_runs_out_a_swap_is_judged_in_halves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = Head(needs_it=True)
    whole, judge, sizes = swap_test(head, IMAGES, LABELS, MASKS, FABRIC, 8), head.judge, []

    def fail(images: Tensor, reconstruction: Tensor) -> Prediction:
        if len(images) > 3:
            raise torch.OutOfMemoryError
        sizes.append(len(images))
        return judge(images, reconstruction)

    monkeypatch.setattr(head, "judge", fail)
    assert swap_test(head, IMAGES, LABELS, MASKS, FABRIC, 8) == whole
    assert max(sizes) == 3 and sum(sizes) == 7 + 4 * COUNT  # the last seven come first


def test_a_method_without_a_reconstruction_and_a_single_image_have_no_swap() -> None:
    assert swap_test(toy_detector(), IMAGES, LABELS, MASKS, FABRIC) == {}
    assert swap_test(Head(needs_it=True), IMAGES[:1], LABELS[:1], MASKS[:1], FABRIC) == {}


def test_a_large_set_takes_the_memory_of_its_maps_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("image_auroc", "pixel_ap"):
        monkeypatch.setattr(f"diffad_lib.swap.{name}", lambda found, truth: found.max())
    images = np.zeros((64, 3, 128, 128), np.uint8)
    masks = images[:, 0].copy()
    masks[0, 0] = 1
    detector = Head(needs_it=True)
    monkeypatch.setattr(detector, "seen", SimpleNamespace(append=lambda given: None))
    tracemalloc.start()  # NumPy's memory: PyTorch's, of one batch, is not counted
    swap_test(detector, images, masks.any((1, 2)), masks, FABRIC, batch_size=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    maps = 4 * masks.nbytes
    assert 2 * maps <= peak < 2.3 * maps


def test_what_cannot_be_computed_is_nan() -> None:
    found = swap_test(Head(needs_it=True), IMAGES, 0 * LABELS, 0 * MASKS, FABRIC)
    assert np.isnan([*found[ITSELF].values()]).all()


@pytest.mark.parametrize("name", method_names())
def test_with_its_own_reconstruction_a_detector_says_the_same(name: str) -> None:
    method = find_method(name)
    torch.manual_seed(0)
    detector = method.detector(method.budget("mini").detector).eval()
    side = detector.settings.image_size
    images = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        own = detector.predict(images)
        assert own.reconstruction.min() > 0 or own.reconstruction.max() < 1
        again = detector.judge(images, own.reconstruction)
    torch.testing.assert_close(again.image_score, own.image_score, rtol=0.05, atol=0.02)


@pytest.mark.slow
def test_the_shipped_draem_of_the_bracket_needs_its_reconstruction() -> None:
    detector = load_shipped("draem_bracket").detector
    images, masks = mini_split("bracket", "test", detector.settings.image_size)
    labels = masks.flatten(1).any(dim=1).int().numpy()
    given = (255 * images).round().byte().numpy(), labels, masks[:, 0].numpy()
    found = swap_test(detector, *given, FABRIC)
    assert found[ANOTHER]["image_auroc"] < 0.7 and found[ANOTHER]["pixel_ap"] < 0.2
    assert found[ITSELF]["pixel_ap"] < 0.55
    own = predict_all(detector, given[0], FABRIC)
    assert found[OWN]["pixel_ap"] == pixel_ap(own.anomaly_maps, given[2])
    assert found[OWN]["image_auroc"] == image_auroc(own.image_scores, labels)
