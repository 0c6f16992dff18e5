"""The benchmarks: what is compared, in which order, and what they leave."""

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import official
from benchmarks.__main__ import main
from benchmarks.measure import COMPILED, OURS, Action, Times, Work, in_turn
from benchmarks.memory import measure as measure_memory
from benchmarks.memory import table_lines as memory_lines
from benchmarks.page import table_lines
from benchmarks.scaling import Axis, Curve, curves, draw
from benchmarks.scaling import table_lines as scaling_lines
from benchmarks.works import (
    BF16,
    HOWS,
    OFFICIAL,
    TF32,
    How,
    Setup,
    Size,
    all_works,
    full_training,
    hows_on,
    ours_training,
    until_done,
)
from course_files import ROOT
from diffad_lib.errors import DiffadError


def test_ways_are_called_in_turn_after_one_call_each_that_does_not_count() -> None:
    called: list[str] = []
    ways = {name: lambda name=name: lambda: called.append(name) for name in (OURS, "other")}
    found = in_turn(Work("nothing", "image", 4, ways), pairs=3)
    assert called == [OURS, "other"] * 4
    assert [len(seconds) for seconds in found.seconds.values()] == [3, 3]


def test_seconds_asleep_are_on_the_clock_but_not_of_the_processor() -> None:
    ways = {OURS: lambda: lambda: time.sleep(0.1)}
    found = in_turn(Work("nothing", "image", 1, ways), pairs=2)
    assert min(found.seconds[OURS]) >= 0.1 and max(found.cpu_seconds[OURS]) < 0.05


def test_what_does_not_fit_or_compile_is_told_and_the_others_are_measured() -> None:
    def fails(error: Exception) -> Action:
        raise error

    ways = {
        OURS: lambda: lambda: None,
        "large": lambda: lambda: fails(torch.OutOfMemoryError("CUDA out of\nmemory")),
        f"{BF16}, {COMPILED}": lambda: fails(ValueError("no compiler")),
    }
    found = in_turn(Work("a step", "image", 1, ways, ("official: none",)), pairs=2)
    assert [*found.seconds] == [OURS]
    assert found.absent == (
        "official: none", "large: OutOfMemoryError: CUDA out of memory",
        "bf16, compiled: ValueError: no compiler",
    )  # fmt: skip
    with pytest.raises(ValueError, match="a fault"):
        in_turn(Work("a step", "image", 1, {OURS: lambda: fails(ValueError("a fault"))}), pairs=1)


def test_a_gpu_is_timed_at_the_papers_size_in_every_way(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.works.computes_bf16", lambda device: device.type == "cuda")
    assert [*hows_on(torch.device("cpu"))] == [OURS]
    works = {work.title: work for work in all_works(Setup(hows_on(torch.device("cuda"))), True)}
    step = works["DiffusionAD training step, 256 px, widths 128 and 64, batch 4"]
    plain = {OURS, TF32, BF16}
    expected = plain | {f"{way}, {more}" for way in plain for more in ("recomputing", COMPILED)}
    assert {*step.ways} == expected
    assert {*works["DRAEM test, 256 px, widths 128 and 64, batch 8"].ways} == plain
    assert works["DRAEM's synthesis, 256 px"].units == 8


def test_on_a_gpu_the_clock_waits_for_the_device_and_only_our_fp32_is_without_tf32(
    monkeypatch,
) -> None:
    did: list[object] = []
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: did.append("waited"))
    for how in hows_on(torch.device("cuda")).values():
        until_done(lambda: did.append(torch.backends.cudnn.allow_tf32), how.device, how.tf32)()
    assert did[:4] == [False, "waited", True, "waited"]
    until_done(lambda: did.append("computed"), torch.device("cpu"))()
    assert did[-1] == "computed"


@pytest.mark.slow
def test_a_compiled_step_is_one_of_the_same_training(monkeypatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda network, **_: compiled.append(type(network).__name__)
    )
    size = Size(32, 4, 4, 2)
    ours_training("draem", size, How())()
    assert not compiled
    ours_training("draem", size, How(compiled=True))()
    assert len(compiled) == 2


def test_a_ratio_is_taken_pair_by_pair() -> None:
    # In the third pair the machine was three times slower: the ratio does not see it.
    found = Times("work", "image", 2, {OURS: [2.0, 2.0, 6.0], "official": [4.0, 5.0, 12.0]})
    assert found.ratios("official", OURS) == [2, 2.5, 2]
    assert found.median("official") == 2.5
    row = table_lines([found])[-1]
    assert "| 2.5 s/image | 2 to 6 | 0.50 (0.40 to 0.50) |" in row


def test_without_checkouts_the_table_says_what_was_not_measured() -> None:
    works = [*all_works(Setup({OURS: How()}), full=True)]
    assert len({work.title for work in works}) == len(works)
    assert all(OFFICIAL not in work.ways and OURS in work.ways for work in works)
    assert any("256 px, widths 128 and 64, batch 1" in work.title for work in works)
    told = [line for work in works for line in work.absent]
    assert "official: give its checkout with --diffusionad" in told


@pytest.mark.slow
def test_the_command_leaves_every_time_with_the_machine(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "perlin", "--pairs", "2"]
    done = subprocess.run(
        [*command, "--to", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert len(record["works"][0]["seconds"][OURS]) == 2
    assert record["machine"]["processor"] and record["machine"]["threads"] >= 1
    assert "Perlin noise" in done.stdout and "Perlin" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "results.png").stat().st_size > 1000


def test_a_curve_tells_the_power_with_which_a_time_grows() -> None:
    seconds = {"32": [9.0, 9.0, 9.0], "64": [1.0, 2.0, 7.0], "128": [8.0, 9.0, 8.0]}
    curve = Curve("image size", "pixels", Times("a step", "call", 1, seconds))
    assert curve.points() == [(32, 9), (64, 2), (128, 8)]
    assert curve.power() == pytest.approx(2)
    assert "image size^2.0" in scaling_lines([curve])[-1]


@pytest.mark.slow
def test_every_axis_is_measured_for_every_method_and_for_the_metrics(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.scaling.MAP_SIDE", 128)
    monkeypatch.setattr("benchmarks.scaling.BASE", Size(64, 4, 4, 1))
    axes = [Axis("batch", "images", (1, 2), lambda count: Size(64, 4, 4, count))]
    found = list(curves(1, axes, maps=(2, 4)))
    assert found[0].axis == "test images" and [value for value, _ in found[0].points()] == [2, 4]
    measured = {(curve.axis, curve.what) for curve in found[1:]}
    assert {("batch", f"{name} training step") for name in ("DRAEM", "DiffusionAD")} <= measured
    assert all(seconds > 0 for curve in found for _, seconds in curve.points())
    assert len(draw(found).axes) == len({curve.axis for curve in found})


def takes(mebibytes: int) -> Action:
    """What holds half of that all the time, and the other half while it is called."""
    held = torch.ones(mebibytes, 2**17)
    return lambda: held + 1


@pytest.mark.slow
def test_memory_is_that_of_a_way_alone_without_what_its_parent_had() -> None:
    takes(1024)()
    ways = {OURS: partial(takes, 128), OFFICIAL: partial(takes, 512)}
    rows = measure_memory([Work("nothing", "image", 1, ways)], threads=1)
    assert [row["bytes"] / 2**20 for row in rows] == pytest.approx([128, 512], abs=40)


def runs_out_of_memory() -> Action:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.slow
def test_memory_of_what_does_not_fit_is_told(capsys) -> None:
    ways = {OURS: runs_out_of_memory, OFFICIAL: partial(takes, 16)}
    rows = measure_memory([Work("a step", "image", 1, ways)], threads=1)
    assert [row["way"] for row in rows] == [OFFICIAL]
    assert "a step, fp32: OutOfMemoryError: CUDA out of memory" in capsys.readouterr().out


def test_memory_is_told_beside_that_of_the_official_code() -> None:
    rows = [
        {"work": "a step", "way": way, "bytes": n * 2**30} for way, n in ((OURS, 1), (OFFICIAL, 4))
    ]
    lines = memory_lines(rows)
    assert lines[2] == "| a step | fp32 | 1.00 | 0.25 |" and lines[3].endswith(" | 4.00 | 1.00 |")
    assert memory_lines(rows[:1])[2] == "| a step | fp32 | 1.00 |  |"


def test_the_steps_of_the_papers_are_those_whose_memory_is_measured() -> None:
    setup = Setup({OURS: HOWS[OURS], BF16: HOWS[BF16]})
    ways = {work.title: set(work.ways) for work in full_training(setup)}
    plain = {OURS, BF16}
    assert ways == {
        "DRAEM training step, 256 px, widths 128 and 64, batch 1": plain,
        "DiffusionAD training step, 256 px, widths 128 and 64, batch 1": plain
        | {f"{way}, recomputing" for way in plain},
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "nothing"], "no work has"),
        (["--pairs", "0"], "at least 1"),
        (["--scaling", "--full"], "this project alone"),
        (["--memory", "--only", "perlin"], "every training step"),
        (["--inference", "--device", "cuda"], "measure the CPU"),
        (["--device", "cuda"], "PyTorch"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments: list[str], told: str, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as stop:
        main()
    torch.set_num_threads(threads)
    line = str(stop.value.code)  # what the interpreter prints, and then exits with 1
    assert told in line and "\n" not in line


def test_a_folder_that_is_no_checkout_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiffadError, match=r"has no model_unet\.py"):
        official.draem_networks(tmp_path, 4, 4)


def test_a_checkouts_modules_are_imported_and_forgotten(tmp_path: Path) -> None:
    (tmp_path / "perlin.py").write_text(
        "import torchvision.transforms as T\nblur = T.GaussianBlur(kernel_size=31, sigma=3)\n"
        "def rand_perlin_2d_np(shape, cells): return shape, cells\n"
    )
    assert official.perlin(tmp_path, 64)() == ((64, 64), (8, 8))
    assert "perlin" not in sys.modules and "torchvision" not in sys.modules
    (tmp_path / "train.py").write_text(
        "import absent\nclass Loss(nn.Module):\n    def forward(self, x): return x + 1\n"
    )
    loss = official.load_class(tmp_path, "train", "Loss", nn=torch.nn)()
    assert loss(torch.ones(1)) == 2
    with pytest.raises(DiffadError, match="has no class Other"):
        official.load_class(tmp_path, "train", "Other")
