"""Several processes that train together: the same numbers as one, and one clear end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import nn

import layout_factory as factory
import two_processes as both
from diffad_lib.checkpoint import CHECKPOINT_NAME
from diffad_lib.errors import DiffadError
from diffad_lib.methods import method_names
from diffad_lib.processes import Processes
from diffad_lib.runs import experiment as ex
from diffad_lib.runs import folder, launch, member
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.device import check_device
from diffad_lib.runs.record import read_record
from diffad_lib.types import TrainingBatch
from small import SHORT_RUN, run_here, small_detector
from started import DIFFAD, is_free, until

pytestmark = pytest.mark.xdist_group("processes")
slow = pytest.mark.slow


def alone() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


# The same training in one process and in two.


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """What two processes found, and the folder of their checkpoint."""
    folder = tmp_path_factory.mktemp("two")
    both.half(alone(), folder / "one")
    plan = build_config("mvtec", "bottle", "draem", devices=2, overrides={"accumulate": 2}).training
    line = [sys.executable, both.__file__, str(folder)]
    processes = [
        subprocess.Popen(line, env=os.environ | own, stderr=subprocess.PIPE, text=True)
        for own in launch.environments(plan)
    ]
    errors = [process.communicate(timeout=250)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    found = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    return SimpleNamespace(first=found[0], second=found[1], folder=folder)


def assert_same(one: dict[str, Any], other: dict[str, Any], rtol: float) -> None:
    assert len(one["history"]) == len(other["history"]) > 0
    for row, theirs in zip(one["history"], other["history"], strict=True):
        assert row.keys() == theirs.keys()
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(theirs[name], rel=rtol, abs=0), (name, row["step"])
    assert one["weights"].keys() == other["weights"].keys()
    for name, value in one["weights"].items():
        torch.testing.assert_close(value, other["weights"][name], rtol=rtol, atol=rtol, msg=name)


@slow
@pytest.mark.parametrize("name", both.ALONE)
def test_losses_and_weights_are_those_of_one_process(two, name: str) -> None:
    """Also the running statistics of batch norms, and weights that are averaged over steps."""
    expected = both.ALONE[name](alone())
    # Two micro-batches have the same sum here and there. Four are summed in another order, and the
    # steps make a difference of the last bit grow; so the toy is trained in float64.
    assert_same(expected, two.first[name], rtol=1e-6)


@slow
@pytest.mark.parametrize("name", both.ALONE)
def test_all_processes_have_the_same_weights_and_statistics(two, name: str) -> None:
    ours, theirs = two.first[name], two.second[name]
    assert ours["history"] == theirs["history"]  # seconds too
    assert all(torch.equal(value, theirs["weights"][key]) for key, value in ours["weights"].items())


@slow
def test_each_micro_batch_is_computed_once(two) -> None:
    assert two.first["computed"] == [0, 2, 4, 6] and two.second["computed"] == [1, 3, 5, 7]


@slow
def test_two_processes_go_on_from_the_checkpoint_of_one_and_one_from_that_of_two(two) -> None:
    whole = both.of_toy(alone())
    assert two.first["resumed"]["from"] == two.second["resumed"]["from"] == 20
    assert_same(whole, two.first["resumed"], rtol=1e-6)
    resumed = both.of_toy(alone(), folder=two.folder / "two")
    assert resumed["from"] == 20
    assert_same(whole, resumed, rtol=1e-6)


@slow
def test_a_time_limit_stops_all_at_the_same_step_by_the_clock_of_the_first(two) -> None:
    ours, theirs = two.first["limited"], two.second["limited"]
    assert ours["stopped_by"] == theirs["stopped_by"] == "time"
    assert ours["steps"] == theirs["steps"]
    assert 1.0 <= ours["history"][-1]["seconds"] < 1.1
    assert ours["history"][-1]["lr/main"] < 1e-4


@slow
def test_a_loss_that_is_not_finite_stops_all_and_only_its_micro_batches_are_named(two) -> None:
    assert two.first["poisoned"] == two.second["poisoned"]
    assert "not finite at step 13, batch: image-49.png; image-51.png" in two.first["poisoned"]


@slow
def test_only_the_first_process_calls_the_callbacks(two) -> None:
    assert (two.first["watched"], two.second["watched"]) == (4, 0)


# Statistics of batch norms, for any number of processes.


@pytest.mark.parametrize(("momentum", "uses"), [(0.1, 1), (0.1, 3), (None, 1)])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_running_statistics_are_those_of_one_process(
    monkeypatch: pytest.MonkeyPatch, momentum: float | None, uses: int, count: int
) -> None:
    """Also of a norm that is used several times a micro-batch, as with the variant `repair`."""
    monkeypatch.setattr("diffad_lib.processes.distributed.new_group", lambda **how: None)
    torch.manual_seed(0)
    inputs = torch.randn(2, 6, 4, 5).double()  # two steps of six micro-batches
    norms = [nn.BatchNorm1d(5, momentum=momentum).double() for _ in range(count + 1)]
    whole, parts = norms[0], norms[1:]
    for step in inputs:
        for micro in step:
            for use in range(uses):
                whole(micro + use)
        for rank, part in enumerate(parts):
            fabric = SimpleNamespace(global_rank=rank, world_size=count, device="cpu")
            for micro in Processes(fabric, part).own(6):
                for use in range(uses):
                    part(step[micro] + use)
        for name in ("running_mean", "running_var"):  # as add_up
            total = sum(getattr(part, name) for part in parts)
            torch.testing.assert_close(total, getattr(whole, name))
            for part in parts:
                getattr(part, name).copy_(total)
        assert {int(part.num_batches_tracked) for part in parts} == {int(whole.num_batches_tracked)}


def test_frozen_statistics_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffad_lib.processes.distributed.new_group", lambda **how: None)
    norm = nn.BatchNorm1d(5).eval()
    fabric = SimpleNamespace(global_rank=1, world_size=2, device="cpu")
    assert [*Processes(fabric, norm).own(4)] == [1, 3]
    assert norm.running_var.tolist() == [1] * 5 and int(norm.num_batches_tracked) == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [*((name, {}) for name in method_names()), ("diffusionad", {"no_discrepancy_weight": 0.1})],
)
def test_every_method_uses_its_batch_norms_equally_often_in_every_micro_batch(
    name: str, settings: dict[str, float]
) -> None:
    """What the shares of statistics take for granted."""
    detector, used = small_detector(name, **settings).train(), []
    norms = [one for one in detector.modules() if isinstance(one, nn.BatchNorm2d)]
    for anomalous in (0, 1, 2):
        images, mask = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
        mask[:anomalous, :, 4:9, 4:9] = 1
        before = [int(norm.num_batches_tracked) for norm in norms]
        detector.training_losses(TrainingBatch(images, images, mask, torch.Generator()))
        counts = [int(norm.num_batches_tracked) for norm in norms]
        used.append([now - then for now, then in zip(counts, before, strict=True)])
    assert used[0] == used[1] == used[2] and all(norm.momentum for norm in norms)


# Settings.


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"batch_size": 8}, "set batch_size=4 and accumulate=2 for the same 8 images a step"),
        ({"batch_size": 8, "accumulate": 3}, "set batch_size=6 and accumulate=4 for the same 24"),
        ({"batch_size": 1}, "choose an accumulate that 2 divides"),
    ],
)
def test_shares_that_are_not_equal_are_refused_with_those_that_are(given, advice: str) -> None:
    with pytest.raises(DiffadError) as error:
        build_config("mvtec", "bottle", "draem", devices=2, overrides=given)
    told, accumulate = str(error.value), given.get("accumulate", 1)
    assert told.startswith(f"2 processes cannot share accumulate={accumulate}; {advice}")
    assert "\n" not in told


def test_processes_do_not_name_a_run_and_have_an_option_of_their_own() -> None:
    settings = {"overrides": {"accumulate": 4}}
    one = build_config("mvtec", "bottle", "draem", **settings)
    four = build_config("mvtec", "bottle", "draem", devices=2, num_nodes=2, **settings)
    assert one.run_folder == four.run_folder and four.training.processes == 4
    with pytest.raises(DiffadError, match=r'"devices" is no setting .* `diffad run`: --devices'):
        build_config("mvtec", "bottle", "draem", overrides={"devices": 2})


@pytest.mark.parametrize(("device", "count"), [("cuda", 2), ("auto", 2)])
def test_more_gpus_than_there_are_is_one_line(monkeypatch, device: str, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    overrides = {"accumulate": 12, "device": device}
    check_device(build_config("mvtec", "bottle", "draem", devices=2, overrides=overrides))
    with pytest.raises(DiffadError, match="devices: PyTorch finds 2 cuda here, not 3; give --dev"):
        check_device(build_config("mvtec", "bottle", "draem", devices=3, overrides=overrides))


def test_gpus_that_cuda_cannot_use_are_none(monkeypatch) -> None:
    def is_available() -> bool:  # a driver too old for CUDA, which NVML does not mind
        return os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK") == "1"

    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    with pytest.raises(DiffadError, match="PyTorch finds no cuda here"):
        check_device(build_config("mvtec", "bottle", "draem", overrides={"device": "cuda"}))


NODE = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500", "NODE_RANK": "1"}


@pytest.mark.parametrize(
    ("change", "rank"), [({}, 1), ({"NODE_RANK": "0"}, 0), ({"NODE_RANK": "2"}, None),
                         ({"NODE_RANK": ""}, None), ({"MASTER_ADDR": ""}, None),
                         ({"MASTER_PORT": "a"}, None)],
)  # fmt: skip
def test_a_node_is_told_its_rank_by_the_environment(monkeypatch, change, rank) -> None:
    for name, value in (NODE | change).items():
        monkeypatch.setenv(name, value)
    plan = build_config("mvtec", "bottle", "draem", num_nodes=2, overrides={"accumulate": 2})
    if rank is not None:
        assert launch.node_rank(plan.training) == rank
        return
    ((name, value),) = change.items()
    with pytest.raises(DiffadError, match=f"environment has .*{name}={value}.* num_nodes=2 set"):
        launch.node_rank(plan.training)


# Whole runs.

SETTINGS = {**SHORT_RUN, "accumulate": 2, "steps": 30}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("processes")
    factory.make_mvtec(root / "data")
    return root


@pytest.fixture(autouse=True)
def cache_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFAD_CACHE", str(root / "cache"))


def config_of(root: Path, runs: str, devices: int = 2, **settings: Any) -> RunConfig:
    return build_config(
        "mvtec",
        "bottle",
        "autoencoder",
        overrides=SETTINGS | settings,
        data_root=root / "data",
        runs_dir=root / runs,
        devices=devices,
    )


def members(root: Path) -> list[psutil.Process]:
    """Processes that train in a run of this module, whoever started them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # ended, or somebody else's
            if "diffad_lib.runs.member" in process.cmdline() and str(root) in process.cmdline()[-1]:
                found.append(process)
    return found


@slow
def test_a_run_in_two_processes_is_that_of_one(root: Path, capsys) -> None:
    how = {"select_on_test_epochs": 10}  # every ten steps, by the first process
    alone, together = config_of(root, "alone", 1, **how), config_of(root, "together", **how)
    expected = run_here(alone)
    capsys.readouterr()
    found = run_here(together)
    told = capsys.readouterr().out
    assert "2 processes train, each 1 of the 2 micro-batches of a step\n" in told
    assert told.count("step 30/30 (100%)") == 1 and "resumed" not in told
    name = together.run_folder.relative_to(root / "together")
    assert name == alone.run_folder.relative_to(root / "alone")
    weights = "detector.safetensors"
    ours, theirs = (load_file(one.run_folder / weights) for one in (together, alone))
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-6, atol=1e-6, msg=key)
    assert [one.score for one in found.images] == pytest.approx(
        [one.score for one in expected.images], rel=1e-5
    )
    assert (found.device["processes"], expected.device["processes"]) == (2, 1)
    assert found.training.resumed_from == 0 and found.training.steps == 30
    assert found.training.selected_step == expected.training.selected_step in (10, 20, 30)
    names = {path.name for path in together.run_folder.iterdir()} - {".training.lock"}
    assert names == {"record.json", "detector.safetensors", "detector.json"}


@slow
def test_a_killed_process_is_told_and_the_run_goes_on_from_its_checkpoint(root: Path) -> None:
    config = config_of(root, "killed", steps=200)
    with ThreadPoolExecutor() as threads:
        training = threads.submit(ex.train_experiment, ex.prepare(config))
        until((config.run_folder / CHECKPOINT_NAME).exists)
        second = next(one for one in members(root) if one.environ()["LOCAL_RANK"] == "1")
        second.kill()
        with pytest.raises(DiffadError, match="process 1 of 2 was ended by SIGKILL") as error:
            training.result()
    assert "\n" not in str(error.value) and members(root) == []
    record = run_here(config_of(root, "killed", devices=1, steps=200))
    assert 0 < record.training.resumed_from < 200 and record.training.steps == 200
    assert "processes 2, now 1" in record.resumed_under


@slow
def test_no_process_outlives_the_one_that_started_it(root: Path) -> None:
    config = config_of(root, "orphans", steps=10**6)
    script = f"""
import sys
from pathlib import Path
import test_processes as t
t.ex.train_experiment(t.ex.prepare(t.config_of(Path({str(root)!r}), "orphans", steps=10**6)))
"""
    paths = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    line, environment = [sys.executable, "-c", script], os.environ | {"PYTHONPATH": paths}
    parent = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL)
    until((config.run_folder / CHECKPOINT_NAME).exists)
    assert len(members(root)) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not members(root))
    until(lambda: is_free(config.run_folder))


@slow
def test_an_error_of_a_process_is_the_error_of_the_run(root: Path) -> None:
    config = config_of(root, "damaged")
    config.run_folder.mkdir(parents=True)
    (config.run_folder / CHECKPOINT_NAME).write_bytes(b"no checkpoint")
    with pytest.raises(DiffadError, match=f"{CHECKPOINT_NAME}: not a readable checkpoint"):
        launch.train_together(config, "32-true")
    assert members(root) == []


@slow
def test_two_nodes_train_one_run_and_only_the_first_writes(root: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    started = [
        subprocess.Popen(
            [
                *(*DIFFAD, "run"),
                *("--dataset", "mvtec", "--category", "bottle", "--method", "autoencoder"),
                *("--data-root", str(root / "data"), "--runs-dir", str(root / f"node{node}")),
                *(part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")),
                *("--num-nodes", "2"),
            ],
            env=os.environ | place | {"NODE_RANK": str(node)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in range(2)
    ]
    (first, errors), (second, more_errors) = [one.communicate(timeout=250) for one in started]
    assert [one.returncode for one in started] == [0, 0], errors + more_errors
    assert "step 30/30 (100%)" in first and "run folder: " in first
    assert "step 30/30" not in second and second.endswith("node 0 evaluates and writes\n")
    assert not (root / "node1").exists()
    folder = config_of(root, "node0").run_folder
    record = read_record(folder / "record.json")
    assert record.device["processes"] == 2 and record.training.steps == 30


def test_a_node_after_the_first_evaluates_nothing(root: Path, monkeypatch) -> None:
    for name, value in NODE.items():
        monkeypatch.setenv(name, value)
    config = config_of(root, "refused", devices=1)
    config = config.but(training=config.training.but(num_nodes=2))
    with pytest.raises(DiffadError, match="NODE_RANK=1: on this node only `diffad run` can take"):
        ex.train_experiment(ex.prepare(config))
    assert not config.run_folder.exists()


def test_nodes_that_differ_are_told(root: Path) -> None:
    experiment = ex.prepare(config_of(root, "differ", devices=1))
    first = folder.settings_of(experiment.config), experiment.data.model_dump(mode="json")

    def check(settings: dict[str, Any], data: dict[str, Any]) -> None:
        how = {"strategy": experiment.fabric.strategy}
        fabric = SimpleNamespace(broadcast=lambda told: (settings, data), **how)
        member.check_same(replace(experiment, fabric=fabric))

    training = first[0]["training"] | {"precision": "32-true"}
    first = first[0] | {"training": training}, first[1]
    check(first[0] | {"data_root": "/elsewhere"}, first[1])
    with pytest.raises(DiffadError, match="precision is '32-true' here, 'bf16-mixed' on the first"):
        check(first[0] | {"training": training | {"precision": "bf16-mixed"}}, first[1])
    with pytest.raises(DiffadError, match="seed is 0 here, 7 on the first node; give every node"):
        check(first[0] | {"seed": 7}, first[1])
    files = first[1]["train"]["files"] | {"000.png": "other"}
    train = first[1]["train"] | {"fingerprint": "other", "files": files}
    with pytest.raises(DiffadError, match=r"first node, train: 000.png is another file; give"):
        check(first[0], first[1] | {"train": train})


@pytest.mark.parametrize(
    ("script", "kind", "text"),
    [
        ("raise ValueError('a\\nb')", RuntimeError, "process 1 of 2: b\nTraceback"),
        ("sys.exit('error: x') if 0 else (print('error: x', file=sys.stderr), sys.exit(2))",
         DiffadError, "x"),
        ("os.kill(os.getpid(), 9)", DiffadError, "process 1 of 2 was ended by SIGKILL; start"),
    ],
)  # fmt: skip
def test_what_a_process_fails_with(script: str, kind: type[Exception], text: str) -> None:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        line = [sys.executable, "-c", f"import os, sys; {script}"]
        with subprocess.Popen(line, stdout=output, stderr=errors) as process:
            pass
        failure = launch.Member("process 1 of 2", process, output, errors).failure()
    assert type(failure) is kind and str(failure).startswith(text)


def test_a_process_short_of_memory_says_so_in_one_line(monkeypatch, capsys) -> None:
    def train(**job: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(member, "_train", train)
    monkeypatch.setattr(member.threading, "Thread", lambda **_: SimpleNamespace(start=bool))
    monkeypatch.setattr(member.os, "_exit", leave)
    monkeypatch.setattr(sys, "argv", ["member", "{}"])
    with pytest.raises(SystemExit) as left:
        member.main()
    assert left.value.code == launch.FAILED
    assert capsys.readouterr().err.startswith("error: the device's memory ran out")


def test_a_process_that_lost_the_others_is_not_the_cause() -> None:
    with tempfile.TemporaryFile() as none:
        started = [
            launch.Member(code, subprocess.Popen(["sh", "-c", f"exit {code}"]), none, none)
            for code in ("3", "0", "1")
        ]
        assert [one.name for one in launch.watch(started)] == ["1", "3"]
