"""FLOP and memory of detectors: counted without values, equal to counts with values."""

import re

import pytest
import torch

from course_files import ROOT
from diffad_lib.cost import count_flop, count_memory, count_step, hollow
from diffad_lib.errors import DiffadError
from diffad_lib.methods import method_names
from diffad_lib.methods.method import find_method
from diffad_lib.types import TrainingBatch
from small import small_detector


def real_batch(size: int, count: int) -> TrainingBatch:
    generator = torch.Generator().manual_seed(0)
    normal = torch.rand(count, 3, size, size, generator=generator)
    mask = torch.zeros(count, 1, size, size)
    mask[::2, :, :8, :8] = 1
    return TrainingBatch(normal, torch.where(mask > 0, 1 - normal, normal), mask, generator)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "autoencoder" else [pytest.mark.slow])
        for name in method_names()
    ],
)
@pytest.mark.parametrize("bf16", [False, True])
def test_predicted_bytes_are_those_of_a_real_step(name: str, bf16: bool) -> None:
    detector = small_detector(name).train()
    predicted = count_memory(type(detector), detector.settings, bf16)
    counted = count_step(detector, real_batch(32, 5), bf16)
    saved = predicted.saved.fixed + 5 * predicted.saved.each
    assert saved == pytest.approx(counted.saved, rel=0.05)
    weights = sum(weight.nbytes for weight in detector.parameters())
    assert abs(predicted.saved.fixed) < (0.7 if bf16 else 0.1) * weights  # they are not saved
    # Some kernels take memory of their own while they run.
    assert predicted.peak.of(5) == pytest.approx(max(counted.living), rel=0.1)


@pytest.mark.parametrize("name", method_names())
def test_counting_leaves_no_gradient_and_reads_no_value(name: str) -> None:
    detector = small_detector(name).train()
    count_step(detector, real_batch(32, 2))
    assert all(weight.grad is None for weight in detector.parameters())
    with hollow(type(detector), detector.settings) as empty:
        assert {type(weight).__name__ for weight in empty.buffers()} <= {"FakeTensor"}
        assert sum(p.numel() for p in empty.parameters()) == sum(
            p.numel() for p in detector.parameters()
        )


def test_a_detector_that_reads_values_cannot_be_counted() -> None:
    class Reading(type(small_detector("autoencoder"))):
        def training_losses(self, batch):
            losses = super().training_losses(batch)
            return {**losses, "total": losses["l2"] * losses["l2"].item()}

    settings = small_detector("autoencoder").settings
    with pytest.raises(DiffadError, match=r"^Reading: its cost cannot be counted.*_local_scalar"):
        count_flop(Reading, settings)


@pytest.mark.slow
def test_recomputing_saves_less_and_costs_flop() -> None:
    plain = small_detector("diffusionad").settings
    spared = plain.with_least_memory()
    kind = find_method("diffusionad").detector
    less, more = (count_memory(kind, settings, bf16=False) for settings in (spared, plain))
    assert less.saved.each < 0.6 * more.saved.each
    assert count_flop(kind, spared).training > count_flop(kind, plain).training
    assert count_flop(kind, spared).prediction == count_flop(kind, plain).prediction
    autoencoder = small_detector("autoencoder").settings
    assert autoencoder.with_least_memory() == autoencoder


COSTS = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_full_size_counts_are_the_known_ones_and_those_of_the_page() -> None:
    """Counted by others with other tools: a U-Net 563, a head 76, DRAEM's network 320 GFLOP."""
    draem, diffusionad = (find_method(name) for name in ("draem", "diffusionad"))
    small, large = (count_flop(one.detector, one.settings()) for one in (draem, diffusionad))
    assert large.prediction / 1e9 == pytest.approx(2 * 563 + 76, rel=0.002)
    assert large.training / 1e12 == pytest.approx(3.61, rel=0.005)
    assert small.prediction / 1e9 == pytest.approx(320 + 76, rel=0.002)
    assert small.training / 1e12 == pytest.approx(1.19, rel=0.005)
    tested = f"{large.prediction / 1e9:,.0f} GFLOP; of DRAEM: {small.prediction / 1e9:.0f}."
    trained = f"{large.training / 1e12:.2f} and {small.training / 1e12:.2f} TFLOP an image"
    assert tested in COSTS and trained in COSTS


@pytest.mark.slow
def test_batch_16_of_diffusionad_trains_within_24_gb_in_bf16_by_count() -> None:
    method = find_method("diffusionad")
    paper = method.budget("paper")
    assert (paper.training.batch_size, paper.detector.image_size) == (16, 256)
    spared = paper.detector.with_least_memory()
    memory = count_memory(method.detector, spared, bf16=True)
    assert memory.of(16) < 24e9 / 1.5  # a third is left for what no count sees
    rows = re.findall(r"^\| (\d+) × \d+ \|.* ([\d.]+) \|$", COSTS, re.MULTILINE)
    assert [(size, f"{memory.of(int(size)) / 2**30:.1f}") for size, _ in rows] == rows
    assert len(rows) == 5
