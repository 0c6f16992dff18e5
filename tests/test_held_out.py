"""Recipes are measured on drawn defects: no test image, a record, and figures that repeat."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import layout_factory as factory
from diffad_lib.errors import DiffadError
from diffad_lib.metrics import METRICS
from diffad_lib.mini.drawn import KINDS, LARGE_KINDS, LARGE_RADII, draw_defects, uneven_light
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import load_data
from diffad_lib.runs.experiment import make_fabric
from diffad_lib.runs.held_out import COPIES, held_out_path, hold_out, split
from diffad_lib.runs.synthetic import make_batches

SIZE = 64


def surfaces(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(90, 110, (count, 3, SIZE, SIZE)).astype(np.uint8)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    base = factory.make_mvtec(tmp_path / "data")
    for number in range(9):
        factory.write_noise(base / "train" / "good" / f"1{number:02d}.png", 100 + number)
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    tiny = {"image_size": 32, "base_width": 4, "bottleneck": 2, "steps": 2, "batch_size": 2}
    return build_config(
        "mvtec",
        "bottle",
        "autoencoder",
        overrides=tiny,
        data_root=tmp_path / "data",
        runs_dir=tmp_path / "runs",
    )


@pytest.mark.parametrize(
    ("kinds", "radii"), [(KINDS, (2.5, 14)), (LARGE_KINDS, LARGE_RADII)], ids=["all", "large"]
)
def test_every_second_image_gets_a_defect_on_the_foreground_and_the_mask_tells_where(kinds, radii):
    images, foreground = surfaces(28), np.zeros((28, 1, SIZE, SIZE), np.uint8)
    foreground[..., 16:48, 16:48] = 1
    drawn, masks, names = draw_defects(images, foreground, np.random.default_rng(0), kinds, radii)
    assert names[::2] == ["good"] * 14 and not masks[::2].any()
    assert np.array_equal(drawn[::2], images[::2])
    assert set(names[1::2]) <= {kind.__name__ for kind in kinds} | {"good"}
    assert len(set(names[1::2])) > 3
    assert not (masks & (foreground[:, 0] == 0)).any()
    change = np.abs(drawn.astype(int) - images).max(axis=1)
    assert (change[masks] >= 0.03 * 255 - 1).all() and change[~masks].max() <= 0.03 * 255 + 1


def test_uneven_light_changes_every_image_a_little():
    images = surfaces(6)
    lit = uneven_light(images, np.random.default_rng(0)).astype(float)
    assert (np.abs(lit / images - 1).max(axis=(1, 2, 3)) < 0.25).all()
    assert (lit != images).reshape(6, -1).any(axis=1).all()


def test_held_out_images_are_not_trained_on_and_no_test_image_is_used(config: RunConfig) -> None:
    train, test = load_data(config)
    batches, held, foregrounds = split(make_batches(config, train, make_fabric(config)), "object")
    apart = {image.tobytes() for image in held}
    assert len(held) >= COPIES and foregrounds.shape == held[:, :1].shape
    trained = {image.tobytes() for image in batches.images}
    assert len(trained) == 10 and len(apart) == 2 and not trained & apart
    assert trained | apart == {image.tobytes() for image in train.images}
    assert not apart & {image.tobytes() for image in test.images}
    assert len(batches.names) == 10


def test_the_record_holds_settings_and_every_metric_and_figures_repeat(config: RunConfig) -> None:
    first = hold_out(config)
    path = held_out_path(config)
    assert path.is_relative_to(config.runs_dir / "held_out")
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["config"]["detector"]["bottleneck"] == 2 and told["steps"] == 2
    assert set(told["metrics"]) == {"as they are", "uneven light", "large defects"}
    for metrics in told["metrics"].values():
        assert set(metrics) == set(METRICS)
    assert set(told["by_defect"]["as they are"]) <= {kind.__name__ for kind in KINDS}
    assert told["train"]["images"] == 12 and told["finished"]
    threads = torch.get_num_threads()
    shutil.rmtree(config.data_root / "mvtec" / "bottle" / "test" / "crack")
    shutil.rmtree(config.data_root / "mvtec" / "bottle" / "ground_truth" / "crack")
    assert hold_out(config).metrics == first.metrics
    assert torch.get_num_threads() == threads


def test_too_few_images_and_selection_on_a_test_set_are_refused(config: RunConfig) -> None:
    leak = config.training.but(select_on_test_epochs=1)
    with pytest.raises(DiffadError, match="select_on_test_epochs: there is no test set here"):
        hold_out(config.but(training=leak))
    for number in range(9):
        (config.data_root / "mvtec/bottle/train/good" / f"1{number:02d}.png").unlink()
    with pytest.raises(DiffadError, match="3 training images: at least 6"):
        hold_out(config)


def test_a_limit_of_the_evaluation_is_the_one_of_the_settings(config: RunConfig) -> None:
    strict = hold_out(config.but(evaluation=config.evaluation.but(fpr_limit=0.01)))
    assert (
        strict.metrics["as they are"]["aupro"] != hold_out(config).metrics["as they are"]["aupro"]
    )
