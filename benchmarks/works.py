"""What is measured: the works, each in all ways that are possible here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from benchmarks import official
from benchmarks.measure import COMPILED, OURS, Action, Work
from diffad_lib.evaluation import predict_batch
from diffad_lib.methods.method import find_method
from diffad_lib.metrics import aupro
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.facts import computes_bf16
from diffad_lib.runs.speed import noise_batches
from diffad_lib.synthesis.perlin import perlin_noise
from diffad_lib.training import Trainer
from diffad_lib.types import TrainingBatch

OFFICIAL, BF16, TF32 = "official", "bf16", "tf32"
TRAINING, TEST = "training step", "test"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class How:
    """How this project computes a work, and where."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    device: torch.device = CPU
    tf32: bool = True  # in convolutions on a GPU, as PyTorch begins; a CPU has none
    compiled: bool = False


@dataclass(frozen=True)
class Setup:
    """What is compared: ways of this project, and the official code whose folders the user has."""

    hows: Mapping[str, How]
    draem: Path | None = None
    diffusionad: Path | None = None

    @property
    def device(self) -> torch.device:
        """Where all of it is computed."""
        return self.hows[OURS].device


HOWS = {OURS: How(tf32=False), TF32: How(), BF16: How("bf16-mixed")}


def hows_on(device: torch.device) -> dict[str, How]:
    """Those of HOWS that make sense on a device."""
    has = {OURS: True, TF32: device.type == "cuda", BF16: computes_bf16(device)}
    return {name: replace(how, device=device) for name, how in HOWS.items() if has[name]}


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
FULL = {"draem": Size(256, 128, 64, 1), "diffusionad": Size(256, 128, 64, 1)}
FULL_ON_GPU = {"draem": Size(256, 128, 64, 8), "diffusionad": Size(256, 128, 64, 4)}
RECOMPUTED = {"diffusionad": {"recompute_levels": 6}}  # all levels; DRAEM has no such setting
_FIRST_BATCHES = 20  # not timed: with every augmentation, some of which import first
PERLIN_BATCH, MAPS = 16, 83  # as many maps as MVTec AD bottle has test images


def all_works(setup: Setup, full: bool) -> Iterator[Work]:
    """The works; full: also at the size of the papers, which takes a CPU minutes."""
    for method, sizes in SMALL.items():
        for size in [*sizes, *([full_sizes(setup.device)[method]] if full else [])]:
            for kind in _MAKERS:
                yield _work(kind, method, size, setup)
    yield _synthesis(setup.device)
    yield _perlin(setup.device, setup.draem)
    yield _aupro()


def full_sizes(device: torch.device) -> dict[str, Size]:
    """The size of the papers, with as many images as there is time or room for."""
    return FULL_ON_GPU if device.type == "cuda" else FULL


def full_training(setup: Setup) -> Iterator[Work]:
    """A training step of each method at the size of its paper."""
    for method, size in full_sizes(setup.device).items():
        yield _work(TRAINING, method, size, setup)


def _work(kind: str, method: str, size: Size, setup: Setup) -> Work:
    """kind: TRAINING or TEST."""
    make_ours, make_official = _MAKERS[kind]
    ways: dict[str, Callable[[], Action]] = {
        way: partial(make_ours, method, size, how) for way, how in setup.hows.items()
    }
    if kind == TRAINING and size == full_sizes(setup.device)[method]:
        more = {
            f"{way}, recomputing": partial(make_ours, method, size, how, **RECOMPUTED[method])
            for way, how in setup.hows.items()
            if method in RECOMPUTED
        }
        if setup.device.type == "cuda":  # on a CPU it does not pay: docs/costs.md
            more |= {
                f"{way}, {COMPILED}": partial(make_ours, method, size, replace(how, compiled=True))
                for way, how in setup.hows.items()
            }
        ways |= more
    place = getattr(setup, method)
    if place:
        ways[OFFICIAL] = partial(make_official, method, size, setup.hows[OURS], place)
        if TF32 in setup.hows:
            ways[f"{OFFICIAL}, {TF32}"] = partial(
                make_official, method, size, setup.hows[TF32], place
            )
    title = f"{find_method(method).title} {kind}, {size.told()}"
    return Work(title, "image", size.batch, ways, _absent(place, method))


def until_done(action: Action, device: torch.device, tf32: bool = True) -> Action:
    """An action that on a GPU ends when the device does, with or without TF32 in convolutions."""
    if device.type != "cuda":
        return action

    def act() -> None:
        torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cuda.matmul.allow_tf32 = False  # an environment variable may turn it on
        action()
        torch.cuda.synchronize(device)

    return act


def _absent(place: Path | None, method: str) -> tuple[str, ...]:
    return () if place else (f"{OFFICIAL}: give its checkout with --{method}",)


def _batch(size: Size, device: torch.device = CPU) -> TrainingBatch:
    """Noise with a square defect in every second image; what it shows does not change the time."""
    generator = torch.Generator(device).manual_seed(0)
    shape = size.batch, 3, size.image, size.image
    normal = torch.rand(shape, generator=generator, device=device)
    mask = torch.zeros_like(normal[:, :1])
    mask[1::2, :, : size.image // 4, : size.image // 4] = 1
    return TrainingBatch(normal, normal * (1 - mask / 2), mask, generator)


def _settings(method: str, size: Size) -> dict[str, Any]:
    own: dict[str, Any] = {"image_size": size.image, "base_width": size.width}
    own["segmentation_width"] = size.head_width
    if method == "diffusionad" and size.image < 256:  # the official code's levels at this size
        levels = {128: [1, 1, 2, 3, 4], 64: [1, 2, 3, 4]}
        own["channel_multipliers"] = levels[size.image]
    return own


def _config(method: str, size: Size, **settings: Any) -> RunConfig:
    """Of one step of the paper's budget at a size."""
    own = {**_settings(method, size), "steps": 1, "epochs": None, "batch_size": size.batch}
    return build_config("mvtec", "bottle", method, budget="paper", overrides=own | settings)


def _detector(config: RunConfig, device: torch.device) -> Any:
    """A new detector there."""
    torch.manual_seed(0)
    return find_method(config.method).detector(config.detector).to(device)


class _Same:
    """The same batch again and again."""

    def __init__(self, batch: TrainingBatch) -> None:
        self.batch = batch

    def __call__(self, index: int) -> TrainingBatch:
        return self.batch

    def describe(self, index: int) -> str:
        return "the batch of a benchmark"


def ours_training(method: str, size: Size, how: How, **settings: Any) -> Action:
    config = _config(method, size, **settings)
    detector = _detector(config, how.device)
    if how.compiled:
        for network in detector.children():
            network.compile(dynamic=False, fullgraph=True)  # or it fails, and that is told
    batches = _Same(_batch(size, how.device))
    trainer = Trainer(detector, batches, config.training, _fabric(how))
    detector.train()
    return until_done(trainer.step, how.device, how.tf32)


def _ours_testing(method: str, size: Size, how: How) -> Action:
    config = _config(method, size)
    detector, fabric = _detector(config, how.device), _fabric(how)
    if config.training.channels_last:  # as a trained detector has it
        detector.to(memory_format=torch.channels_last)
    images = (255 * _batch(size).normal).byte().numpy()
    return until_done(lambda: predict_batch(detector, images, fabric), how.device, how.tf32)


def _fabric(how: How) -> Fabric:
    alone = LightningEnvironment()  # or Fabric looks for MPI
    device = how.device.type
    return Fabric(accelerator=device, devices=1, precision=how.precision, plugins=[alone])


def _official_training(method: str, size: Size, how: How, place: Path) -> Action:
    batch, widths = _batch(size, how.device), (size.width, size.head_width)
    if method == "draem":
        step = official.draem_step(place, widths, (batch.normal, batch.image, batch.mask))
    else:
        step = official.diffusionad_step(place, size.image, widths, (batch.image, batch.mask))
    return until_done(step, how.device, how.tf32)


def _official_testing(method: str, size: Size, how: How, place: Path) -> Action:
    images, widths = _batch(size, how.device).normal, (size.width, size.head_width)
    if method == "draem":
        test = official.draem_test(place, widths, images)
    else:
        test = official.diffusionad_test(place, size.image, widths, images)
    return until_done(test, how.device, how.tf32)


_MAKERS: dict[str, tuple[Callable[..., Action], Callable[..., Action]]] = {
    TRAINING: (ours_training, _official_training),
    TEST: (_ours_testing, _official_testing),
}


def _synthesis(device: torch.device) -> Work:
    """A batch of DRAEM's paper, made of images in memory."""
    config, steps = _config("draem", FULL_ON_GPU["draem"]), count()
    batches = noise_batches(config, device)

    def make() -> Action:
        act = until_done(lambda: batches(next(steps)), device)
        for _ in range(_FIRST_BATCHES):
            act()
        return act

    title = f"DRAEM's synthesis, {config.detector.image_size} px"
    return Work(title, "image", batches.batch_size, {OURS: make})


def _perlin(device: torch.device, place: Path | None) -> Work:
    def ours() -> Action:
        scales = torch.full((PERLIN_BATCH, 2), 8, device=device)
        generator = torch.Generator(device).manual_seed(0)
        return until_done(lambda: perlin_noise(scales, 256, 256, generator), device)

    def theirs() -> Action:
        assert place is not None
        one = official.perlin(place, 256)
        return lambda: [one() for _ in range(PERLIN_BATCH)]

    ways: dict[str, Callable[[], Action]] = {OURS: ours}
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
