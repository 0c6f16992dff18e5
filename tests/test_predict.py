"""New pictures: the scores of the run itself, a threshold from good pictures, files, bad input."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

import layout_factory as factory
from course_files import ROOT
from diffad_lib.datasets.decode import decode_image
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import predict_all
from diffad_lib.methods import method_names
from diffad_lib.runs import experiment as ex
from diffad_lib.runs import facts
from diffad_lib.runs import predict as module
from diffad_lib.runs.config import build_config
from diffad_lib.runs.device import flushes_denormals
from diffad_lib.runs.folder import CONFIG_NAME
from diffad_lib.runs.inspection import inspect, overlay, write_inspection
from diffad_lib.runs.predict import load_trained, predict, read_pictures
from diffad_lib.runs.record import read_record
from diffad_lib.scores import false_alarm_rates, images_above, threshold_for
from small import SMALL
from started import Command, Told

SHORT = {"steps": 2, "batch_size": 2, "bootstrap_samples": 0, "device": "cpu"}
GAIN = {"draem": 8}  # of the convolutions, without which all pictures get the same score
TEST = Path("data/mvtec/bottle/test")


def train(root: Path, method: str, **settings) -> Path:
    """A finished run at the smallest size on noise, its test images larger; the run folder."""
    factory.make_mvtec(root / "data")
    for number, path in enumerate(sorted((root / TEST).rglob("*.png"))):
        factory.write_noise(path, 50 + number, side=90)
    for path in (root / TEST).parent.glob("ground_truth/*/*.png"):
        factory.write_mask(path, side=90)
    own = {**SMALL[method], **SHORT, **settings}
    folders = {"data_root": root / "data", "runs_dir": root / "runs"}
    config = build_config("mvtec", "bottle", method, overrides=own, seed=3, **folders)
    run = ex.prepare(config)
    training = ex.train_experiment(run)
    with torch.no_grad():
        for weight in run.detector.parameters():
            weight.mul_(GAIN.get(method, 1) if weight.ndim > 1 else 1)
    ex.finish(run, training, *ex.evaluate_experiment(run), {}, 1.0)
    return config.run_folder


def scores_of(run: Path) -> dict[str, float]:
    """What the record of a run tells, by the path below the folder of the test images."""
    images = read_record(run / "record.json").images
    return {f"{one.defect}/{Path(one.file).name}": one.score for one in images}


def predicted(run: Path, folder: Path) -> dict[str, float]:
    trained = load_trained(run)
    pictures = read_pictures(trained, folder)
    found = predict(trained, pictures)
    return dict(zip(pictures.digests, found.image_scores.tolist(), strict=True))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a run, and eight good pictures that it did not see."""
    root = tmp_path_factory.mktemp("run")
    train(root, "autoencoder")
    for number in range(8):
        factory.write_noise(root / "kept" / f"{number}.png", 90 + number)
    return root


@pytest.fixture(scope="module")
def run(root: Path) -> Path:
    (record,) = root.glob("runs/**/record.json")
    return record.parent


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(run, tmp_path / "own"))


def changed(path: Path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# The scores are those of the run.


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": "32", "image_rule": "linear", "eval_batch_size": 4},
        {"precision": "bf16-mixed", "eval_batch_size": 2},
    ],
    ids=["32", "bf16"],
)
@pytest.mark.parametrize("method", method_names())
def test_the_test_images_get_the_scores_of_the_run(method: str, settings, tmp_path: Path) -> None:
    run = train(tmp_path, method, **settings)
    known = scores_of(run)
    assert predicted(run, tmp_path / TEST) == known and len({*known.values()}) > 1


@pytest.mark.parametrize("there", [False, True])
def test_the_precision_is_that_of_the_run_and_not_the_machines(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "computes_bf16", lambda device: there)
    run = train(tmp_path, "draem", precision="auto")
    monkeypatch.setattr(facts, "computes_bf16", lambda device: not there)
    assert predicted(run, tmp_path / TEST) == scores_of(run)


@pytest.mark.parametrize("before", [False, True])
def test_denormal_numbers_are_0_while_it_predicts_as_in_a_run(
    run: Path, root: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    flushed, found_here = [], flushes_denormals()

    def look(*given):
        flushed.append(flushes_denormals())
        return predict_all(*given)

    monkeypatch.setattr(module, "predict_all", look)
    torch.set_flush_denormal(before)
    predicted(run, root / "kept")
    assert flushed == [True] and flushes_denormals() is before
    torch.set_flush_denormal(found_here)


def test_what_is_another_than_in_the_run_is_told(own: Path) -> None:
    assert load_trained(own).notes == []
    held = json.loads((own / "record.json").read_text())
    device = held["device"] | {"name": "a GPU", "threads": 77}
    changed(own / "record.json", device=device, versions=held["versions"] | {"torch": "1.0"})
    (note,) = load_trained(own).notes
    assert "device a GPU, now cpu" in note and "threads 77, now 1" in note
    assert f"torch 1.0, now {held['versions']['torch']}" in note


def test_a_run_on_several_gpus_predicts_on_what_is_here(own: Path, root: Path) -> None:
    config = json.loads((own / "record.json").read_text())["config"]
    config["training"] |= {"device": "cuda", "devices": 4, "accumulate": 4}
    changed(own / "record.json", config=config)
    assert predicted(own, root / TEST) == scores_of(own)
    assert load_trained(own).config.training.processes == 1


# Which pictures are found.


def test_pictures_are_found_below_the_folder_in_natural_order(run: Path, tmp_path: Path) -> None:
    for name in ("10.png", "2.JPG", "b/10.bmp", "b/9/1.png", "c 부품.webp", ".a.png", ".b/1.png"):
        factory.write_noise(tmp_path / "new" / name, 0)
    (tmp_path / "new" / "b" / "read.me").touch()
    (tmp_path / "new" / "b" / "x.heic").touch()
    pictures = read_pictures(load_trained(run), tmp_path / "new")
    assert [*pictures.digests] == ["2.JPG", "10.png", "b/9/1.png", "b/10.bmp", "c 부품.webp"]
    (note,) = pictures.notes
    assert "2 files are not read: " in note and ".heic: convert it to PNG" in note
    assert note.startswith(str(tmp_path / "new")) and "verify" not in note


def test_grey_pictures_are_told_of_a_run_on_colours_and_only_then(
    run: Path, own: Path, tmp_path: Path
) -> None:
    for number in range(3):
        factory.write_noise(tmp_path / "new" / f"{number}.png", number, grey=number > 0)
    (note,) = read_pictures(load_trained(run), tmp_path / "new").notes
    assert "in colour: training images 0 of 3, pictures 2 of 3;" in note
    factory.write_noise(tmp_path / "new" / "0.png", 0, grey=True)
    data = json.loads((own / "record.json").read_text())["data"]
    for grey in (3, None):  # as the pictures are now; not known
        changed(own / "record.json", data=data | {"train": data["train"] | {"grey": grey}})
        assert read_pictures(load_trained(own), tmp_path / "new").notes == []


# The threshold.


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.29, 0.5, 0.99])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_a_threshold_is_the_lowest_score_with_at_most_the_rate_above_it(rate, levels) -> None:
    scores = torch.from_numpy(np.random.default_rng(0).integers(0, levels, 100)).float()
    threshold = threshold_for(scores, rate)
    lower = scores[scores < threshold]
    assert threshold in scores and int((scores > threshold).sum()) <= 100 * rate + 1e-9
    assert not len(lower) or int((scores > lower.max()).sum()) > 100 * rate


def test_a_share_that_a_computer_cannot_write_loses_no_picture() -> None:
    assert 0.29 * 100 < 29 and images_above(100, 0.29) == 29
    assert [images_above(50, rate) for rate in (0.0, 0.0199, 0.02, 0.05)] == [0, 0, 1, 2]


@pytest.mark.parametrize(("count", "above"), [(50, 0), (50, 1), (50, 2), (1000, 20), (20_000, 400)])
def test_the_rate_of_false_alarms_is_that_of_drawn_scores(count: int, above: int) -> None:
    drawn = np.random.default_rng(0).beta(above + 1, count - above, 200_000)
    found = false_alarm_rates(count, above)
    expected = drawn.mean(), *np.quantile(drawn, (0.025, 0.975))
    assert found == pytest.approx(expected, rel=0.03, abs=1e-4)


def test_the_interval_holds_the_share_of_new_pictures_as_often_as_it_says() -> None:
    """Drawn from a distribution that has nothing to do with Beta."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(2000):
        threshold = threshold_for(torch.from_numpy(rng.exponential(size=50)), 0.02)
        _, low, high = false_alarm_rates(50, 1)
        held += low <= np.exp(-threshold) <= high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_page_on_new_pictures_tells_what_the_functions_give() -> None:
    text = (ROOT / "docs" / "new-pictures.md").read_text(encoding="utf-8")
    number = r"([\d.]+)"
    row = rf"^\| {number} \| {number} \| {number} \| {number} % \| {number} % to {number} % \|$"
    rows = re.findall(row, text, re.MULTILINE)
    assert len(rows) == 6
    for count, rate, above, *told in rows:
        assert images_above(int(count), float(rate)) == int(above)
        found = false_alarm_rates(int(count), int(above))
        assert [f"{100 * share:.1f}" for share in found] == told


def test_good_pictures_that_train_or_are_judged_give_no_threshold(
    run: Path, own: Path, root: Path, tmp_path: Path
) -> None:
    kept = Path(shutil.copytree(root / "kept", tmp_path / "kept"))
    shutil.copy(root / TEST.parent / "train/good/001.png", kept / "other name.png")
    with pytest.raises(DiffadError, match=r"other name\.png: is 001\.png of the training images"):
        inspect(run, root / TEST, kept, 0.02)
    data = json.loads((own / "record.json").read_text())["data"]
    for train in ({"files": {"good/": "0"}}, {"files": {}}):
        changed(own / "record.json", data=data | {"train": data["train"] | train})
        found = inspect(own, root / TEST, kept, 0.02)
        assert any("whether good pictures are training images" in note for note in found.notes)
    (kept / "other name.png").unlink()
    assert inspect(run, root / TEST, kept, 0.02).notes == []
    shutil.copy(root / TEST / "crack/000.png", kept / "x.png")
    with pytest.raises(DiffadError, match=r"x\.png: is crack/000\.png of .*test \(1 such\)"):
        inspect(run, root / TEST, kept, 0.02)


# The command and its files.


@pytest.fixture
def inspected(run: Path, root: Path, tmp_path: Path, diffad: Command):
    def call(*more: object, folder: Path = root / TEST, to: Path = tmp_path / "out") -> Told:
        return diffad("predict", run, folder, "--to", to, *more)

    return call


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


def names_in(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in files}


def test_scores_come_without_a_threshold(inspected, run: Path, tmp_path: Path) -> None:
    told = inspected()
    assert told.code == 0 and "6 pictures, " in told.out and " images/s" in told.out
    found = {row["file"]: float(row["score"]) for row in rows_of(tmp_path / "out/scores.csv")}
    assert found == scores_of(run) and "threshold" not in told.out
    assert names_in(tmp_path / "out") == {"scores.csv", "prediction.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_good_pictures_give_verdicts(inspected, root: Path, tmp_path: Path) -> None:
    told = inspected("--good", root / "kept", "--rate", 0.25)
    assert told.code == 0, told.err
    good, rows = rows_of(tmp_path / "out/good.csv"), rows_of(tmp_path / "out/scores.csv")
    known = sorted(float(row["score"]) for row in good)
    assert len(good) == 8 and {float(row["threshold"]) for row in [*good, *rows]} == {known[-3]}
    for row in [*good, *rows]:
        assert row["verdict"] == ("defect" if float(row["score"]) > known[-3] else "good")
    highest = [row["file"] for row in good if row["verdict"] == "defect"]
    assert f"threshold {known[-3]:.6g}: above it 2 of 8 good pictures ({', '.join(highest)})\n" in (
        told.out
    )
    above = sum(row["verdict"] == "defect" for row in rows)
    assert f"\nabove it: {above} of 6 pictures\n" in told.out and "33.3% expected" in told.out
    assert "cannot tell" not in told.out


def test_a_rate_that_the_good_pictures_cannot_tell_is_told(inspected, root: Path, tmp_path) -> None:
    told = inspected("--good", root / "kept", "--rate", 0.1)
    assert "note: 8 good pictures cannot tell a rate below 0.125; the threshold is their h" in (
        told.out
    )
    (threshold,) = {row["threshold"] for row in rows_of(tmp_path / "out/good.csv")}
    scores = [float(row["score"]) for row in rows_of(tmp_path / "out/good.csv")]
    assert float(threshold) == max(scores)


def test_the_same_again_replaces_all_of_it_and_another_prediction_nothing(
    inspected, root: Path, tmp_path: Path
) -> None:
    assert inspected("--maps", "--good", root / "kept").code == 0
    before = names_in(tmp_path / "out")
    assert {"maps/good/000.png.png", "good.csv"} < before
    told = inspected(folder=root / "kept")
    assert told.code == 1 and str(root / TEST) in told.err and told.err.count("\n") == 1
    assert names_in(tmp_path / "out") == before
    assert inspected().code == 0
    assert names_in(tmp_path / "out") == {"scores.csv", "prediction.json"}


def test_what_is_not_its_own_is_not_replaced(inspected, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert inspected().code == 0  # empty
    (out / "notes.txt").write_text("mine")
    assert "is there already" in inspected().err and (out / "notes.txt").exists()
    (tmp_path / "file").write_text("mine")
    assert "is there already" in inspected(to=tmp_path / "file").err
    (out / "notes.txt").unlink()
    (out / "prediction.json").unlink()
    assert "is there already" in inspected().err


def test_what_cannot_be_written_leaves_the_earlier_result(
    inspected, run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspected()
    before = (tmp_path / "out/scores.csv").read_bytes()
    found = inspect(run, root / TEST, None, 0.02)

    def refuse(*given) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cv2, "imencode", refuse)
    with pytest.raises(DiffadError, match=r"out: cannot be written \(No space left on device\)"):
        write_inspection(found, tmp_path / "out", with_maps=True)
    assert (tmp_path / "out/scores.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("folder", ["pictures", "good"])
def test_a_result_among_the_pictures_is_refused(inspected, root: Path, folder: str) -> None:
    inside = {"pictures": root / TEST, "good": root / "kept"}[folder] / "out"
    told = inspected("--good", root / "kept", to=inside)
    assert told.code == 1 and "lies among the pictures" in told.err and not inside.exists()


# Maps.


def test_a_map_lies_on_the_picture_as_it_is_to_be_seen(run: Path, tmp_path: Path, diffad) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    picture, exif = PIL.Image.fromarray(pixels), PIL.Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    (tmp_path / "new").mkdir()
    picture.save(tmp_path / "new/turned.png", exif=exif)
    picture.resize((1800, 800)).save(tmp_path / "new/large.png")
    told = diffad("predict", run, tmp_path / "new", "--to", tmp_path / "out", "--maps")
    assert told.code == 0, told.err
    drawn = {path.name: cv2.imread(str(path)) for path in (tmp_path / "out/maps").iterdir()}
    assert {name: one.shape for name, one in drawn.items()} == {
        "turned.png.png": (90, 40, 3),
        "large.png.png": (455, 1024, 3),
    }


def test_each_file_holds_its_own_picture_and_map(run: Path, root: Path, tmp_path: Path) -> None:
    found = inspect(run, root / TEST, root / "kept", 0.02)
    write_inspection(found, tmp_path / "out", with_maps=True)
    for name, anomaly_map in zip(found.pictures.digests, found.found.anomaly_maps, strict=True):
        picture = decode_image(root / TEST / name)
        expected = overlay(picture, anomaly_map, found.map_end, found.threshold)
        assert (decode_image(tmp_path / "out/maps" / f"{name}.png") == expected).all()


def test_all_maps_have_one_scale_and_with_a_threshold_the_same_the_next_time(
    run: Path, root: Path
) -> None:
    found = inspect(run, root / TEST, None, 0.02)
    assert found.threshold is None and found.map_end == found.found.anomaly_maps.max()
    with_good = inspect(run, root / TEST, root / "kept", 0.02)
    assert with_good.map_end == 2 * with_good.threshold
    nothing = replace(found.found, anomaly_maps=np.zeros_like(found.found.anomaly_maps))
    assert replace(found, found=nothing).map_end == 1


def test_where_the_map_is_0_the_picture_is_as_it_was_and_a_defect_is_bright_and_outlined() -> None:
    picture = np.full((64, 128, 3), 100, np.uint8)
    anomaly_map = np.zeros((16, 16), np.float32)
    anomaly_map[4:8, 4:8] = 0.5
    plain, outlined = overlay(picture, anomaly_map, 0.5), overlay(picture, anomaly_map, 0.5, 0.25)
    assert (plain[:, 80:] == 100).all() and (outlined[:, 80:] == 100).all()
    assert plain[24, 48].tolist() == outlined[24, 48].tolist() and plain[24, 48, 0] > 200
    blue = (outlined == (86, 180, 233)).all(axis=2)
    assert blue.any() and not (plain == (86, 180, 233)).all(axis=2).any()
    rows, columns = np.nonzero(blue)
    assert (rows.min(), rows.max()) == (16, 31) and (columns.min(), columns.max()) == (32, 63)
    weak = overlay(picture, anomaly_map, 5.0, 0.6)
    assert np.abs(weak.astype(int) - 100).max() < 20


# Bad input.


def spoil_nothing(own: Path) -> None:
    pass


def without_record(own: Path) -> None:
    (own / "record.json").unlink()


def interrupted(own: Path) -> None:
    (own / "record.json").rename(own / CONFIG_NAME)


def without_weights(own: Path) -> None:
    (own / "detector.safetensors").unlink()


def of_other_weights(own: Path) -> None:
    settings = json.loads((own / "detector.json").read_text())["settings"]
    changed(own / "detector.json", settings=settings | {"score_window": 3})


def empty(own: Path) -> None:
    (own.parent / "new/1.png").unlink()


def damaged(own: Path) -> None:
    path = own.parent / "new/1.png"
    path.write_bytes(path.read_bytes()[:-90])


def masks(own: Path) -> None:
    factory.write_mask(own.parent / "new/sub/ground_truth/1.png")


def mask_beside(own: Path) -> None:
    factory.write_mask(own.parent / "new/1_mask.png")


@pytest.mark.parametrize(
    ("spoil", "more", "parts"),
    [
        (without_record, [], ["own: holds weights without a run", "diffad run --weights"]),
        (interrupted, [], ["own: its run is not finished"]),
        (without_weights, [], ["detector.safetensors: not found"]),
        (of_other_weights, [], ["detector.json: is not the detector of record.json"]),
        (empty, [], ["new holds no PNG"]),
        (damaged, [], ["new/1.png is cut off or damaged"]),
        (masks, [], ["ground_truth/1.png would be read as an image"]),
        (mask_beside, [], ["1_mask.png would be read as an image"]),
        (spoil_nothing, ["--rate", "0.1"], ["--rate is the share of the pictures in --good; give"]),
        (spoil_nothing, ["--good", "absent", "--rate", "1"], ["--rate 1: is no share"]),
        (spoil_nothing, ["--good", "absent", "--rate", "-0.1"], ["--rate -0.1: is no share"]),
        (spoil_nothing, ["--good", "absent"], ["absent is not there"]),
        (spoil_nothing, ["--good", __file__], ["is a file; name a folder"]),
    ],
)
def test_what_cannot_be_used_is_one_line(own, tmp_path, diffad, spoil, more, parts) -> None:
    factory.write_noise(tmp_path / "new/1.png", 0)
    spoil(own)
    told = diffad("predict", own, tmp_path / "new", "--to", tmp_path / "out", *more)
    assert told.code == 1 and told.err.startswith("error: ") and told.err.count("\n") == 1
    assert all(part in told.err for part in parts), told.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run_is_named(tmp_path: Path, diffad: Command) -> None:
    told = diffad("predict", tmp_path / "absent", tmp_path, "--to", tmp_path.parent / "out")
    assert told.code == 1 and "absent: holds no run" in told.err


@pytest.mark.parametrize("what", ["image_scores", "anomaly_maps"])
def test_scores_that_are_no_numbers_are_an_error(run, root, monkeypatch, what: str) -> None:
    def broken(*given):
        found = predict_all(*given)
        getattr(found, what)[-1] = np.nan
        return found

    monkeypatch.setattr(module, "predict_all", broken)
    with pytest.raises(DiffadError, match="scores that are no numbers"):
        predicted(run, root / TEST)
