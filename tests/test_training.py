"""The training loop: plans, checkpoints, exact resume, time limit, loud stops."""

import itertools
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from diffad_lib.checkpoint import CHECKPOINT_NAME, OLDER_NAME
from diffad_lib.errors import DiffadError
from diffad_lib.files import write_torch
from diffad_lib.plans import TrainingSettings, lr_factor
from diffad_lib.selection import KeepBest, is_kept
from diffad_lib.training import Callback, Trainer, TrainingResult
from started import until
from toy import ToyBatches, ToyDetector, ToyTraining, toy_detector

PLAN = ToyTraining(steps=40, learning_rate=1e-2, lr_schedule="cosine", checkpoint_seconds=0.0)


def run(plan: TrainingSettings = PLAN, folder: Path | None = None, **arguments) -> TrainingResult:
    fabric = Fabric(accelerator="cpu", devices=1)
    arguments.setdefault("report", lambda line: None)
    arguments.setdefault("batches", ToyBatches())
    arguments.setdefault("detector", toy_detector())
    return Trainer(plan=plan, fabric=fabric, folder=folder, **arguments).train()


def weights(detector: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in detector.state_dict().items()}


def assert_same_weights(first: ToyDetector, second: ToyDetector) -> None:
    other = second.state_dict()
    for name, value in first.state_dict().items():
        assert torch.equal(value, other[name]), name


class StopAfter:
    """Raises in the middle of a training, as an interruption would."""

    def __init__(self, batches: int) -> None:
        self.source, self.left = ToyBatches(), batches

    def __call__(self, index: int):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.source(index)

    def describe(self, index: int) -> str:
        return self.source.describe(index)


def test_training_lowers_the_loss_and_reports_every_term() -> None:
    result = run()
    assert result.steps == 40 and result.stopped_by == "steps"
    first, last = result.history[0], result.history[-1]
    assert last["total"] < first["total"]
    assert last["total"] == pytest.approx(2 * last["l2"])
    assert last["step"] == 40
    assert not result.detector.training


def test_slow_steps_are_saved_before_the_tenth(tmp_path: Path, monkeypatch) -> None:
    """A minute a step, a checkpoint a minute: the first is there when the third step begins."""
    now, seen = iter(range(0, 10**6, 60)), []
    monkeypatch.setattr("diffad_lib.training.time.monotonic", lambda: next(now))
    source = ToyBatches()

    class Batches:
        describe = source.describe

        def __call__(self, index: int):
            seen.append((tmp_path / CHECKPOINT_NAME).exists())
            return source(index)

    run(PLAN.but(steps=5, checkpoint_seconds=60), tmp_path, batches=Batches())
    assert seen == [False, False, True, True, True]


def test_every_parameter_group_has_its_own_rate_and_schedule() -> None:
    history = run().history
    assert history[-1]["lr/head"] == 1e-3
    expected = 1e-2 * 0.5 * (1 + math.cos(math.pi * 39 / 40))
    assert history[-1]["lr/main"] == pytest.approx(expected)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_interrupted_and_resumed_training_ends_with_the_same_weights(
    tmp_path: Path, ema_decay: float, accumulate: int
) -> None:
    plan = PLAN.but(ema_decay=ema_decay, accumulate=accumulate)
    whole = run(plan)
    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path, batches=StopAfter(25 * accumulate))
    resumed = run(plan, tmp_path)
    assert resumed.resumed_from == 20
    assert_same_weights(whole.detector, resumed.detector)
    assert [row["total"] for row in whole.history] == [row["total"] for row in resumed.history]


def test_a_training_that_is_at_its_end_is_read_and_not_written_again(tmp_path, monkeypatch) -> None:
    whole = run(PLAN, tmp_path)
    written: list[object] = []
    monkeypatch.setattr("diffad_lib.training.save_checkpoint", lambda *given: written.append(given))
    again = run(PLAN, tmp_path)
    assert again.resumed_from == PLAN.steps and not written
    assert_same_weights(whole.detector, again.detector)


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
import conftest  # as many threads as here: sums depend on them in the last bit
import test_training as t
class Slow(t.ToyBatches):
    def __call__(self, index):
        time.sleep(0.05)
        return super().__call__(index)
t.run(folder=Path(sys.argv[1]), batches=Slow())
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=environment)
    until((tmp_path / CHECKPOINT_NAME).exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = run(folder=tmp_path)
    assert 0 < resumed.resumed_from < 40
    assert_same_weights(run().detector, resumed.detector)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    first = run(folder=tmp_path)
    batches = ToyBatches()
    again = run(folder=tmp_path, batches=batches)
    assert batches.seen == []
    assert_same_weights(first.detector, again.detector)


def test_accumulation_equals_one_step_on_the_mean_gradient() -> None:
    plan = PLAN.but(steps=1, accumulate=2, lr_schedule="constant")
    detector = toy_detector().train()
    batches = ToyBatches()
    optimizer = torch.optim.Adam(
        [
            {"params": parameters, "lr": plan.rate(name)[0]}
            for name, parameters in detector.parameter_groups().items()
        ]
    )
    sum(detector.training_losses(batches(index))["total"] / 2 for index in range(2)).backward()
    optimizer.step()
    trained = run(plan).detector
    for name, value in detector.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, msg=name)


def test_ema_weights_and_statistics_are_the_running_mean_of_the_steps() -> None:
    decay, snapshots = 0.5, []

    class Spy(ToyDetector):
        def training_losses(self, batch):
            snapshots.append(weights(self))
            return super().training_losses(batch)

    torch.manual_seed(0)
    plan = PLAN.but(steps=3, ema_decay=decay)
    result = run(plan, detector=Spy())
    last = run(plan.but(ema_decay=0.0)).detector
    for name in ("second.weight", "first.1.running_var"):
        steps = [*(one[name] for one in snapshots[1:]), last.state_dict()[name]]
        expected = steps[0]
        for value in steps[1:]:
            expected = decay * expected + (1 - decay) * value
        torch.testing.assert_close(result.detector.state_dict()[name], expected)


def test_a_time_limit_ends_the_training_with_a_small_learning_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = itertools.count()  # milliseconds: a look at the clock takes one
    monkeypatch.setattr("diffad_lib.training.time.monotonic", lambda: next(now) / 1000)
    plan = PLAN.but(steps=10**6, max_train_seconds=1.0)
    result = run(plan)
    assert result.stopped_by == "time"
    assert 1.0 <= result.seconds < 1.1
    assert result.history[-1]["lr/main"] < 1e-4


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DiffadError) as error:
        run(folder=tmp_path, batches=ToyBatches(poisoned=33))
    assert "step 34" in str(error.value) and "image-33.png" in str(error.value)
    assert CHECKPOINT_NAME in str(error.value) and "\n" not in str(error.value)
    content = torch.load(tmp_path / CHECKPOINT_NAME, weights_only=True)
    assert content["state"]["step"] == 30
    assert all(value.isfinite().all() for value in content["detector"].values())


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    run(folder=tmp_path)
    with pytest.raises(DiffadError, match="other settings"):
        run(PLAN.but(steps=50), tmp_path)


def test_a_training_goes_on_from_the_older_checkpoint_when_the_newer_is_damaged(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, batches=StopAfter(35))
    path, older = tmp_path / CHECKPOINT_NAME, tmp_path / OLDER_NAME
    steps = [torch.load(one)["state"]["step"] for one in (path, older)]
    assert steps == [30, 20]
    path.write_bytes(path.read_bytes()[:-100])
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):  # before it writes one: the older one must not be lost
        run(folder=tmp_path, batches=StopAfter(5), report=lines.append)
    assert f"{path}: not readable (BadZipFile)" in lines[0]
    assert lines[1] == f"resumed from step 20 of {path}"
    assert torch.load(path)["state"]["step"] == 20 and not older.exists()
    resumed = run(folder=tmp_path)
    assert resumed.resumed_from == 20
    assert_same_weights(run().detector, resumed.detector)


def test_a_training_killed_while_it_writes_goes_on_from_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, content: dict) -> None:
        if content["state"]["step"] == 30:
            raise KeyboardInterrupt
        write_torch(path, content)

    monkeypatch.setattr("diffad_lib.checkpoint.write_torch", write)
    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path)
    monkeypatch.undo()
    resumed = run(folder=tmp_path)
    assert resumed.resumed_from == 20
    assert_same_weights(run().detector, resumed.detector)


@pytest.mark.parametrize(("save_seconds", "pause"), [(0.1, 60), (10, 200), (90, 600)])
def test_checkpoints_that_take_long_are_written_less_often(save_seconds, pause) -> None:
    plan, fabric = PLAN.but(checkpoint_seconds=60), Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(plan=plan, fabric=fabric, detector=toy_detector(), batches=ToyBatches())
    assert trainer._pause(save_seconds) == pause


ONCE = PLAN.but(checkpoint_seconds=1000.0)  # one checkpoint, at the end


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    run(folder=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DiffadError, match=f"{CHECKPOINT_NAME}: not .*{OLDER_NAME} to start"):
        run(folder=tmp_path)


def test_a_checkpoint_with_one_changed_byte_is_refused(tmp_path: Path) -> None:
    result = run(ONCE, tmp_path)
    path = tmp_path / CHECKPOINT_NAME
    content = path.read_bytes()
    weight = result.detector.second.weight.detach().numpy().tobytes()
    changed = weight[:-1] + bytes([weight[-1] ^ 1])
    assert weight in content
    path.write_bytes(content.replace(weight, changed))
    with pytest.raises(DiffadError, match=f"{CHECKPOINT_NAME}: not a readable checkpoint"):
        run(folder=tmp_path)


@pytest.mark.parametrize("part", ["detector", "optimizer", "state"])
def test_a_checkpoint_that_lacks_a_part_is_named(tmp_path: Path, part: str) -> None:
    run(ONCE, tmp_path)
    path = tmp_path / CHECKPOINT_NAME
    torch.save(torch.load(path) | {part: {"unknown": 1}}, path)
    with pytest.raises(DiffadError, match=f"{CHECKPOINT_NAME}: not a readable checkpoint"):
        run(folder=tmp_path)


def test_no_memory_for_a_checkpoint_is_not_told_as_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder=tmp_path)

    def refuse(*arguments, **options) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch, "load", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        run(folder=tmp_path)


def test_selection_returns_the_weights_with_the_highest_aurocs() -> None:
    seen = []

    def select(detector: ToyDetector) -> tuple[float, float]:
        seen.append(weights(detector))
        return [(0.7, 0.6), (0.9, 0.8), (0.8, 0.7), (0.7, 0.5)][len(seen) - 1]

    result = run(callbacks=[KeepBest(select, every=10)])
    assert result.selected_step == 20
    for name, value in result.detector.state_dict().items():
        assert torch.equal(value, seen[1][name])


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ((0.9, 0.8), True),  # equal: the later one
        ((0.9004, 0.7996), True),  # equal after rounding
        ((0.899, 0.9), False),  # a higher sum, but a lower image AUROC
        ((0.95, 0.74), False),  # a higher image AUROC, but a lower sum
        ((0.95, 0.75), True),
        ((float("nan"), 0.9), False),
    ],
)
def test_of_two_weights_the_official_code_keeps(found: tuple[float, float], kept: bool) -> None:
    assert is_kept(found, (0.9, 0.8)) is kept


def test_a_callback_needs_only_to_be_called(tmp_path: Path) -> None:
    class Looking(Callback):
        every = 10

        def __init__(self) -> None:
            self.steps: list[int] = []

        def __call__(self, step: int, detector: ToyDetector) -> None:
            self.steps.append(step)

    with pytest.raises(KeyboardInterrupt):
        run(folder=tmp_path, batches=StopAfter(25), callbacks=[Looking()])
    looking = Looking()
    result = run(folder=tmp_path, callbacks=[looking])
    assert looking.steps == [30, 40] and result.selected_step == 40


def test_single_steps_are_those_of_the_whole_training() -> None:
    whole, fabric = run(), Fabric(accelerator="cpu", devices=1)
    trainer = Trainer(detector=toy_detector(), batches=ToyBatches(), plan=PLAN, fabric=fabric)
    trainer.detector.train()
    losses = [trainer.step() for _ in range(PLAN.steps)]
    assert_same_weights(trainer.detector, whole.detector)
    last = sum(float(terms["total"]) for terms in losses[-10:]) / 10
    assert trainer.state.step == 40 and last == pytest.approx(whole.last["total"])


def test_without_selection_the_last_weights_are_returned() -> None:
    result = run()
    assert result.selected_step == 40


def test_progress_lines_tell_step_terms_and_time_left() -> None:
    lines: list[str] = []
    run(report=lines.append)
    assert "step 40/40" in lines[-1] and "total" in lines[-1] and "l2" in lines[-1]
    assert "s left" in lines[-1]


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("constant", 0.9, 1.0),
        ("paper-steps", 399 / 700, 1.0),
        ("paper-steps", 400 / 700, 0.1),
        ("paper-steps", 600 / 700, 0.01),
        ("code-steps", 0.79, 1.0),
        ("code-steps", 0.8, 0.2),
        ("code-steps", 0.9, 0.04),
        ("cosine", 0.5, 0.5),
        ("cosine", 1.0, 0.0),
    ],
)
def test_schedule_values(schedule: str, progress: float, factor: float) -> None:
    assert lr_factor(schedule, 0, progress) == pytest.approx(factor)


def test_cosine_10_equals_torch_stepped_every_iteration() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    for step in range(45):
        expected = optimizer.param_groups[0]["lr"]
        assert lr_factor("cosine-10", step, 0.0) == pytest.approx(expected, abs=1e-9)
        optimizer.step()
        scheduler.step()


def test_warmup_rises_linearly() -> None:
    assert lr_factor("constant", 0, 0.05, warmup_fraction=0.1) == pytest.approx(0.5)
    assert lr_factor("constant", 0, 0.1, warmup_fraction=0.1) == 1.0


def test_a_long_history_is_thinned_and_keeps_its_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffad_lib.training._HISTORY_ROWS", 4)
    steps = [row["step"] for row in run(PLAN.but(steps=100)).history]
    assert len(steps) <= 4
    assert steps[-1] == 100
    assert steps == sorted(steps)
