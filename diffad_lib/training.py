"""One training loop for every detector: steps, time limit, checkpoints, exact resume."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diffad_lib.checkpoint import (
    CHECKPOINT_NAME,
    TrainingPlan,
    TrainingState,
    load_checkpoint,
    save_checkpoint,
)
from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.types import TrainingBatch

_FLUSH_STEPS = 10  # losses are read from the device this often, so that it is not kept waiting
_HISTORY_ROWS = 1000  # a longer history is thinned to every second row


class BatchSource(Protocol):
    """Batches by index. The batch depends on the index alone, so a resumed run sees the same."""

    def __call__(self, index: int) -> TrainingBatch: ...

    def describe(self, index: int) -> str:
        """Names what is in the batch, for error messages."""
        ...


@dataclass(frozen=True)
class TrainingResult:
    """The trained detector (EMA weights if asked for) and how it got there."""

    detector: Detector
    steps: int
    seconds: float
    history: list[dict[str, float]]  # step, seconds, loss terms, lr/<group>; means over windows
    stopped_by: str  # "steps" or "time"
    resumed_from: int  # step of the checkpoint it went on from, 0 if none
    selected_step: int  # step whose weights are returned


def lr_factor(schedule: str, step: int, progress: float, warmup_fraction: float = 0.0) -> float:
    """Multiplier of a learning rate at an optimiser step.

    step: 0-based. progress: share of the training that is spent, in [0,1].
    paper-steps: ×0.1 at 4/7 and 6/7 (DRAEM paper: epochs 400 and 600 of 700). code-steps: ×0.2
    at 80 % and 90 % (train_DRAEM.py). cosine: to zero over the training. cosine-10: cosine with
    T_max of 10 *steps*, so it rises and falls every 20 (DiffusionAD train.py).
    """
    if progress < warmup_fraction:
        return max(progress / warmup_fraction, 1e-3)
    if schedule == "constant":
        return 1.0
    if schedule == "paper-steps":
        return 0.1 ** sum(progress >= at for at in (4 / 7, 6 / 7))
    if schedule == "code-steps":
        return 0.2 ** sum(progress >= at for at in (0.8, 0.9))
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    if schedule == "cosine-10":
        return 0.5 * (1 + math.cos(math.pi * step / 10))
    raise ValueError(f"unknown learning-rate schedule {schedule!r}")


class _Progress:
    """Prints a line at least every 15 s, or every 2 % of the elapsed time in long runs."""

    def __init__(self, plan: TrainingPlan, report: Callable[[str], None]) -> None:
        self.plan, self.report = plan, report
        self.next_at = 0.0

    def __call__(self, state: TrainingState, share: float, last: bool = False) -> None:
        if not last and state.seconds < self.next_at:
            return
        self.next_at = state.seconds + max(15.0, 0.02 * state.seconds)
        row = state.history[-1]
        terms = "  ".join(
            f"{name} {value:.4f}"
            for name, value in row.items()
            if name not in ("step", "seconds") and not name.startswith("lr/")
        )
        left = state.seconds * (1 - share) / share if share > 0 else math.nan
        rate = state.step / max(state.seconds, 1e-9)
        self.report(
            f"step {state.step}/{self.plan.steps} ({share:4.0%})  {terms}  "
            f"{rate:.1f} steps/s  {left:.0f} s left"
        )


def train(
    detector: Detector,
    batches: BatchSource,
    plan: TrainingPlan,
    fabric: Fabric,
    folder: Path | None = None,
    report: Callable[[str], None] = print,
    select_every: int | None = None,
    select: Callable[[Detector], float] | None = None,
) -> TrainingResult:
    """Train a detector; with a folder, keep a checkpoint there and go on from it if it exists.

    With `select_every` and `select`, the weights with the highest `select(detector)` are
    returned instead of the last ones.

    Raises DiffadError when a loss is not finite (the last good checkpoint stays), when the
    checkpoint cannot be written, or when it belongs to another plan.
    """
    # Moved, but not wrapped: with Fabric's wrapper a step took 1.6 times as long on a CPU.
    detector = fabric.to_device(detector)
    if plan.channels_last:
        detector = detector.to(memory_format=torch.channels_last)
    groups = detector.parameter_groups()
    optimizer = torch.optim.Adam(
        [{"params": list(p), "lr": plan.learning_rates[name]} for name, p in groups.items()],
        fused=True,
    )
    optimizer = fabric.setup_optimizers(optimizer)
    averaged = _averaged(detector, plan.ema_decay)
    best: dict[str, Tensor] | None = None

    state = TrainingState()
    checkpoint = folder / CHECKPOINT_NAME if folder else None
    if checkpoint and checkpoint.exists():
        state, best = load_checkpoint(checkpoint, plan, detector, averaged, optimizer, fabric)
        report(f"resumed from step {state.step} of {checkpoint}")
    resumed_from, started = state.step, time.monotonic() - state.seconds
    saved_at = state.seconds
    progress = _Progress(plan, report)
    window: list[dict[str, Tensor]] = []

    def spent() -> float:
        share = state.step / plan.steps
        return share if plan.max_seconds is None else max(share, state.seconds / plan.max_seconds)

    def flush() -> None:
        """Read the window's losses, stop on a non-finite one, add a row to the history."""
        rows = [{name: float(value) for name, value in terms.items()} for terms in window]
        first_step = state.step - len(rows) + 1
        for offset, row in enumerate(rows):
            _check_finite(row, first_step + offset, batches, plan, checkpoint)
        window.clear()
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        lrs = {
            f"lr/{name}": group["lr"]
            for name, group in zip(groups, optimizer.param_groups, strict=True)
        }
        state.history.append({"step": state.step, "seconds": state.seconds, **means, **lrs})
        if len(state.history) > _HISTORY_ROWS:
            del state.history[:-1:2]

    detector.train()
    while spent() < 1:
        for group, name in zip(optimizer.param_groups, groups, strict=True):
            factor = lr_factor(plan.lr_schedules[name], state.step, spent(), plan.warmup_fraction)
            group["lr"] = plan.learning_rates[name] * factor
        window.append(_optimiser_step(detector, optimizer, batches, plan, fabric, state.step))
        if averaged is not None:
            averaged.update_parameters(detector)
        state.step += 1
        state.seconds = time.monotonic() - started

        selecting = select is not None and select_every and state.step % select_every == 0
        if len(window) >= _FLUSH_STEPS or spent() >= 1 or selecting:
            flush()
            progress(state, min(spent(), 1.0), last=spent() >= 1)
            if selecting:
                best = _keep_best(state, select, averaged, detector, best)
                detector.train()
            if checkpoint and state.seconds - saved_at >= plan.checkpoint_seconds:
                saved_at = state.seconds
                save_checkpoint(
                    checkpoint, plan, state, best, detector, averaged, optimizer, fabric
                )
    if checkpoint:
        save_checkpoint(checkpoint, plan, state, best, detector, averaged, optimizer, fabric)
    if averaged is not None:
        detector.load_state_dict(averaged.module.state_dict())
    if best is not None:
        detector.load_state_dict(best)
    return TrainingResult(
        detector=detector.eval(),
        steps=state.step,
        seconds=state.seconds,
        history=state.history,
        stopped_by="steps" if state.step >= plan.steps else "time",
        resumed_from=resumed_from,
        selected_step=state.best_step if best is not None else state.step,
    )


def _optimiser_step(
    detector: Detector,
    optimizer: Any,
    batches: BatchSource,
    plan: TrainingPlan,
    fabric: Fabric,
    step: int,
) -> dict[str, Tensor]:
    """One step over `accumulate` micro-batches; the mean of every loss term, on the device."""
    sums: dict[str, Tensor] = {}
    for micro in range(plan.accumulate):
        batch = batches(step * plan.accumulate + micro)
        if plan.channels_last:
            batch = replace(
                batch,
                normal=batch.normal.contiguous(memory_format=torch.channels_last),
                image=batch.image.contiguous(memory_format=torch.channels_last),
            )
        with fabric.autocast():
            terms = detector.training_losses(batch)
        fabric.backward(terms["total"] / plan.accumulate)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0) + value.detach() / plan.accumulate
    optimizer.step()
    optimizer.zero_grad()
    return sums


def _averaged(detector: Detector, decay: float) -> AveragedModel | None:
    if decay == 0:
        return None
    return AveragedModel(detector, multi_avg_fn=get_ema_multi_avg_fn(decay))


def _keep_best(
    state: TrainingState,
    select: Callable[[Detector], float],
    averaged: AveragedModel | None,
    detector: Detector,
    best: dict[str, Tensor] | None,
) -> dict[str, Tensor]:
    candidate = averaged.module if averaged is not None else detector
    value = select(candidate.eval())
    if best is not None and value <= state.best_value:
        return best
    state.best_value, state.best_step = value, state.step
    return copy.deepcopy(candidate.state_dict())


def _check_finite(
    row: dict[str, float],
    step: int,
    batches: BatchSource,
    plan: TrainingPlan,
    checkpoint: Path | None,
) -> None:
    bad = [name for name, value in row.items() if not math.isfinite(value)]
    if not bad:
        return
    indices = range((step - 1) * plan.accumulate, step * plan.accumulate)
    names = "; ".join(batches.describe(index) for index in indices)
    kept = checkpoint is not None and checkpoint.exists()
    raise DiffadError(
        f"loss {', '.join(bad)} is not finite at step {step}, batch: {names}; "
        + (f"the last good checkpoint stays in {checkpoint}; " if kept else "")
        + "lower the learning rate or use precision 32"
    )
