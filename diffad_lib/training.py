"""One training loop for every detector: steps, time limit, checkpoints, exact resume."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diffad_lib.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from diffad_lib.detector import BatchSource, Detector
from diffad_lib.errors import DiffadError
from diffad_lib.plans import PLACES, TrainingSettings, lr_factor
from diffad_lib.processes import Processes
from diffad_lib.progress import next_line

_FLUSH_STEPS = 10  # losses are read from the device this often, so that it is not kept waiting
_HISTORY_ROWS = 1000  # a longer history is thinned to every second row


@dataclass(frozen=True)
class TrainingResult:
    """The trained detector (EMA weights if asked for) and how it got there."""

    detector: Detector
    steps: int
    seconds: float
    history: list[dict[str, float]]  # step, seconds, loss terms, lr/<group>; means over windows
    stopped_by: str  # "steps", "time" or, of a detector that was given, "weights"
    resumed_from: int  # step of the checkpoint it went on from, 0 if none
    selected_step: int  # step whose weights are returned

    @property
    def last(self) -> dict[str, float]:
        """The last row of the history; {} of a detector that was given."""
        return self.history[-1] if self.history else {}


class Callback(Protocol):
    """Something that looks on. It is called every `every` steps, and resumed with the training.

    A class that is derived from it needs `every` and `__call__` only.
    """

    every: int

    def __call__(self, step: int, detector: Detector) -> None:
        """Look at the detector after a step, in evaluation mode, with EMA weights if any."""
        ...

    def finish(self, detector: Detector) -> int | None:
        """At the end, put other weights in place; returns the step they are of, None if kept."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What it has to know when the training goes on from a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        return None


@dataclass
class TrainingState:
    """Where a training is."""

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """One training of a plan in steps: detector, optimiser, averaged weights, state.

    With a folder, the last two checkpoints are kept there, and the training goes on from them. Of
    several processes (`processes.py`) only the first has one.
    """

    def __init__(
        self,
        detector: Detector,
        batches: BatchSource,
        plan: TrainingSettings,
        fabric: Fabric,
        folder: Path | None = None,
        callbacks: Sequence[Callback] = (),
        report: Callable[[str], None] = print,
    ) -> None:
        if plan.steps is None:
            raise ValueError("the loop counts steps: give TrainingSettings.in_steps(...)")
        # Moved, but not wrapped: with Fabric's wrapper a step took 1.6 times as long on a CPU.
        fabric.to_device(detector)
        if plan.channels_last:
            # PyTorch documents this form, but its overloads lack it.
            detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.detector = detector
        self.batches, self.plan, self.fabric, self.steps = batches, plan, fabric, plan.steps
        self.callbacks, self.report, self.folder = callbacks, report, folder
        # One optimiser in, one out; Fabric's wrapper has the methods of what it wraps.
        self.optimizer = cast(Optimizer, fabric.setup_optimizers(detector.optimizer(plan)))
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        averaging = {"multi_avg_fn": get_ema_multi_avg_fn(plan.ema_decay), "use_buffers": True}
        self.averaged = AveragedModel(detector, **averaging) if plan.ema_decay else None
        self.processes = Processes(fabric, detector)
        self.state = TrainingState()
        self.window: list[dict[str, Tensor]] = []  # losses that are still on the device
        self.next_report = 0.0

    def train(self) -> TrainingResult:
        """Train to the end of the plan.

        DiffadError when a loss is not finite (the last good checkpoint stays), and when the
        checkpoint cannot be written or is of another plan.
        """
        if self.folder:
            how = self._identity(), self.fabric.device, self._restore, self.report
            if found := load_checkpoint(self.folder, *how):
                self.report(f"resumed from step {self.state.step} of {found}")
        self.processes.begin_as_first(self._content, self._restore)
        resumed_from, started = self.state.step, time.monotonic() - self.state.seconds
        saved_at, pause = self.state.seconds, self.plan.checkpoint_seconds
        self.detector.train()
        while self.spent < 1:
            self.window.append(self.step())
            self.state.seconds = self.processes.agree(time.monotonic() - started)
            due = [one for one in self.callbacks if self.state.step % one.every == 0]
            unsaved = self.state.seconds - saved_at
            is_late = 0 < 2 * pause <= unsaved  # ten steps may take longer than two pauses
            if len(self.window) >= _FLUSH_STEPS or self.spent >= 1 or due or is_late:
                self._flush()
                for callback in due if self.fabric.is_global_zero else ():
                    callback(self.state.step, self._candidate().eval())
                    self.detector.train()
                if unsaved >= pause:
                    begun = time.monotonic()
                    self._save()
                    saved_at = self.processes.agree(time.monotonic() - started)
                    pause = self._pause(self.processes.agree(time.monotonic() - begun))
        if self.state.step > resumed_from:
            self._save()
        return self._result(resumed_from)

    def step(self) -> dict[str, Tensor]:
        """One optimiser step, with the rates of its turn, of a detector in training mode.

        Returns this process's share in the mean of every loss term over the micro-batches.
        """
        self._set_rates()
        terms = self._optimiser_step()
        self.state.step += 1
        return terms

    def _pause(self, save_seconds: float) -> float:
        """Seconds to the next checkpoint: longer where writing one, as of large networks, is slow.

        Then 20 times as long as writing one took, but at most 10 times `checkpoint_seconds`.
        """
        shortest = self.plan.checkpoint_seconds
        return min(max(shortest, 20 * save_seconds), 10 * shortest)

    @property
    def spent(self) -> float:
        """Share of the plan that is spent, by steps or by time, whichever is more."""
        share, limit = self.state.step / self.steps, self.plan.max_train_seconds
        return share if limit is None else max(share, self.state.seconds / limit)

    def _set_rates(self) -> None:
        for group in self.optimizer.param_groups:
            schedule = group.get("schedule", self.plan.lr_schedule)
            factor = lr_factor(schedule, self.state.step, self.spent, self.plan.warmup_fraction)
            group["lr"] = group["initial_lr"] * factor

    def _optimiser_step(self) -> dict[str, Tensor]:
        """The gradients of the micro-batches, and the update of the weights; see `step`."""
        sums: dict[str, Tensor] = {}
        accumulate = self.plan.accumulate
        for micro in self.processes.own(accumulate):
            batch = self.batches(self.state.step * accumulate + micro)
            if self.plan.channels_last:
                batch = replace(
                    batch,
                    normal=batch.normal.contiguous(memory_format=torch.channels_last),
                    image=batch.image.contiguous(memory_format=torch.channels_last),
                )
            with self.fabric.autocast():
                terms = self.detector.training_losses(batch)
            self.fabric.backward(terms["total"] / accumulate)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / accumulate
        self.processes.add_up(self.optimizer)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.averaged is not None:
            self.averaged.update_parameters(self.detector)
        return sums

    def _candidate(self) -> Detector:
        """The detector whose weights would be returned now."""
        return self.detector if self.averaged is None else cast(Detector, self.averaged.module)

    def _flush(self) -> None:
        """Read the window's losses, stop on a non-finite one, add a row to the history."""
        own = torch.stack([torch.stack([*terms.values()]) for terms in self.window])
        shares = self.processes.gather(own)  # [processes, steps, terms]
        rows = [dict(zip(self.window[0], row, strict=True)) for row in shares.sum(dim=0).tolist()]
        for step, row in enumerate(rows, start=self.state.step - len(rows) + 1):
            self._check_finite(row, step, shares[:, step - self.state.step - 1])
        self.window.clear()
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        groups, state = self.optimizer.param_groups, self.state
        rates = {f"lr/{group.get('name', n)}": group["lr"] for n, group in enumerate(groups)}
        state.history.append({"step": state.step, "seconds": state.seconds, **means, **rates})
        if len(state.history) > _HISTORY_ROWS:
            del state.history[:-1:2]
        self._tell(means)

    def _tell(self, terms: dict[str, float]) -> None:
        """Print a line from time to time, and at the end."""
        state, share = self.state, min(self.spent, 1.0)
        if share < 1 and state.seconds < self.next_report:
            return
        self.next_report = next_line(state.seconds)
        losses = "  ".join(f"{name} {value:.4f}" for name, value in terms.items())
        left = state.seconds * (1 - share) / share
        rate = state.step / max(state.seconds, 1e-9)
        self.report(
            f"step {state.step}/{self.steps} ({share:4.0%})  {losses}  "
            f"{rate:.1f} steps/s  {left:.0f} s left"
        )

    def _check_finite(self, row: dict[str, float], step: int, shares: Tensor) -> None:
        bad = [name for name, value in row.items() if not math.isfinite(value)]
        if not bad:
            return
        indices = range((step - 1) * self.plan.accumulate, step * self.plan.accumulate)
        good = shares.isfinite().all(dim=1)  # whether a process has computed no such loss
        theirs = [index for index in indices if not good[index % len(good)]]
        names = "; ".join(self.batches.describe(index) for index in theirs)
        kept = checkpoints(self.folder) if self.folder else []
        stays = f"the last good checkpoint stays in {kept[0]}; " if kept else ""
        raise DiffadError(
            f"loss {', '.join(bad)} is not finite at step {step}, batch: {names}; {stays}"
            "lower the learning rate or use precision 32"
        )

    def _identity(self) -> dict[str, Any]:
        """What has to be equal for a checkpoint to be gone on from."""
        return self.plan.model_dump(mode="json", exclude={"checkpoint_seconds", *PLACES})

    def _save(self) -> None:
        if self.folder is not None:
            save_checkpoint(self.folder, self._content())

    def _content(self) -> dict[str, Any]:
        """What a checkpoint holds, and what all processes begin with."""
        return {
            "plan": self._identity(),
            "state": asdict(self.state),
            "detector": self.detector.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "callbacks": [callback.state_dict() for callback in self.callbacks],
        }

    def _restore(self, content: dict[str, Any]) -> None:
        self.detector.load_state_dict(content["detector"])
        if self.averaged is not None:
            self.averaged.load_state_dict(content["averaged"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.fabric.strategy.precision.load_state_dict(content["precision"])
        for callback, state in zip(self.callbacks, content["callbacks"], strict=True):
            callback.load_state_dict(state)
        self.state = TrainingState(**content["state"])

    def _result(self, resumed_from: int) -> TrainingResult:
        if self.averaged is not None:
            self.detector.load_state_dict(self.averaged.module.state_dict())
        selected = self.state.step
        for callback in self.callbacks:
            selected = callback.finish(self.detector) or selected
        self.detector.eval().after_training(self.batches)
        return TrainingResult(
            detector=self.detector,
            steps=self.state.step,
            seconds=self.state.seconds,
            history=self.state.history,
            stopped_by="steps" if self.state.step >= self.steps else "time",
            resumed_from=resumed_from,
            selected_step=selected,
        )
