"""The GPU check, tried on a CPU with tiny networks: what it measures, and what it finds wrong."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import layout_factory as factory
from benchmarks import gpu_agreement, gpu_check, gpu_steps
from diffad_lib.errors import DiffadError
from diffad_lib.runs import experiment as ex
from diffad_lib.runs.config import build_config
from diffad_lib.runs.device import flushes_denormals
from diffad_lib.runs.facts import package_versions
from diffad_lib.training import Trainer

BOTH = ["diffusionad", "draem"]


@pytest.fixture
def quick(tmp_path, monkeypatch) -> Iterator[Path]:
    """A tiny dataset, few steps; the seams of the benchmark are its constants."""
    factory.make_mvtec(tmp_path / "data")
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gpu_steps, "WARM_UP", 1)
    monkeypatch.setattr(gpu_steps, "MEASURED", 2)
    yield tmp_path


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> tuple[int, dict]:
    arguments = ["--tiny", "--device", "cpu", "--to", str(root / "out"), "--minutes", "0.01"]
    data = ["--data-root", str(root / "data"), "--dataset", "mvtec", "--category", "bottle"]
    monkeypatch.setattr(sys, "argv", ["gpu_check", *arguments, *data, *more])
    code = gpu_check.main()
    return code, json.loads((root / "out" / "gpu_check.json").read_text())


def tiny(root: Path, method: str, **settings):
    sizes = {"image_size": 32, "base_width": 8, "segmentation_width": 4, "batch_size": 4}
    return build_config(
        "mvtec", "bottle", method, "paper", data_root=root / "data",
        overrides=sizes | {"device": "cpu"} | settings,
    )  # fmt: skip


@pytest.mark.slow
def test_every_part_is_measured_and_shown(quick, monkeypatch):
    flushed = flushes_denormals()
    code, content = run(quick, monkeypatch)
    assert code == 0
    assert content["build"][0]["torch"] == torch.__version__
    assert [row["method"] for row in content["agreement"]] == BOTH
    rows = [row for row in content["steps"] if row["method"] == "draem"]
    ways = {(row["precision"], row["channels_last"]) for row in rows}
    assert ways == {(p, c) for p in ("32", "bf16-mixed") for c in (False, True)}
    for row in content["steps"]:
        assert row["micro_batch"] == 4 and row["s_per_step"] > 0 < row["synthesis_s"]
        # The paper's epochs of 209 images in batches of 4, at this rate.
        epochs = {"draem": 700, "diffusionad": 3000}[row["method"]]
        hours = epochs * (209 // 4) * row["s_per_step"] / 3600
        assert row["hours"] == pytest.approx(hours, abs=0.01 + 0.001 * hours)
    assert [row["method"] for row in content["training"]] == BOTH
    assert all(row["steps"] > 0 and row["image_auroc"] >= 0 for row in content["training"])
    records = [*(quick / "out" / "runs").rglob("record.json")]
    assert len(records) == len(BOTH)
    page = (quick / "out" / "index.html").read_text()
    assert page.count("src='data:image/png;base64,") == 4 and "http" not in page
    assert "Nothing is wrong" in page
    assert flushes_denormals() == flushed  # the tests after this one compute as before


@pytest.mark.slow
def test_a_device_that_computes_otherwise_is_found(quick, monkeypatch):
    """One weight of what is asked second is another one."""
    true, asked = gpu_agreement.answers, []

    def answers(detector, device):
        asked.append(device)
        if len(asked) % 2 == 0:
            with torch.no_grad():
                next(detector.parameters()).view(-1)[0] += 1  # of the first convolution
        return true(detector, device)

    monkeypatch.setattr(gpu_agreement, "answers", answers)
    monkeypatch.setattr(gpu_check, "MEASURING_SECONDS", -1.0)  # steps are left out, and told
    code, content = run(quick, monkeypatch)
    assert code == 1
    assert {row["left_out"] for row in content["steps"]} == {"no time was left"}
    for row in content["agreement"]:
        assert row["map"] > 1e-3 and "CPU and GPU differ in" in row["problem"]
    assert "class='wrong'" in (quick / "out" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("method", BOTH)
def test_agreement_is_not_blind(quick, method):
    """All that is compared depends on the weights: zero-initialised ones would hide it."""
    detector = gpu_agreement.awakened(gpu_agreement.ex.new_detector(tiny(quick, method)))
    here = gpu_agreement.answers(detector, torch.device("cpu"))
    with torch.no_grad():
        for weight in detector.parameters():
            weight *= 1.01
    there = gpu_agreement.answers(detector, torch.device("cpu"))
    for name in ("reconstruction", "map", "score", "losses"):
        assert (here[name] - there[name]).abs().max() > 1e-3, name


def test_random_numbers_are_the_same_whatever_generator_is_asked():
    drawn = []
    for seed in (1, 2):
        with gpu_agreement.SameDraws():
            asked = torch.Generator().manual_seed(seed)
            drawn.append(torch.randn(5, generator=asked) + torch.randint(9, (5,), generator=asked))
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], torch.randn(5))


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_a_micro_batch_that_does_not_fit_is_halved(quick, monkeypatch, error):
    true = gpu_steps._times

    def times(config, way):
        if config.training.batch_size > 2:
            raise error
        return true(config, way)

    monkeypatch.setattr(gpu_steps, "_times", times)
    row = gpu_steps.measure(tiny(quick, "draem"), gpu_steps.Way("32"))
    assert (row["micro_batch"], row["accumulate"]) == (2, 2) and row["problem"] is None
    monkeypatch.setattr(gpu_steps, "_times", lambda *_: (_ for _ in ()).throw(error))
    row = gpu_steps.measure(tiny(quick, "draem"), gpu_steps.Way("32"))
    assert row["micro_batch"] is None and f"does not fit in 32 ({error})" in row["problem"]


def test_another_error_ends_the_check_but_one_of_the_compiler_is_told(quick, monkeypatch):
    def broken(*_):
        raise ValueError("no compiler\nlong")

    monkeypatch.setattr(gpu_steps, "_times", broken)
    with pytest.raises(ValueError, match="no compiler"):
        gpu_steps.measure(tiny(quick, "draem"), gpu_steps.Way("32"))
    row = gpu_steps.measure(tiny(quick, "draem"), gpu_steps.Way("32", compiled=True))
    assert row["left_out"] == "not compiled: ValueError: no compiler long"


@pytest.mark.slow
def test_the_plan_of_memory_stands_beside_the_measurement(quick, monkeypatch):
    config = tiny(quick, "draem")
    whole = gpu_steps.planned_bytes(config)
    weights = sum(value.nbytes for value in ex.new_detector(config).parameters())
    assert 3 * weights < whole < 100e6  # with Adam's means, and what a tiny step keeps
    monkeypatch.setattr(gpu_steps, "planned_bytes", lambda config: 3 * 2**30)
    assert gpu_steps.measure(config, gpu_steps.Way("32"))["planned_gib"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("foreground", ["none", "auto"])
def test_a_measured_step_has_foregrounds_where_a_run_has_them(quick, monkeypatch, foreground):
    seen = []

    class Looked(Trainer):
        def train(self):
            seen.append(self.batches.foregrounds)
            return super().train()

    monkeypatch.setattr(gpu_steps, "Trainer", Looked)
    gpu_steps.measure(tiny(quick, "draem", foreground=foreground), gpu_steps.Way("32"))
    assert (seen[0] is not None) == (foreground != "none")


def test_a_machine_without_a_gpu_is_told_why(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda=None, hip=None))
    with pytest.raises(DiffadError, match="is a build for the CPU; install the one for CUDA"):
        gpu_check.chosen_device("auto")
    monkeypatch.setattr(torch, "version", SimpleNamespace(cuda="12.8", hip=None))
    with pytest.raises(DiffadError, match=r"for CUDA 12\.8 finds no GPU"):
        gpu_check.chosen_device("auto")


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_card_without_bf16_is_measured_and_trained_in_32_bit(monkeypatch, has_bf16: bool):
    monkeypatch.setattr(gpu_check.facts, "computes_bf16", lambda device: has_bf16)
    ways = gpu_check.ways_of(torch.device("cuda"))
    assert ways[0].precision == ("bf16-mixed" if has_bf16 else "32") and ways[-1].compiled
    assert len(ways) == (6 if has_bf16 else 3)
    assert not any(way.compiled for way in gpu_check.ways_of(torch.device("cpu")))


@pytest.mark.parametrize(
    ("capability", "built", "has"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((8, 9), ["sm_80", "sm_86"], True),
        ((8, 0), ["sm_86"], False),
        ((12, 0), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((7, 5), ["sm_80", "compute_80"], False),
    ],
)
def test_a_build_has_kernels_for_a_card_or_not(capability, built, has):
    assert gpu_check.has_kernels(capability, built) == has


def test_versions_leave_out_what_is_not_installed(monkeypatch):
    monkeypatch.setattr("diffad_lib.runs.facts._PACKAGES", "numpy no-such-package")
    assert set(package_versions()) == {"python", "torch", "numpy"}
