"""Several processes that train one detector: who computes what, and how it is added up.

They share the micro-batches of each step. So a plan is the same training in one process and in
two: batch norms and losses see the same micro-batches, and every process takes the same step.
"""

import datetime
import io
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from diffad_lib.errors import DiffadError, one_line

# For machines that start later, and while the first process looks at the test set or writes a
# checkpoint. A process that dies is noticed at once, by the one that started it.
PATIENCE = datetime.timedelta(minutes=30)


class Lost(DiffadError):
    """Other processes of a training cannot be reached, mostly because one of them has failed."""


def reach(others: Callable[..., Any], *given: Any, **more: Any) -> Any:
    """Call what needs the other processes; raises Lost, in one line, if that fails."""
    try:
        return others(*given, **more)
    except RuntimeError as error:  # of gloo, of NCCL, of the store where they meet
        told = "other processes of this training cannot be reached, one of them may say why"
        raise Lost(f"{told} ({one_line(error)})") from error


class Processes:
    """The processes of a training, as one of them sees them. For one alone it does nothing.

    DistributedDataParallel, which Fabric would wrap around the detector, costs more and does less:
    its wrapper made a step on a CPU 1.6 times as long, and the running statistics of batch norms
    would be those of one process, which has not seen the images of the others.
    """

    def __init__(self, fabric: Fabric, detector: nn.Module) -> None:
        self.rank, self.count, self.device = fabric.global_rank, fabric.world_size, fabric.device
        self.detector = detector
        # Between the CPUs, so that none waits for its GPU only to tell the time.
        how = {"backend": "gloo", "timeout": PATIENCE}
        self.hosts = reach(distributed.new_group, **how) if self.count > 1 else None

    def own(self, count: int) -> Iterator[int]:
        """Those of the micro-batches 0 … count - 1 of a step that this process computes.

        From a micro-batch with the statistic S, a batch norm's running statistic R becomes
        (1 - m) R + m S. That is linear in all that it has seen. So every process lets R fade for
        the micro-batches of others, only the first one begins with what R was, and the sum over
        processes, see `add_up`, is the R of one process that sees all of them in their order. A
        norm has to be used equally often in every micro-batch, one without m (a plain mean) once.
        In training none needs R.
        """
        norms = self._norms() if self.count > 1 else []
        for statistic in _statistics(norms) if self.rank else ():
            statistic.zero_()
        uses = [torch.ones_like(_seen(norm)) for norm in norms]  # each norm's in a micro-batch
        for micro in range(count):
            if micro % self.count != self.rank:
                for norm, times in zip(norms, uses, strict=True):
                    _fade(norm, times)
                continue
            before = [_seen(norm).clone() for norm in norms]
            yield micro
            uses = [_seen(norm) - n for norm, n in zip(norms, before, strict=True)]
            if micro == self.rank:  # of those before, whose R was 0, one use each was counted
                for norm, times in zip(norms, uses, strict=True):
                    _seen(norm).add_(micro * (times - 1))

    def add_up(self, optimizer: Optimizer) -> None:
        """Gradients and running statistics become their sums over all processes.

        One message for each dtype, after the last backward pass: it does not overlap with it, and
        takes as much memory as the gradients. A weight without a gradient counts as one with 0.
        """
        if self.count == 1:
            return
        parts = _statistics(self._norms())
        for weight in (one for group in optimizer.param_groups for one in group["params"]):
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            parts.append(weight.grad)
        for dtype in dict.fromkeys(part.dtype for part in parts):
            same = [part for part in parts if part.dtype == dtype]
            message = torch.cat([part.reshape(-1) for part in same])
            reach(distributed.all_reduce, message)
            for part, total in zip(same, message.split([*map(Tensor.numel, same)]), strict=True):
                part.copy_(total.view(part.shape))

    def gather(self, values: Tensor) -> Tensor:
        """[processes, ...] on the CPU, from the values [...] of each process."""
        values = values.cpu()
        if self.count == 1:
            return values[None]
        found = [torch.empty_like(values) for _ in range(self.count)]
        reach(distributed.all_gather, found, values, group=self.hosts)
        return torch.stack(found)

    def agree(self, seconds: float) -> float:
        """The time that the first process tells, so that all decide the same."""
        return self.gather(torch.tensor(seconds, dtype=torch.float64))[0].item()

    def begin_as_first(
        self, content: Callable[[], dict[str, Any]], restore: Callable[[dict[str, Any]], None]
    ) -> None:
        """Call `restore` in all processes but the first with the `content()` of the first."""
        if self.count == 1:
            return
        buffer = io.BytesIO()
        if self.rank == 0:
            torch.save(content(), buffer)
        message = [buffer.getvalue()]
        reach(distributed.broadcast_object_list, message, 0, group=self.hosts)
        if self.rank:
            sent = io.BytesIO(message[0])
            restore(torch.load(sent, map_location=self.device, weights_only=True))

    def _norms(self) -> list[_BatchNorm]:
        """Batch norms whose running statistics change: not frozen ones."""
        norms = (one for one in self.detector.modules() if isinstance(one, _BatchNorm))
        return [norm for norm in norms if norm.training and norm.track_running_stats]


def _seen(norm: _BatchNorm) -> Tensor:
    """How often a norm was used; int64 []."""
    assert norm.num_batches_tracked is not None  # it tracks statistics
    return norm.num_batches_tracked


def _fade(norm: _BatchNorm, times: Tensor) -> None:
    """As if a norm had been used so many times, and all that it saw had been 0."""
    _seen(norm).add_(times)
    m = norm.momentum
    if m is None:  # a plain mean
        m = 1 / _seen(norm).item()
    for statistic in _statistics([norm]):
        statistic.mul_((1 - m) ** times.double())


def _statistics(norms: list[_BatchNorm]) -> list[Tensor]:
    """The running means and variances themselves."""
    found = (one for norm in norms for one in (norm.running_mean, norm.running_var))
    return [one for one in found if one is not None]
