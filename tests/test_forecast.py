"""`diffad plan`: which runs lists mean, and what they cost before they start."""

import io
import json
import re
import time
from pathlib import Path

import pytest
from lightning_fabric import Fabric
from rich.console import Console

import layout_factory as factory
from course_files import ROOT
from diffad_lib.cost import count_flop, count_memory
from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.errors import DiffadError
from diffad_lib.methods import method_names
from diffad_lib.methods.method import find_method
from diffad_lib.runs import experiment as ex
from diffad_lib.runs import speed
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import data_kind
from diffad_lib.runs.forecast import Forecast, choices, count_images, first_fit, forecast
from diffad_lib.runs.forecast_tables import figures, shown_forecasts
from diffad_lib.runs.matrix import LISTS, matrix
from diffad_lib.runs.speed import Speed, by_rate, probe, step_flop
from small import SMALL

NO_TIME = Speed(0.0, 0.0, "not measured")


def planned(
    overrides: dict | None = None, root: Path | None = None, **given: str
) -> list[RunConfig]:
    """given: what differs from the paper's DRAEM on all of MVTec AD, with seed 0."""
    plain = dict(zip(LISTS, ("mvtec", "all", "draem", "paper", "0"), strict=True))
    lists = {name: [value] for name, value in (plain | given).items()}
    return matrix(lists, overrides=overrides, is_planned=True, data_root=root)


def tiny(method: str = "autoencoder", root: Path | None = None, **settings) -> RunConfig:
    own = {**SMALL[method], "steps": 30, "batch_size": 4, "precision": "32", "device": "cpu"}
    where = {} if root is None else {"data_root": root / "data", "runs_dir": root / "runs"}
    return build_config("mvtec", "bottle", method, overrides=own | settings, **where)


def shown(forecasts: list[Forecast], gigabytes: float | None = None) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    for part in shown_forecasts(forecasts, gigabytes):
        console.print(part, soft_wrap=True, highlight=False, markup=False)
    return console.export_text()


def test_all_is_every_official_category_and_every_method() -> None:
    jobs = planned(dataset="mvtec,visa,mpdd", method="all", seed="0,1,1,2")
    official = [len(CATALOG[key].categories) for key in ("mvtec", "visa", "mpdd")]
    assert official == [15, 12, 6]
    assert len(jobs) == len(set(map(RunConfig.model_dump_json, jobs)))
    assert len(jobs) == 33 * len(method_names()) * 3


def test_a_category_counts_for_the_datasets_that_have_it() -> None:
    jobs = planned(dataset="all", category="bottle,candle,Class2")
    assert [(job.dataset, job.category) for job in jobs] == [
        ("dagm", "Class2"), ("mvtec", "bottle"), ("visa", "candle"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"category": "botle"}, '--category "botle" is in no dataset here (mvtec); did'),
        ({"seed": "all"}, "--seed all: there is no end of them"),
        ({"dataset": "custom"}, '--dataset "custom" has no official categories; give --data-r'),
    ],
)
def test_what_cannot_be_planned_is_told(given, message: str) -> None:
    with pytest.raises(DiffadError, match=re.escape(message)):
        planned(**given)


def test_images_are_counted_where_they_lie_and_else_official(tmp_path: Path) -> None:
    factory.make_mvtec(tmp_path / "data")
    (there,) = planned(root=tmp_path / "data")
    folder = tmp_path / "data" / "mvtec" / "bottle"
    train = len([*(folder / "train" / "good").iterdir()])
    test = len([*(folder / "test").rglob("*.png")])
    assert count_images(there) == (train, test, "found")
    absent = build_config("mvtec", "carpet", "draem", data_root=tmp_path / "data")
    assert count_images(absent) == (280, 117, "catalog")
    assert count_images(build_config("mvtec", "bottle", "draem")) == (209, 83, "catalog")


def test_the_papers_budget_on_mvtec_has_the_known_steps_and_hours() -> None:
    """663,000 steps of 16; at the speed of the authors' A100, 1.30 s a step, 239 hours."""
    jobs = planned(method="diffusionad")
    found = forecast(jobs, lambda config: Speed(1.3, 0.0, ""))
    assert sum(one.steps for one in found) == 663_000
    assert sum(one.train_seconds for one in found) / 3600 == pytest.approx(239, abs=1)


def test_the_page_tells_the_steps_of_every_dataset() -> None:
    page = (ROOT / "docs" / "costs.md").read_text(encoding="utf-8")
    for dataset in ("mvtec", "visa", "dagm", "mpdd"):
        jobs = planned(dataset=dataset, method="diffusionad,draem")
        found = forecast(jobs, lambda config: Speed(1.0, 0.0, ""))
        steps = [
            sum(one.steps for one in found if one.config.method == method)
            for method in ("diffusionad", "draem")
        ]
        (row,) = re.findall(rf"^\| {CATALOG[dataset].title} \|.*$", page, re.MULTILINE)
        assert [f"{count:,}" for count in steps] == [row.split(" | ")[1], row.split(" | ")[3]]


def test_the_command_prints_every_run_and_writes_the_figures(tmp_path: Path, diffad) -> None:
    small = ["--set", "image_size=32", "--set", "base_width=4", "--device-tflops", "1"]
    who = ["--dataset", "mvtec,mpdd", "--category", "bottle", "--category", "tubes"]
    to = tmp_path / "plan.json"
    command = ["plan", *who, "--method", "autoencoder", *small, "--seed", "0,1", "--to", str(to)]
    code, told, _ = diffad(*command)
    assert code == 0
    assert "mvtec/bottle/autoencoder/paper" in told
    assert "mpdd/tubes/autoencoder/paper" in told and "in sum" in told
    assert len(json.loads(to.read_text(encoding="utf-8"))) == 4


def test_a_rate_gives_the_time_of_the_counted_flop() -> None:
    config = tiny(accumulate=3)
    flop = count_flop(find_method(config.method).detector, config.detector)
    assert step_flop(config) == 12 * flop.training
    assert by_rate(config, 2.0).step == pytest.approx(12 * flop.training / 2e12)


@pytest.mark.slow
def test_objects_and_textures_are_measured_once_each_and_seeds_share_it() -> None:
    asked = []

    def measure(config: RunConfig) -> Speed:
        asked.append(config)
        return NO_TIME

    small = {"image_size": 32, "base_width": 4}
    jobs = planned(small, method="autoencoder", seed="0,1,2")
    found = forecast(jobs, measure)
    assert (len(found), len(asked)) == (45, 2)
    assert {data_kind(config) for config in asked} == {"object", "texture"}
    text = shown(found)
    assert text.count("mvtec/bottle/autoencoder/paper") == 1 and "in sum" in text
    told = [figures(one) for one in found]
    assert sum(one["flop"] for one in told) == pytest.approx(sum(one.flop for one in found))
    assert {one["seed"] for one in told} == {0, 1, 2}


@pytest.mark.slow
def test_what_does_not_fit_is_told_with_the_setting_that_does() -> None:
    config = tiny("diffusionad")
    ways = choices(config)
    assert [way.batch_size for way in ways] == [4] * 4 + [2] * 4 + [1] * 4
    assert ways[0].changes == {}
    memory = count_memory(find_method("diffusionad").detector, config.detector, bf16=False)
    assert ways[0].bytes == memory.of(4)
    for way in ways:
        first = first_fit(ways, way.needed / 1e9)
        assert first is not None and first.needed <= way.needed
        assert ways.index(first) <= ways.index(way)
    assert first_fit(ways, 0.1) is None
    least = min(ways, key=lambda way: way.bytes)
    text = shown(forecast([config], lambda config: NO_TIME), 1.0001 * least.needed / 1e9)
    for key, value in least.changes.items():
        assert f"--set {key}={value}" in text
    varied = build_config(
        "mvtec", "bottle", "diffusionad", overrides=SMALL["diffusionad"] | dict(least.changes)
    )
    assert varied.training.batch_size * varied.training.accumulate == 4


@pytest.mark.slow
def test_the_predicted_time_of_a_small_run_is_near_the_real_one(tmp_path: Path, monkeypatch):
    """Of the processor, with wide bounds, as other processes may run beside."""
    monkeypatch.setattr("diffad_lib.training.time.monotonic", time.process_time)
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    factory.make_mvtec(tmp_path / "data")
    config = tiny("draem", tmp_path, steps=60)
    (expected,) = forecast([config], probe)
    real = ex.train_experiment(ex.prepare(config))
    assert expected.steps == real.steps
    assert 0.3 < expected.train_seconds / real.seconds < 3
    assert "measured: " in expected.speed.told


@pytest.mark.slow
def test_a_large_step_is_tried_on_less_and_scaled(monkeypatch) -> None:
    tried = []

    def timed(config: RunConfig, fabric: Fabric) -> tuple[float, int]:
        tried.append(config)
        return 0.5, 7

    monkeypatch.setattr(speed, "_time_steps", timed)
    monkeypatch.setattr(speed, "_time_prediction", lambda config, fabric, count: 0.25)
    config = tiny("draem", image_size=128, accumulate=2)
    whole = probe(config)
    assert (whole.step, whole.test_image) == (1.0, 0.25)  # two micro-batches a step
    monkeypatch.setattr(speed, "MOST_FLOP", {"cpu": step_flop(config) / 20})
    scaled = probe(config)
    plan, size = tried[1].training, tried[1].detector.image_size
    assert (plan.batch_size, plan.accumulate, size) == (1, 1, 64)
    assert scaled.told == "scaled by FLOP: 7 steps of 1 images at 64 px, 0.5 s each"
    assert scaled.step == pytest.approx(0.5 * 2 * 4 * 4, rel=0.02)
    assert scaled.test_image == pytest.approx(0.25 * 4, rel=0.02)


def test_a_step_that_does_not_fit_is_tried_with_fewer_images_and_scaled(monkeypatch) -> None:
    def timed(config: RunConfig, fabric: Fabric) -> tuple[float, int]:
        if config.training.batch_size > most:
            raise error
        return 0.5, 7

    monkeypatch.setattr(speed, "_time_steps", timed)
    monkeypatch.setattr(speed, "_time_prediction", lambda config, fabric, count: 0.25)
    config, error = tiny("draem", batch_size=4), RuntimeError("CUDNN_STATUS_ALLOC_FAILED")
    most = 1
    found = probe(config)
    assert found.told == "scaled by FLOP: 7 steps of 1 images at 32 px, 0.5 s each"
    assert found.step == pytest.approx(4 * 0.5)
    most = 0
    with pytest.raises(DiffadError, match=r"no memory for a single image: .*tflops"):
        probe(config)
    error = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        probe(config)


@pytest.mark.slow
def test_disk_is_what_a_run_leaves(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    factory.make_mvtec(tmp_path / "data")
    config = tiny("draem", tmp_path, steps=1, base_width=32)
    (expected,) = forecast([config], lambda config: NO_TIME)
    ex.train_experiment(ex.prepare(config))
    (checkpoint,) = config.run_folder.glob("*.pt")
    weights = expected.kept_bytes - 2e6
    assert checkpoint.stat().st_size == pytest.approx(
        (expected.running_bytes - expected.kept_bytes) / 2, rel=0.05
    )
    assert checkpoint.stat().st_size == pytest.approx(3 * weights, rel=0.05)
