"""What is measured: the works, each in all ways that are possible here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric

from benchmarks import official
from benchmarks.measure import OURS, Action, Work
from diffad_lib.evaluation import predict_batch
from diffad_lib.methods.method import find_method
from diffad_lib.metrics import aupro
from diffad_lib.runs.config import build_config
from diffad_lib.synthesis.perlin import perlin_noise
from diffad_lib.training import Trainer
from diffad_lib.types import TrainingBatch

OFFICIAL, BF16 = "official", "bf16"
TRAINING, TEST = "training step", "test"
Precision = Literal["32-true", "bf16-mixed"]
PRECISIONS: dict[str, Precision] = {OURS: "32-true", BF16: "bf16-mixed"}


@dataclass(frozen=True)
class Checkouts:
    """Folders with the official code, as far as the user has it."""

    draem: Path | None = None
    diffusionad: Path | None = None


@dataclass(frozen=True)
class Size:
    """Of networks and batch."""

    image: int
    width: int
    head_width: int
    batch: int

    def told(self) -> str:
        return f"{self.image} px, widths {self.width} and {self.head_width}, batch {self.batch}"


SMALL = {
    "draem": [Size(64, 32, 32, 8), Size(128, 32, 32, 8)],
    "diffusionad": [Size(64, 32, 32, 8), Size(128, 32, 32, 4)],
}
FULL = {"draem": [Size(256, 128, 64, 1)], "diffusionad": [Size(256, 128, 64, 1)]}
RECOMPUTED = {"diffusionad": {"recompute_levels": 6}}  # all levels; DRAEM has no such setting
PERLIN_BATCH, MAPS = 16, 83  # as many maps as MVTec AD bottle has test images


def all_works(checkouts: Checkouts, full: bool, precisions: list[str]) -> Iterator[Work]:
    """The works; full: also at the size of the papers, which takes minutes."""
    for method, sizes in SMALL.items():
        for size in [*sizes, *(FULL[method] if full else [])]:
            place = getattr(checkouts, method)
            for kind in _MAKERS:
                yield _work(kind, method, size, place, precisions)
    yield _perlin(checkouts.draem)
    yield _aupro()


def full_training(checkouts: Checkouts, precisions: list[str]) -> Iterator[Work]:
    """A training step of each method at the size of its paper."""
    for method, (size,) in FULL.items():
        yield _work(TRAINING, method, size, getattr(checkouts, method), precisions)


def _work(kind: str, method: str, size: Size, place: Path | None, precisions: list[str]) -> Work:
    """kind: TRAINING or TEST."""
    make_ours, make_official = _MAKERS[kind]
    ways: dict[str, Callable[[], Action]] = {
        way: partial(make_ours, method, size, PRECISIONS[way]) for way in precisions
    }
    if kind == TRAINING and size in FULL[method] and method in RECOMPUTED:
        ways |= {
            f"{way}, recomputing": partial(make, **RECOMPUTED[method]) for way, make in ways.items()
        }
    if place:
        ways[OFFICIAL] = partial(make_official, method, size, place)
    title = f"{find_method(method).title} {kind}, {size.told()}"
    return Work(title, "image", size.batch, ways, _absent(place, method))


def _absent(place: Path | None, method: str) -> tuple[str, ...]:
    return () if place else (f"{OFFICIAL}: give its checkout with --{method}",)


def _batch(size: Size) -> TrainingBatch:
    """Noise with a square defect in every second image; what it shows does not change the time."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.rand(size.batch, 3, size.image, size.image, generator=generator)
    mask = torch.zeros(size.batch, 1, size.image, size.image)
    mask[1::2, :, : size.image // 4, : size.image // 4] = 1
    return TrainingBatch(normal, normal * (1 - mask / 2), mask, generator)


def _settings(method: str, size: Size) -> dict[str, Any]:
    own: dict[str, Any] = {"image_size": size.image, "base_width": size.width}
    own["segmentation_width"] = size.head_width
    if method == "diffusionad" and size.image < 256:  # the official code's levels at this size
        levels = {128: [1, 1, 2, 3, 4], 64: [1, 2, 3, 4]}
        own["channel_multipliers"] = levels[size.image]
    return own


def _detector(method: str, size: Size, **settings: Any) -> tuple[Any, Any]:
    """A new detector of the paper's budget at a size, and its plan of one step."""
    own = {**_settings(method, size), "steps": 1, "epochs": None, "batch_size": size.batch}
    own |= settings
    config = build_config("mvtec", "bottle", method, budget="paper", overrides=own)
    torch.manual_seed(0)
    return find_method(method).detector(config.detector), config.training


class _Same:
    """The same batch again and again."""

    def __init__(self, batch: TrainingBatch) -> None:
        self.batch = batch

    def __call__(self, index: int) -> TrainingBatch:
        return self.batch

    def describe(self, index: int) -> str:
        return "the batch of a benchmark"


def ours_training(method: str, size: Size, precision: Precision, **settings: Any) -> Action:
    detector, plan = _detector(method, size, **settings)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    trainer = Trainer(detector, _Same(_batch(size)), plan, fabric)
    detector.train()
    return trainer.step


def _ours_testing(method: str, size: Size, precision: Precision) -> Action:
    detector, plan = _detector(method, size)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    if plan.channels_last:  # as a trained detector has it
        detector.to(memory_format=torch.channels_last)
    images = (255 * _batch(size).normal).byte().numpy()
    return lambda: predict_batch(detector, images, fabric)


def _official_training(method: str, size: Size, place: Path) -> Action:
    batch, widths = _batch(size), (size.width, size.head_width)
    if method == "draem":
        return official.draem_step(place, widths, (batch.normal, batch.image, batch.mask))
    return official.diffusionad_step(place, size.image, widths, (batch.image, batch.mask))


def _official_testing(method: str, size: Size, place: Path) -> Action:
    images, widths = _batch(size).normal, (size.width, size.head_width)
    if method == "draem":
        return official.draem_test(place, widths, images)
    return official.diffusionad_test(place, size.image, widths, images)


_MAKERS: dict[str, tuple[Callable[..., Action], Callable[..., Action]]] = {
    TRAINING: (ours_training, _official_training),
    TEST: (_ours_testing, _official_testing),
}


def _perlin(place: Path | None) -> Work:
    scales = torch.full((PERLIN_BATCH, 2), 8)
    generator = torch.Generator().manual_seed(0)

    def theirs() -> Action:
        assert place is not None
        one = official.perlin(place, 256)
        return lambda: [one() for _ in range(PERLIN_BATCH)]

    ways: dict[str, Callable[[], Action]] = {
        OURS: lambda: lambda: perlin_noise(scales, 256, 256, generator)
    }
    if place:
        ways[OFFICIAL] = theirs
    title = "Perlin noise, 8 × 8 cells, 256 px"
    return Work(title, "field", PERLIN_BATCH, ways, _absent(place, "draem"))


def _aupro() -> Work:
    rng = np.random.default_rng(0)
    maps = rng.random((MAPS, 256, 256), np.float32)
    masks = np.zeros(maps.shape, np.uint8)
    masks[20:, 60:120, 80:160] = 1
    return Work("AUPRO, exact, 256 px", "map", MAPS, {OURS: lambda: lambda: aupro(maps, masks)})
