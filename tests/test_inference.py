"""The benchmark of inference: what is measured, how often, beside whom, and what it leaves."""

import json
import sys
from argparse import Namespace
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import __main__ as command
from benchmarks import anomalib_networks, inference
from benchmarks.inference import SIZES, Calls, Row, Subject
from benchmarks.inference_page import draw, table
from benchmarks.measure import OURS
from benchmarks.works import BF16
from diffad_lib.cost import Flop, count_flop
from diffad_lib.methods import method_names
from diffad_lib.methods.method import find_method
from small import small_detector

SLOW = 10**12  # FLOP


def subject(method: str, flop: int = 1000) -> Subject:
    return Subject(method, "small", 32, flop, partial(small_detector, method))


def width_times_pixels(kind, settings):
    """As fast to count as it is wrong, but another number for every width and size."""
    return Flop(0, getattr(settings, "base_width", 1) * settings.image_size**2)


@pytest.mark.parametrize("full", [False, True])
def test_every_method_is_measured_at_every_size_and_the_papers_at_its_own(monkeypatch, full):
    monkeypatch.setattr(inference, "count_flop", width_times_pixels)
    found = inference.own_subjects(full)
    assert len({(one.name, one.pixels) for one in found}) == len(found)
    for name in method_names():
        method = find_method(name)
        sizes: dict[str, list[int]] = {budget: [] for budget in method.budgets}
        for one in found:
            for budget in one.network.split(" and ") if one.method == method.title else ():
                sizes[budget].append(one.pixels)
        own = sizes.pop("paper")
        assert own == ([method.budgets["paper"].detector.image_size] if full else [])
        assert all(sorted(each) == list(SIZES) for each in sizes.values())


def test_a_networks_flop_are_those_of_cost_and_of_a_real_prediction(monkeypatch):
    monkeypatch.setattr(inference, "SIZES", (32,))
    for one in inference._of_method(find_method("autoencoder"), full=False):
        detector = one.make()
        assert detector.settings.image_size == one.pixels
        assert one.flop == count_flop(type(detector), detector.settings).prediction
        if one.pixels == 64:
            assert one.flop == inference._counted(detector, one.pixels)


def test_a_batch_is_as_large_as_feasible_and_light_calls_are_many():
    light, heavy, slow = (replace(subject("draem"), flop=n) for n in (10**9, 20 * 10**9, SLOW))
    assert [one.batch for one in (light, heavy, slow)] == [16, 8, 1]
    calls = {
        (key[0], key[3]): count
        for one in (replace(light, method="light"), replace(slow, method="slow"))
        for keys, _, count in inference.works([one], [OURS], pairs=3)
        for key in keys.values()
    }
    assert calls == {("light, small", 1): 20, ("light, small", 16): 20, ("slow, small", 1): 3}


def test_what_has_one_size_and_batch_is_called_in_turn_and_told_in_every_precision(monkeypatch):
    monkeypatch.setattr(inference, "LIGHT_CALLS", 2)
    monkeypatch.setattr(inference, "BATCH", 2)
    subjects = [subject(name) for name in method_names()]
    ways = [len(work.ways) for _, work, _ in inference.works(subjects, [OURS, BF16], 1)]
    assert ways == [2 * len(subjects)] * 2  # one image, and a batch
    rows = inference.measure(subjects, [OURS, BF16], pairs=1)
    assert [(row.name, row.precision) for row in rows] == [
        (one.name, precision) for one in subjects for precision in (OURS, BF16)
    ]
    for row in rows:
        assert (row.one.images, row.batch.images) == (1, 2)
        for calls in (row.one, row.batch):
            assert len(calls.seconds) == len(calls.cpu_seconds) == 2 and min(calls.seconds) > 0


def test_a_call_predicts_bytes_of_the_size_asked_for_in_its_precision(monkeypatch):
    given = []

    def predict_all(detector, images, fabric, batch_size):
        precision = fabric.strategy.precision.precision
        given.append((images.shape, images.dtype, batch_size, precision))

    monkeypatch.setattr(inference, "predict_all", predict_all)
    for precision in (OURS, BF16):
        inference._call(subject("draem"), precision, 4)()
    one = (4, 3, 32, 32), np.uint8, 4
    assert given == [(*one, "32-true"), (*one, "bf16-mixed")]


def test_without_anomalib_the_reason_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "anomalib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert inference.their_subjects() == ([], ["anomalib is not installed"])


def test_an_anomalib_that_cannot_be_imported_is_told_with_its_error(monkeypatch, tmp_path: Path):
    for package in ("anomalib", "anomalib/models", "anomalib/models/image"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "anomalib/models/__init__.py").write_text(
        "raise RuntimeError('nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        told = anomalib_networks.why_absent()
    finally:  # not by monkeypatch, which would put it back
        sys.modules.pop("anomalib", None)
    assert told == "anomalib cannot be imported: nms does not exist"


class FakeNetwork(nn.Module):
    """Has what is filled in of both networks of anomalib; the first pixel is the score."""

    def __init__(self, **given) -> None:
        super().__init__()
        self.given, self.memory_bank = given, torch.empty(0)
        self.mean_std = nn.ParameterDict({"mean": torch.zeros(1, 4, 1, 1)})
        self.quantiles = nn.ParameterDict({"qa_st": torch.tensor(0.0)})

    def forward(self, images):
        return SimpleNamespace(pred_score=images[:, :1, 0, 0], anomaly_map=images[:, :1])


@pytest.fixture
def fake_anomalib(monkeypatch):
    module = ModuleType("fake")
    module.PatchcoreModel = module.EfficientAdModel = FakeNetwork
    monkeypatch.setattr(anomalib_networks, "_module", lambda name: module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())


def test_anomalibs_networks_are_as_a_trained_one_is(fake_anomalib):
    made = {name: make() for name, make in anomalib_networks.networks(256).items()}
    patchcore, efficient = made.values()
    # 10 % of 209 images of 32 × 32 patches, of 512 + 1024 channels
    assert patchcore.network.memory_bank.shape == (21401, 1536)
    assert patchcore.network.given == {"layers": ["layer2", "layer3"], "pre_trained": False}
    weights = [*efficient.network.mean_std.values(), *efficient.network.quantiles.values()]
    assert all((weight > 0).all() for weight in weights)  # or anomalib leaves them out
    found = patchcore.eval().predict(torch.full((2, 3, 256, 256), 0.485))
    assert found.image_score.shape == (2,) and float(found.image_score.abs().max()) < 1e-6
    assert found.anomaly_map.shape == (2, 1, 256, 256)


def test_efficientad_is_left_out_where_images_are_too_small_and_that_is_told(fake_anomalib):
    found, told = inference.their_subjects()
    assert [(one.method, one.pixels) for one in found] == [
        ("PatchCore", 64), ("PatchCore", 128), ("PatchCore", 256), ("EfficientAD", 256),
    ]  # fmt: skip
    assert told == ["EfficientAD of anomalib: takes 256 px at least"]


def row(precision: str, pixels: int = 64, faster: float = 1) -> Row:
    one = Calls(1, [0.02, 0.5, 0.03], [0.01, 0.04, 0.02])
    batch = Calls(16, [4.0, 2.0, 8.0], [1 / faster, 2 / faster, 4 / faster])
    return Row("DRAEM", "laptop", pixels, 10**9, precision, one, batch)


def test_a_row_tells_spread_and_speed_on_the_clock_and_of_the_processor():
    line = table([row(OURS), row(BF16, faster=2)])[-1]
    assert line == (
        "| DRAEM, laptop | 64 | 1 | 30 (20 to 500) | 30 (20 to 500) | 20 / 20 | "
        "16: 4 / 4 (8 / 16) | 8 / 16 |"
    )


def test_the_figure_has_a_line_for_each_network_and_precision():
    rows = [row(way, pixels) for way in (OURS, BF16) for pixels in (128, 64)]
    axes = draw([*rows, replace(row(OURS, 256), network="paper")]).axes[0]
    lines = [one.get_xydata().tolist() for one in axes.lines]
    assert lines == [[[64, 8], [128, 8]], [[64, 8], [128, 8]], [[256, 8]]]
    assert axes.get_xscale() == axes.get_yscale() == "log"


def given_to(folder: Path, only: str = "") -> Namespace:
    return Namespace(full=False, only=only, pairs=1, to=folder)


def test_the_command_leaves_every_time_and_what_is_absent(monkeypatch, tmp_path: Path, capsys):
    monkeypatch.setattr(inference, "LIGHT_CALLS", 1)
    monkeypatch.setattr(inference, "SQUARE", 64)
    monkeypatch.setattr(inference, "own_subjects", lambda full: [subject("autoencoder", SLOW)])
    monkeypatch.setattr(inference, "their_subjects", lambda: ([], ["anomalib is not installed"]))
    machine = {"processor": "a processor", "threads": 1, "torch": "2"}
    command._inference(given_to(tmp_path), machine, [OURS])
    record = json.loads((tmp_path / "inference.json").read_text(encoding="utf-8"))
    assert len(record["inference"][0]["one"]["seconds"]) == 1
    assert record["matrix_product_flop_per_cpu_second"][OURS] > 0
    page = (tmp_path / "inference.md").read_text(encoding="utf-8")
    for text in (page, capsys.readouterr().out):
        assert "a processor, threads: 1" in text and "anomalib is not installed" in text
        assert "| autoencoder, small | 32 | 1,000 |" in text
    assert (tmp_path / "inference.png").stat().st_size > 1000
    with pytest.raises(SystemExit, match='no network has "nothing" in its name'):
        command._inference(given_to(tmp_path, "nothing"), machine, [OURS])


@pytest.mark.parametrize("other", ["--draem", "--diffusionad"])
def test_inference_measures_no_checkouts(monkeypatch, other):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--inference", other, "x"])
    with pytest.raises(SystemExit, match="--inference measures no checkouts"):
        command.main()


def test_one_thing_is_measured_at_a_time(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--inference", "--scaling"])
    with pytest.raises(SystemExit):
        command.main()
    assert "--scaling: not allowed with argument --inference" in capsys.readouterr().err
