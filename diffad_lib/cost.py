"""What training and prediction cost, counted on tensors that have shapes but no values.

Nothing is computed and no memory is taken, so a network for a large card is counted on a laptop.
"""

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.settings import DetectorSettings
from diffad_lib.types import TrainingBatch

_Cost = TypeVar("_Cost", float, NDArray[np.float64])
FEW = 2  # images of a batch that is counted; in training a batch norm may refuse a single one


@dataclass(frozen=True)
class Linear:
    """A cost that grows with the images of a batch."""

    fixed: float
    each: float


@dataclass(frozen=True, eq=False)
class Highest:
    """The highest of many costs that grow with the images, one for each moment of a step."""

    fixed: NDArray[np.float64]  # [moments]
    each: NDArray[np.float64]

    def of(self, images: int) -> float:
        """The highest cost of so many images at a time."""
        return float((self.fixed + self.each * images).max())


@dataclass(frozen=True)
class Memory:
    """What a training step holds at 32 bit or in bf16, in bytes by the size of a micro-batch.

    saved: what autograd keeps from the forward for the backward pass. peak: the most that lives at
    once, without weights and the optimiser's state: what is saved, gradients, and what comes and
    goes between. state: weights, buffers and Adam's two means.
    """

    state: int
    saved: Linear
    peak: Highest

    def of(self, images: int) -> float:
        """All of it, with a micro-batch of so many images."""
        return self.state + self.peak.of(images)


@dataclass(frozen=True)
class Flop:
    """FLOP of an image; 1 multiply-add is 2 FLOP."""

    training: int  # forward and backward pass
    prediction: int


@cache
def count_flop(kind: type[Detector], settings: DetectorSettings) -> Flop:
    """FLOP of convolutions, matrix products and attention; the rest is next to nothing."""
    counter = partial(FlopCounterMode, display=False, custom_mapping=_ATTENTION_ON_CPUS)
    with hollow(kind, settings) as detector:
        batch = hollow_batch(settings, FEW)
        with counter() as training:
            detector.training_losses(batch)["total"].backward()
        detector.eval()
        with counter() as prediction, torch.no_grad():
            detector.predict(batch.image)
    return Flop(training.get_total_flops() // FEW, prediction.get_total_flops() // FEW)


def _attention_flop(query: torch.Size, key: torch.Size, value: torch.Size, **_: Any) -> int:
    """Two matrix products; shapes [B, heads, N, C]."""
    batch, heads, rows, width = query
    return 2 * batch * heads * rows * key[2] * (width + value[3])


def _attention_backward_flop(_: torch.Size, *given: torch.Size, **__: Any) -> int:
    """Five: the four gradients, and the scores once more."""
    return 5 * _attention_flop(*given[:3]) // 2


# Of the kernel that a CPU takes PyTorch's counter knows nothing.
_ATTENTION_ON_CPUS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flop,
}


@cache
def count_memory(kind: type[Detector], settings: DetectorSettings, bf16: bool) -> Memory:
    """Memory of training, from steps with two and with four images.

    bf16: autocast, by the rules of the CPU. A GPU's differ in losses alone, and these compute in
    float32 on both.
    """
    with hollow(kind, settings) as detector:
        few, more = (count_step(detector, hollow_batch(settings, n), bf16) for n in (FEW, 2 * FEW))
        weights, buffers = list(detector.parameters()), list(detector.buffers())
        trained = [weight for weight in weights if weight.requires_grad]
    held = sum(value.nbytes for value in (*weights, *buffers))
    return Memory(
        state=held + 2 * sum(weight.nbytes for weight in trained),
        saved=Linear(*_fixed_and_each(few.saved, more.saved)),
        peak=Highest(*_fixed_and_each(np.array(few.living, float), np.array(more.living, float))),
    )


def _fixed_and_each(at_few: _Cost, at_more: _Cost) -> tuple[_Cost, _Cost]:
    """What a cost is without images, and what each adds, of FEW and of twice as many images."""
    return 2 * at_few - at_more, (at_more - at_few) / FEW


@contextlib.contextmanager
def hollow(kind: type[Detector], settings: DetectorSettings) -> Iterator[Detector]:
    """A detector whose weights have no values; tensors that are made in the block have none."""
    with torch.device("meta"):
        detector = kind(settings).train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in detector.modules():
            for name, weight in module.named_parameters(recurse=False):
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                setattr(module, name, nn.Parameter(empty, weight.requires_grad))
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
        # What it checks are values.
        detector.check_images = lambda images: None  # type: ignore[method-assign]
        try:
            yield detector
        except DataDependentOutputException as error:
            raise DiffadError(
                f"{kind.__name__}: its cost cannot be counted, as its losses or its prediction "
                f"depend on a value ({error}); compute without reading values in Python"
            ) from error


def _as_it_is(value: Tensor) -> Tensor:
    return value


def hollow_batch(settings: DetectorSettings, images: int) -> TrainingBatch:
    """A batch of so many images, without values inside `hollow`."""
    side = settings.image_size
    image, mask = torch.empty(images, 3, side, side), torch.empty(images, 1, side, side)
    return TrainingBatch(image, image.clone(), mask, torch.Generator())


class Step(NamedTuple):
    """Bytes of one training step, see `Memory`."""

    saved: int
    living: list[int]  # what lives, whenever a tensor is made


def count_step(detector: Detector, batch: TrainingBatch, bf16: bool = False) -> Step:
    """Bytes of the forward and backward pass of a batch, hollow or real; gradients go again."""
    held = [*detector.parameters(), *detector.buffers()]
    own = {_storage(value) for value in held}
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(value: Tensor) -> Tensor:
        if (key := _storage(value)) not in own:
            saved[key] = value.untyped_storage()  # held, so that its number is not given again
        return value

    with _Living(held) as living:
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, _as_it_is),
            torch.autocast("cpu", torch.bfloat16, enabled=bf16),
        ):
            total = detector.training_losses(batch)["total"]
        saved_bytes = sum(storage.nbytes() for storage in saved.values())
        saved.clear()
        total.backward()
    detector.zero_grad()
    return Step(saved_bytes, living.history)


def _storage(value: Tensor) -> int:
    """What tells the memory of a tensor from that of others; views have that of their base."""
    return value.untyped_storage()._cdata


class _Living(TorchDispatchMode):
    """Adds up the memory of all tensors that are made in the block, while they live.

    held: tensors that are there before, and are not counted; nor are views of them.
    """

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()
        self.now, self.history = 0, [0]
        self.known = weakref.WeakSet(value.untyped_storage() for value in held)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self._watch(value.untyped_storage())
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        if storage in self.known:
            return
        size = storage.nbytes()
        self.known.add(storage)
        weakref.finalize(storage, partial(self._forget, size))
        self.now += size
        self.history.append(self.now)

    def _forget(self, size: int) -> None:
        self.now -= size
