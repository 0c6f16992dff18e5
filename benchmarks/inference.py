"""Inference for a line: latency and throughput of every method, with the FLOP that explain them.

A call begins with uint8 images on the host and ends with maps and scores on the host.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import anomalib_networks
from benchmarks.measure import OURS, Action, Work, in_turn
from benchmarks.works import BF16, HOWS
from diffad_lib.cost import count_flop
from diffad_lib.detector import Detector
from diffad_lib.evaluation import predict_all
from diffad_lib.methods import method_names
from diffad_lib.methods.method import Method, find_method
from diffad_lib.settings import BudgetName, DetectorSettings

SIZES = (64, 128, 256)  # pixels
FULL: BudgetName = "paper"  # measured at its own size, and only when asked for
BATCH, BATCH_FLOP = 16, 170e9  # images of a call, or as many as stay below so many FLOP
LIGHT_FLOP, LIGHT_CALLS = 30e9, 20  # a call below so many FLOP is made so often at least
SQUARE = 2048  # rows of the matrices whose product tells what the processor reaches


@dataclass(frozen=True)
class Subject:
    """A network at one size of images."""

    method: str
    network: str  # the budgets that have it
    pixels: int
    flop: int  # of one image
    make: Callable[[], Detector]
    channels_last: bool = False

    @property
    def name(self) -> str:
        return f"{self.method}, {self.network}"

    @property
    def batch(self) -> int:
        """Images of a call that measures throughput: a power of two."""
        feasible = max(1, min(BATCH, int(BATCH_FLOP // self.flop)))
        return 1 << (feasible.bit_length() - 1)


@dataclass(frozen=True)
class Calls:
    """Seconds of each call with so many images: on the clock, and of the processor's time."""

    images: int
    seconds: Sequence[float]
    cpu_seconds: Sequence[float]  # of all threads; less than the clock where others computed too


@dataclass(frozen=True)
class Row:
    """What was measured of a network at one size in one precision."""

    method: str
    network: str
    pixels: int
    flop: int
    precision: str
    one: Calls
    batch: Calls

    @property
    def name(self) -> str:
        return f"{self.method}, {self.network}"

    @property
    def images_per_second(self) -> float:
        """In a batch, on the clock."""
        return self.batch.images / statistics.median(self.batch.seconds)

    @property
    def images_per_cpu_second(self) -> float:
        """In a batch; what one core does that computes nothing else."""
        return self.batch.images / statistics.median(self.batch.cpu_seconds)


def own_subjects(full: bool) -> list[Subject]:
    """The networks of the budgets of every method; full: of the papers too.

    Those of the papers at their own size, the smaller ones at all, so that size alone is seen.
    """
    return [one for name in method_names() for one in _of_method(find_method(name), full)]


def _of_method(method: Method, full: bool) -> Iterator[Subject]:
    """Budgets whose networks cost the same at a size are one subject: so do mini and laptop."""
    found: dict[tuple[int, int], list[BudgetName]] = {}
    for name in method.budgets:
        if name == FULL and not full:
            continue
        for settings in _at_sizes(method, name):
            flop = count_flop(method.detector, settings).prediction
            found.setdefault((settings.image_size, flop), []).append(name)
    for (pixels, flop), names in found.items():
        budget = method.budgets[names[0]]
        make = partial(method.detector, budget.detector.but(image_size=pixels))
        network, channels_last = " and ".join(names), budget.training.channels_last
        yield Subject(method.title, network, pixels, flop, make, channels_last)


def _at_sizes(method: Method, name: BudgetName) -> list[DetectorSettings]:
    settings = method.budgets[name].detector
    sizes = {settings.image_size} if name == FULL else {settings.image_size, *SIZES}
    return [settings.but(image_size=one) for one in sorted(sizes)]


def their_subjects() -> tuple[list[Subject], list[str]]:
    """Networks of anomalib, and what cannot be measured of it with the reason."""
    if reason := anomalib_networks.why_absent():
        return [], [reason]
    made = [
        (pixels, *one) for pixels in SIZES for one in anomalib_networks.networks(pixels).items()
    ]
    subjects = [
        Subject(name, "anomalib", pixels, _counted(make(), pixels), make)
        for pixels, name, make in made
    ]
    least = anomalib_networks.LEAST
    return subjects, [f"{anomalib_networks.EFFICIENT_AD} of anomalib: takes {least} px at least"]


def _counted(detector: Detector, pixels: int) -> int:
    """FLOP of one image, counted while it is predicted."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        detector.predict(torch.rand(1, 3, pixels, pixels))
    return int(counter.get_total_flops())


Key = tuple[str, int, str, int]  # name, pixels, precision, images of a call


def measure(subjects: Sequence[Subject], precisions: Sequence[str], pairs: int) -> list[Row]:
    """Rows of all subjects; those with the same size and batch are called in turn."""
    calls: dict[Key, Calls] = {}
    for keys, work, count in works(subjects, precisions, pairs):
        print(f"{work.title}, {count} calls of {len(work.ways)} ways", flush=True)
        found = in_turn(work, count)
        for way, key in keys.items():
            calls[key] = Calls(work.units, found.seconds[way], found.cpu_seconds[way])
    return [_row(one, precision, calls) for one in subjects for precision in precisions]


def _row(one: Subject, precision: str, calls: Mapping[Key, Calls]) -> Row:
    single, batch = (calls[one.name, one.pixels, precision, n] for n in (1, one.batch))
    return Row(one.method, one.network, one.pixels, one.flop, precision, single, batch)


def works(
    subjects: Sequence[Subject], precisions: Sequence[str], pairs: int
) -> Iterator[tuple[dict[str, Key], Work, int]]:
    """What to call in turn, how often, and what each way of it is."""
    groups: dict[tuple[int, int, int], list[tuple[Subject, str]]] = {}
    for subject in subjects:
        for images in {1, subject.batch}:
            is_light = subject.flop * images < LIGHT_FLOP
            calls = max(pairs, LIGHT_CALLS) if is_light else pairs
            group = groups.setdefault((subject.pixels, images, calls), [])
            group += [(subject, precision) for precision in precisions]
    for (pixels, images, calls), members in sorted(groups.items(), key=lambda one: one[0]):
        keys = {f"{one.name}, {way}": (one.name, pixels, way, images) for one, way in members}
        ways = {f"{one.name}, {way}": partial(_call, one, way, images) for one, way in members}
        yield keys, Work(f"{images} × {pixels} px", "image", images, ways), calls


def _call(subject: Subject, precision: str, images: int) -> Action:
    """Predicts the same images again and again; weights are random."""
    torch.manual_seed(0)
    detector = subject.make()
    if subject.channels_last:  # as a trained detector has it
        detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shape = images, 3, subject.pixels, subject.pixels
    given = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return lambda: predict_all(detector, given, _fabric(precision), batch_size=images)


@cache
def _fabric(precision: str) -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision=HOWS[precision].precision)


def reached(precisions: Sequence[str], pairs: int) -> dict[str, float]:
    """FLOP of a large matrix product in a second of CPU time: about the most to be had."""
    kinds = {OURS: torch.float32, BF16: torch.bfloat16}
    ways = {one: partial(_product, kinds[one]) for one in precisions}
    found = in_turn(Work("matrix product", "product", 1, ways), max(pairs, LIGHT_CALLS))
    times = found.cpu_seconds
    return {one: 2 * SQUARE**3 / statistics.median(times[one]) for one in precisions}


def _product(kind: torch.dtype) -> Action:
    one, other = torch.rand(2, SQUARE, SQUARE).to(kind)
    return lambda: one @ other
