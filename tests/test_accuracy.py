"""The benchmark of accuracy against seconds of training."""

import sys
import types
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import accuracy, official, samples
from benchmarks.accuracy import OFFICIAL, Job, Places, Runner
from benchmarks.accuracy_page import HEADERS, draw, readmes, table
from benchmarks.measure import OURS, in_turn
from course_files import ROOT
from diffad_lib.course.shipped import shipped_rows
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import SetPrediction
from diffad_lib.files import write_json
from diffad_lib.training import Trainer

TINY = {"image_size": 32, "base_width": 4, "segmentation_width": 4, "score_window": 3}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test moves."""
    now = [0.0]
    monkeypatch.setattr(accuracy.time, "monotonic", lambda: now[0])
    return now


def runner_of(clock: list[float], shares: list[float], steps: float = 100) -> Runner:
    """Steps of four seconds; a prediction takes a thousand, which do not count."""

    def step(share: float) -> None:
        shares.append(share)
        clock[0] += 4

    def predict() -> SetPrediction:
        clock[0] += 1000
        return SetPrediction(np.zeros(1), np.zeros((1, 2, 2)), 0.0)

    return Runner(step, predict, steps)


def test_only_training_counts_and_each_look_comes_with_the_first_step_past_its_time(clock) -> None:
    shares: list[float] = []
    found = accuracy.race(runner_of(clock, shares), (5.0, 10.0, 20.0), lambda _: "judged")
    assert [(one["seconds"], one["steps"]) for one in found] == [(8, 2), (12, 3), (20, 5)]
    assert shares == [0, 0.2, 0.4, 0.6, 0.8]
    assert {one["metrics"] for one in found} == {"judged"}


def test_a_training_that_reaches_its_steps_is_looked_at_as_it_is(clock) -> None:
    judged = iter("ab")  # and not a third time
    found = accuracy.race(runner_of(clock, [], steps=3), (5.0, 30.0, 60.0), lambda _: next(judged))
    assert [(one["steps"], one["metrics"]) for one in found] == [(2, "a"), (3, "b"), (3, "b")]


def test_jobs_finish_all_ways_of_a_seed_before_the_next() -> None:
    found = [*accuracy.jobs(["draem", OFFICIAL])]
    assert [job.seed for job in found] == sorted(job.seed for job in found)
    assert len({job.file for job in found}) == len(found) == 18


@pytest.mark.parametrize("method", ["draem", "diffusionad"])
def test_our_training_goes_by_the_clock_of_the_race(method: str) -> None:
    given = TINY if method == "draem" else {"image_size": 32}
    job, looks = Job(method, "visa", "board", 0), (0.05, 0.1)
    found = accuracy.run_job(job, Places(None, None, None), looks, batch_size=2, **given)
    first, last = found["looks"]
    assert first["steps"] <= last["steps"] and first["seconds"] <= last["seconds"]
    assert 0 <= last["metrics"]["image_auroc"] <= 1
    assert found["way"] == method and found["prepare_seconds"] > 0
    assert found["pixels"] == 32 and found["textures"] is None


def test_rates_fall_with_the_share_that_is_spent_also_after_a_look(monkeypatch) -> None:
    job, made = Job("draem", "visa", "board", 0), []
    experiment = accuracy.prepared(job, Places(None, None, None), 100.0, batch_size=2, **TINY)
    monkeypatch.setattr(accuracy, "Trainer", lambda *how: made.append(Trainer(*how)) or made[0])
    runner, rates = accuracy.ours(experiment, 100.0), []
    for share in (0.05, 0.5, 0.99):
        runner.step(share)
        rates.append(made[0].optimizer.param_groups[0]["lr"])
        assert made[0].detector.training
        runner.predict()
        assert not made[0].detector.training
    assert 1e-3 >= rates[0] > 9e-4 > rates[1] > 4e-4 > 1e-5 > rates[2] > 0


LOADER = """
import numpy as np
class MVTecDRAEMTrainDataset:
    def __init__(self, root_dir, anomaly_source_path, resize_shape):
        assert root_dir.endswith("/")
        self.size = resize_shape
    def __getitem__(self, index):
        one = np.random.rand(3, *self.size).astype(np.float32)
        mask = np.zeros((1, *self.size), np.float32)
        mask[:, :4] = 1
        return {"image": one, "augmented_image": one, "anomaly_mask": mask}
"""
LOSS = """
import torch
class SSIM(torch.nn.Module):
    def forward(self, a, b):
        return (a - b).abs().mean()
class FocalLoss(torch.nn.Module):
    def forward(self, told, mask):
        return (told[:, 1:] - mask).square().mean()
"""
NETWORKS = """
import torch
class ReconstructiveSubNetwork(torch.nn.Conv2d):
    def __init__(self, a, b, base_width):
        super().__init__(a, b, 1)
class DiscriminativeSubNetwork(torch.nn.Conv2d):
    def __init__(self, a, b, base_channels):
        super().__init__(a, b, 1)
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the names of the official one, and an imgaug that can be seeded."""
    for name, text in {"data_loader": LOADER, "loss": LOSS, "model_unet": NETWORKS}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "textures" / "woven").mkdir(parents=True)
    (tmp_path / "textures" / "woven" / "a.jpg").touch()
    imgaug = types.ModuleType("imgaug")
    imgaug.seed = lambda seed: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imgaug", imgaug)
    return tmp_path


def started(checkout: Path, textures: str = "textures"):
    return official.draem_training(checkout, (4, 4), checkout, checkout / textures, 8, 2, seed=1)


def test_the_official_training_learns_and_repeats_with_its_seed(checkout: Path) -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def trained(steps: int, share: float = 0.0) -> torch.Tensor:
        step, judge = started(checkout)
        for _ in range(steps):
            step(share)
        scores, maps = judge(images)
        assert scores.shape == (2,) and maps.shape == (2, 1, 8, 8)
        return maps

    assert torch.equal(trained(3), trained(3))
    moved = [(trained(3, share) - trained(0)).abs().sum() for share in (0.0, 0.85, 0.95)]
    assert moved[0] > 3 * moved[1] > 9 * moved[2] > 0  # learning rates 1, 0.2 and 0.04


def test_a_training_sample_is_drawn_by_both(checkout: Path) -> None:
    seen: list[int] = []
    config = SimpleNamespace(
        detector=SimpleNamespace(image_size=8), training=SimpleNamespace(batch_size=2), seed=1
    )
    train = SimpleNamespace(samples=[SimpleNamespace(image=checkout / "good" / "0.png")])
    experiment = SimpleNamespace(config=config, train=train, batches=seen.append)
    work = samples.drawing(experiment, checkout / "textures", checkout)
    found = in_turn(work, pairs=2)
    assert {*found.seconds} == {OURS, samples.OFFICIAL} and found.units == 2
    assert seen == [0, 1, 2]  # a batch that does not count, then another one each time
    (told,) = samples.drawing(experiment, checkout / "textures", None).absent
    assert told == "official: give its checkout with --draem"


def test_without_imgaug_one_line_says_what_to_install(checkout: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "imgaug", None)
    with pytest.raises(DiffadError, match=r"install imgaug==0\.4\.0"):
        started(checkout)


def test_textures_that_the_official_loading_would_not_find_are_named(checkout: Path) -> None:
    with pytest.raises(DiffadError, match=r"textures/woven: has no \*/\*\.jpg"):
        started(checkout, "textures/woven")


def test_a_kept_row_of_other_textures_or_threads_is_refused(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    path = tmp_path / "one.json"
    write_json(path, {"textures": "images", "machine": {"threads": threads}})
    assert accuracy.kept_row(path, Places(None, Path("dtd/images"), None))["textures"] == "images"
    with pytest.raises(DiffadError, match=r"one\.json: was made with textures"):
        accuracy.kept_row(path, Places(None, None, None))
    write_json(path, {"textures": None, "machine": {"threads": threads + 1}})
    with pytest.raises(DiffadError, match="delete it"):
        accuracy.kept_row(path, Places(None, None, None))


def test_a_second_start_trains_what_is_missing_after_a_look_at_what_is_kept(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    made: list[Job] = []

    def run_job(job: Job, places: Places, looks: object) -> dict:
        made.append(job)
        if len(made) == 4:
            raise DiffadError("the data are gone")
        told = {"textures": None, "machine": {"threads": 1, "processor": "one", "torch": "2"}}
        return row(job.way, job.seed, 0.5, job.category) | {"dataset": job.dataset} | told

    monkeypatch.setattr(accuracy, "run_job", run_job)
    monkeypatch.setattr(accuracy, "SEEDS", (0,))
    line = ["accuracy", "--data-root", "data", "--threads", "1", "--to", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit, match="error: the data are gone"):
        accuracy.main()
    accuracy.main()
    assert len(made) == 7 and len({*made}) == 6  # the fourth is made again
    assert "accuracy.md" in capsys.readouterr().out
    assert (tmp_path / "accuracy.md").read_text().count("| 0.500 |") == 6
    before = len(made)
    accuracy.main()
    assert len(made) == before
    made.clear()
    next((tmp_path / "accuracy").glob("draem*bottle*")).unlink()
    monkeypatch.setattr(sys, "argv", [*line, "--textures", "images"])
    with pytest.raises(SystemExit, match="was made with textures"):
        accuracy.main()
    assert not made  # nothing is trained before it is known to fit


def row(way: str, seed: int, value: float, category: str = "bottle") -> dict:
    metrics = {"image_auroc": value, "pixel_ap": value / 2, "aupro": value / 4}
    looks = [
        {"due": s, "seconds": s + seed / 2, "steps": 10 * s, "metrics": metrics} for s in (15, 60)
    ]
    cell = {"way": way, "dataset": "mvtec", "category": category, "seed": seed}
    return cell | {"pixels": 128, "looks": looks}


def test_the_table_has_the_last_look_of_each_cell_over_its_seeds() -> None:
    rows = [row("DRAEM", seed, value) for seed, value in enumerate((0.9, 0.8, 0.7))]
    rows.append(row(OFFICIAL, 0, 0.5))
    told = table(rows, HEADERS["README.md"])[2:]
    assert told == [
        "| mvtec bottle | DRAEM | 128 | 3 | 600 (600 to 600) | 0.800 (0.700 to 0.900) "
        "| 0.400 (0.350 to 0.450) | 0.200 (0.175 to 0.225) |",
        "| mvtec bottle | official DRAEM | 128 | 1 | 600 | 0.500 | 0.250 | 0.125 |",
    ]


def test_the_figure_has_a_line_for_each_seed_and_one_for_their_mean() -> None:
    rows = [row("DRAEM", seed, 0.5 + seed / 10) for seed in range(3)] + [row(OFFICIAL, 0, 0.5)]
    rows.append(row("DRAEM", 0, 0.9, "screw"))
    axes = draw(rows).axes
    assert [len(axis.lines) for axis in axes[:2]] == [6, 2]
    mean = next(line for line in axes[0].lines if line.get_label() == "DRAEM")
    np.testing.assert_allclose(mean.get_ydata(), 0.6)
    assert axes[1].get_title() == "mvtec screw"
    # Looks come a part of a step late, each time another one: the ticks are when they were due.
    assert [tick.get_text() for tick in axes[-1].get_xticklabels()] == ["15", "60"]


def test_the_readmes_show_the_record() -> None:
    rows = shipped_rows("accuracy")
    assert len(rows) == len({(one["way"], one["category"], one["seed"]) for one in rows})
    for path, text in readmes(rows, ROOT).items():
        assert path.read_text(encoding="utf-8") == text, "run python -m benchmarks.accuracy_page"
    worse = [{**one, "looks": one["looks"][:-1]} for one in rows]
    assert all(path.read_text("utf-8") != text for path, text in readmes(worse, ROOT).items())
