"""Official checkpoints from their files to a record, without training."""

import hashlib
import json
import shlex

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import layout_factory as factory
from diffad_lib import plots
from diffad_lib.convert import import_files
from diffad_lib.errors import DiffadError
from diffad_lib.methods.diffusionad import DiffusionADSettings, official
from diffad_lib.methods.diffusionad.official import export_diffusionad
from diffad_lib.methods.draem.detector import ReconstructiveNetwork
from diffad_lib.methods.method import find_method
from diffad_lib.networks.segmentation import SegmentationNetwork
from diffad_lib.runs import experiment as ex
from diffad_lib.runs import notebook
from diffad_lib.runs.config import RunConfig, build_config, parse_overrides
from diffad_lib.runs.given import check_given, check_same_weights
from diffad_lib.runs.record import read_record
from diffad_lib.weights import load_detector
from official_recipe import fill
from small import run_here, small_detector

DRAEM = {"image_size": 32, "base_width": 4, "segmentation_width": 4}
FIXED = {"residual_blocks": 2, "attention_resolutions": (32, 16, 8), "norm_groups": 32}
DIFFUSIONAD = {"image_size": 32, "base_width": 32, "segmentation_width": 4}
OURS = {"device": "cpu", "precision": "32", "bootstrap_samples": 20}


def sha256(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def root(tmp_path, monkeypatch):
    factory.make_mvtec(tmp_path / "data")
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def draem(root):
    """A pair as VitjanZ/DRAEM writes it, and its networks, which take BGR."""
    networks = ReconstructiveNetwork(4), SegmentationNetwork(6, 2, 4)
    paths = root / "DRAEM_bottle_.pckl", root / "DRAEM_bottle__seg.pckl"
    for network, path, prefix in zip(
        networks, paths, ("reconstruction", "segmentation"), strict=True
    ):
        fill(network, f"draem.{prefix}")
        torch.save(network.state_dict(), path)
    import_files("draem", paths, root / "draem", {"image_size": 32})
    return paths, networks


def config(root, method: str, weights: str, budget: str = "paper", **settings) -> RunConfig:
    """At the paper's budget; sizes as in the tiny files."""
    sizes = DRAEM if method == "draem" else DIFFUSIONAD
    return build_config(
        "mvtec", "bottle", method, budget, overrides=OURS | sizes | settings,
        data_root=root / "data", weights=root / weights, runs_dir=root / "runs",
    )  # fmt: skip


def evaluated(of: RunConfig):
    """What notebook 08 does, in this process; the record."""
    check_given(of)
    return run_here(of)


def official_draem_score(networks, path) -> float:
    """As test_DRAEM.py reads and scores an image at 32 px: BGR, 21×21 averages, the maximum."""
    pixels = cv2.resize(cv2.imread(str(path)), dsize=(32, 32)).astype(np.float32) / 255
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    with torch.inference_mode():
        reconstruction = networks[0](image)
        logits = networks[1](torch.cat([reconstruction, image], dim=1))
        anomalous = torch.softmax(logits, dim=1)[:, 1:]
        return F.avg_pool2d(anomalous, 21, stride=1, padding=10).max().item()


@pytest.mark.slow
def test_an_official_pair_scores_as_the_official_protocol_does(root, draem):
    _, networks = draem
    record = evaluated(config(root, "draem", "draem"))
    by_file = {(one.defect, one.file): one.score for one in record.images}
    assert len(by_file) == factory.TEST_GOOD + factory.TEST_DEFECT
    for (defect, name), score in by_file.items():
        path = root / "data" / "mvtec" / "bottle" / "test" / defect / name
        assert score == pytest.approx(official_draem_score(networks, path), abs=1e-5)
    assert np.ptp([*by_file.values()]) > 1e-3  # else any score would do
    assert record.config.detector["score_window"] == 21


@pytest.mark.slow
def test_of_larger_images_too_with_code_resize_and_with_it_alone(root, draem):
    """As docs/official-checkpoints.md tells; `official-code` changes the training too."""
    base = root / "data" / "mvtec" / "bottle" / "test"
    for number, path in enumerate(sorted(base.rglob("*.png"))):
        factory.write_noise(path, number, side=110)
    for path in (base.parent / "ground_truth").rglob("*.png"):
        factory.write_mask(path, side=110)

    def score(*variants: str) -> list[float]:
        of = build_config(
            "mvtec", "bottle", "draem", "paper", variants, OURS | DRAEM,
            data_root=root / "data", weights=root / "draem", runs_dir=root / "runs",
        )  # fmt: skip
        record = evaluated(of)
        assert record.config.evaluation["image_rule"] == ("linear" if variants else "area")
        found = [(one.score, base / one.defect / one.file) for one in record.images]
        return [abs(ours - official_draem_score(draem[1], path)) for ours, path in found]

    assert max(score("code-resize", "official-masks")) < 1e-5
    assert max(score()) > 1e-4  # by averages of areas
    with pytest.raises(DiffadError, match="lr_schedule has no effect"):
        score("official-code")


@pytest.mark.slow
def test_the_record_says_that_nothing_was_trained_and_with_which_weights(root, draem):
    paths, _ = draem
    record = evaluated(config(root, "draem", "draem"))
    assert record.weights.sha256 == sha256(root / "draem" / "detector.safetensors")
    assert record.weights.official == {path.name: sha256(path) for path in paths}
    told = record.training
    assert (told.steps, told.stopped_by, told.last) == (0, "weights", {})
    assert record.seconds.train == 0
    assert record.config.weights == str(root / "draem")
    folder = config(root, "draem", "draem").run_folder
    assert "weights=draem" in folder.parent.name
    assert sha256(folder / "detector.safetensors") == record.weights.sha256


@pytest.mark.slow
def test_an_official_diffusionad_scores_with_the_mean_of_its_50_highest_pixels(root):
    detector = small_detector("diffusionad", **DIFFUSIONAD | FIXED, channel_multipliers=None)
    fill(detector.denoising, "diffusionad.unet")
    fill(detector.segmentation, "diffusionad.segmentation")
    export_diffusionad(detector, [root / "params-last.pt"])
    import_files("diffusionad", [root / "params-last.pt"], root / "given")
    of = config(root, "diffusionad", "given", norm_groups=32)
    run = ex.prepare(of)
    result = ex.train_experiment(run)
    predictions, metrics = ex.evaluate_experiment(run)
    highest = np.sort(predictions.anomaly_maps.reshape(len(run.test.images), -1))[:, -50:]
    assert predictions.image_scores == pytest.approx(highest.mean(axis=1), abs=1e-6)
    record = read_record(ex.finish(run, result, predictions, metrics, {}, 1.0))
    assert record.weights.official == {"params-last.pt": sha256(root / "params-last.pt")}
    assert record.training.steps == 0
    times = {key: record.config.detector[key] for key in ("test_normal_t", "test_noisier_t")}
    assert times == {"test_normal_t": 200, "test_noisier_t": 400}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"image_size": 64}, r"with image_size 32 \(not 64\); add --set image_size=32"),
        ({"base_width": 8, "image_size": 64}, "add --set image_size=32 --set base_width=4"),
        ({"epochs": 3}, "epochs has no effect on weights that are not trained"),
        ({"learning_rate": 0.1}, "learning_rate has no effect"),
    ],
)
def test_settings_that_do_not_fit_are_refused(root, draem, settings, told):
    with pytest.raises(DiffadError, match=told):
        check_given(config(root, "draem", "draem", **settings))


def test_the_settings_that_are_asked_for_are_accepted_as_they_stand(root):
    """A list, a null and a number, as the line writes them."""
    multipliers = {"channel_multipliers": (1, 2)}
    detector = small_detector("diffusionad", **DIFFUSIONAD | FIXED | multipliers)
    export_diffusionad(detector, [root / "params-last.pt"])
    import_files("diffusionad", [root / "params-last.pt"], root / "given")
    with pytest.raises(DiffadError) as error:
        check_given(config(root, "diffusionad", "given"))
    words = shlex.split(str(error.value).partition("; add ")[2])
    options, pairs = words[::2], words[1::2]
    assert options == ["--set"] * 2
    check_given(config(root, "diffusionad", "given", **parse_overrides(pairs)))


def test_an_official_checkpoint_of_full_size_fits_the_papers_budget():
    """args1.json of HuiZhang0812/DiffusionAD, as far as it describes the networks."""
    args = {
        "img_size": [256, 256], "T": 1000, "base_channels": 128, "beta_schedule": "linear",
        "num_heads": 4, "num_head_channels": -1, "channel_mults": "", "less_t_range": 300,
        "noisier_t_range": 600, "condition_w": 1, "eval_normal_t": 200, "eval_noisier_t": 400,
    }  # fmt: skip
    told = official._settings_from_args(args)
    settings = official._as_the_budget_says(DiffusionADSettings(segmentation_width=64, **told))
    assert settings == find_method("diffusionad").budget("paper").detector


def test_weights_of_another_method_or_none_are_refused(root, draem):
    with pytest.raises(DiffadError, match="holds weights of method draem; give --method draem"):
        check_given(config(root, "diffusionad", "draem"))
    with pytest.raises(DiffadError, match=r"absent/detector\.json: not found"):
        check_given(config(root, "draem", "absent"))
    path = root / "draem" / "detector.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DiffadError, match="another sha256"):
        check_given(config(root, "draem", "draem"))


def test_a_variant_that_chooses_weights_by_looking_at_the_test_set_is_refused(root):
    export_diffusionad(
        small_detector("diffusionad", **DIFFUSIONAD | FIXED, channel_multipliers=None),
        [root / "params-last.pt"],
    )
    import_files("diffusionad", [root / "params-last.pt"], root / "given")
    of = build_config(
        "mvtec", "bottle", "diffusionad", "paper", ["select-on-test"], weights=root / "given",
        overrides=OURS | DIFFUSIONAD | {"norm_groups": 32}, data_root=root / "data",
    )  # fmt: skip
    with pytest.raises(DiffadError, match="select_on_test_epochs has no effect"):
        check_given(of)


def test_the_command_refuses_in_one_line_before_a_kernel_starts(root, draem, monkeypatch, diffad):
    monkeypatch.setattr(notebook, "execute", lambda *_: pytest.fail("a kernel was started"))
    where = ["--dataset", "mvtec", "--category", "bottle", "--data-root", str(root / "data")]
    given = ["--method", "draem", "--weights", str(root / "draem"), "--runs-dir", str(root / "r")]
    code, _, line = diffad("run", *where, *given)
    assert code == 1 and line.count("\n") == 1
    assert "is a detector with image_size 32 (not 64)" in line
    assert not (root / "r").exists()


@pytest.mark.slow
def test_a_finished_run_knows_other_weights(root, draem):
    of = config(root, "draem", "draem")
    record = evaluated(of)
    check_same_weights(of, record)
    told = json.loads((root / "draem" / "detector.json").read_text())
    (root / "draem" / "detector.json").write_text(json.dumps(told | {"sha256": "0" * 64}))
    with pytest.raises(DiffadError, match="holds other weights than the finished run evaluated"):
        check_same_weights(of, record)


@pytest.mark.slow
def test_a_run_that_trains_has_no_given_weights_in_its_record(root):
    of = build_config(
        "mvtec", "bottle", "draem", "mini", overrides=OURS | DRAEM | {"steps": 1, "batch_size": 2},
        data_root=root / "data", runs_dir=root / "runs",
    )  # fmt: skip
    record = evaluated(of)
    assert record.weights is None and record.training.steps == 1
    assert "official" not in json.loads((of.run_folder / "detector.json").read_text())


def test_a_figure_says_that_nothing_was_trained():
    (text,) = plots.loss_curves(pd.DataFrame([])).texts
    assert text.get_text() == "nothing was trained"


@pytest.mark.slow
@pytest.mark.xdist_group("run")
def test_the_notebook_evaluates_given_weights(root, draem):
    of = config(root, "draem", "draem")
    record = notebook.run(of, threads=1)
    assert record.weights.official and record.training.steps == 0
    assert load_detector(of.run_folder).settings == of.detector
    assert notebook.run(of).finished == record.finished  # nothing is run again
