import hashlib
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_lib.errors import DiffadError
from diffad_lib.mini import make_mini, official, write
from diffad_lib.mini.categories import CATEGORIES
from diffad_lib.mini.fault import NO_FAULT, Fault
from diffad_lib.mini.picture import changed, take_picture
from diffad_lib.mini.surface import SIZE

DEFECTS = [(category, defect) for category in CATEGORIES for defect in category.defects]
FEW = {"TRAIN_GOOD": 2, "TEST_GOOD": 1, "TEST_DEFECT": 2, "DAGM_TRAIN_DEFECT": 1}


@pytest.fixture
def few(monkeypatch, tmp_path_factory):
    """Small sets, for tests that make several."""
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name, count in FEW.items():
        monkeypatch.setattr(official, name, count)


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files
    }


# The pictures


@pytest.mark.parametrize(("category", "defect"), DEFECTS, ids=lambda v: getattr(v, "name", v))
def test_the_mask_is_where_the_picture_differs_from_its_clean_twin(category, defect):
    damaged, mask = take_picture(category, 5, "test/twin", defect)
    clean, empty = take_picture(category, 5, "test/twin", None)
    assert damaged.shape == (SIZE, SIZE, 3)
    assert damaged.dtype == mask.dtype == np.uint8
    assert not empty.any()
    change = np.abs(damaged.astype(int) - clean).max(axis=2)
    assert change[mask == 0].max() == 0
    assert 0.004 <= mask.mean() <= 0.12
    assert change[mask == 1].mean() > 0.07 * 255  # seen at a glance
    assert (change[mask == 1] > 5).mean() > 0.6  # and the mask is tight


def test_the_mask_of_a_change_has_neither_gaps_nor_specks():
    clean = np.zeros((SIZE, SIZE, 3), np.float32)
    damaged = clean.copy()
    damaged[20:40, 20:40, 1] = 0.5
    damaged[25:35, 25:35, 1] = 0  # a part that looks like what is below it
    damaged[80, 80, 2] = 0.5  # a speck
    damaged[100:110, 100:110] = 0.02  # too faint to be seen
    expected = np.zeros((SIZE, SIZE), np.uint8)
    expected[20:40, 20:40] = 1
    assert np.array_equal(changed(clean, damaged), expected)


@pytest.mark.parametrize(("category", "defect"), DEFECTS, ids=lambda v: getattr(v, "name", v))
def test_a_scene_is_single_precision_and_sound(category, defect):
    fault = Fault(defect, np.random.default_rng(1))
    for scene in (
        category.draw(np.random.default_rng(0), NO_FAULT),
        category.draw(np.random.default_rng(0), fault),
    ):
        for values in (scene.colour, scene.height, scene.gloss, scene.body):
            assert values.dtype == np.float32  # double precision would take twice the time
            assert np.isfinite(values).all()
        assert scene.body.max() == 1


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda category: category.name)
def test_normal_pictures_vary_more_than_the_sensor_noise(category):
    pictures = [
        take_picture(category, 0, f"train/{index}", None)[0].astype(float) for index in range(6)
    ]
    for first, second in itertools.pairwise(pictures):
        assert np.abs(first - second).mean() > 4  # noise alone gives less than 4


@pytest.mark.parametrize("angle", [0, 37, 90, 141])
def test_the_coarse_ellipse_holds_the_whole_mask_and_more(angle):
    along = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    start, end = (np.round(64 + sign * 30 * along).astype(int).tolist() for sign in (-1, 1))
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.line(mask, start, end, 1, 3)
    ellipse = official.coarse_ellipse(mask)
    assert (ellipse >= mask).all()
    assert 1.5 * mask.sum() < ellipse.sum() < 0.1 * SIZE * SIZE
    assert cv2.connectedComponents(ellipse)[0] == 2


# Seeds


def test_the_same_seed_gives_the_same_bytes_in_another_process(few, tmp_path):
    make_mini(tmp_path / "here", 3)
    code = (
        "from pathlib import Path; from diffad_lib.mini import make_mini, official\n"
        f"for name, count in {FEW}.items(): setattr(official, name, count)\n"
        f"make_mini(Path({str(tmp_path / 'there')!r}), 3)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    here = digests(tmp_path / "here")
    assert len(here) > 60
    assert here == digests(tmp_path / "there")


def test_another_seed_gives_other_pictures(few):
    first, second = dict(write._files(0)), dict(write._files(1))
    images = [path for path in first if not re.search("label|mask|Masks|csv|Labels", path)]
    assert len(images) == 9 * 5 + 2  # and a defective training image for each of DAGM's two
    assert not any(first[path] == second.get(path) for path in images)


def test_a_picture_does_not_depend_on_those_before_it():
    category = CATEGORIES[0]
    late, _ = take_picture(category, 0, "test/b", None)
    take_picture(category, 0, "test/a", None)
    assert np.array_equal(late, take_picture(category, 0, "test/b", None)[0])
    assert not np.array_equal(late, take_picture(category, 0, "test/a", None)[0])


# All or nothing


def test_a_complete_set_is_kept(few, tmp_path, monkeypatch):
    make_mini(tmp_path / "mini")
    before = digests(tmp_path / "mini")

    def fail(seed):
        raise AssertionError("made again")

    monkeypatch.setattr(write, "_files", fail)
    make_mini(tmp_path / "mini")
    assert digests(tmp_path / "mini") == before


@pytest.mark.parametrize("interruption", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch, interruption):
    def break_off(seed):
        yield "mvtec/weave/train/good/000.png", b"half"
        raise interruption

    monkeypatch.setattr(write, "_files", break_off)
    expected = DiffadError if isinstance(interruption, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        make_mini(tmp_path / "mini")
    assert list(tmp_path.iterdir()) == []


def damage_byte(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("damage", [damage_byte, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["mvtec/weave/train/good/000.png", "visa/split_csv/1cls.csv"])
def test_a_file_that_is_not_as_it_was_made_is_told_and_made_again(
    few, tmp_path, capsys, name, damage
):
    root = tmp_path / "mini"
    make_mini(root)
    before = digests(root)
    others = {path: path.stat().st_mtime_ns for path in root.rglob("*.JPG")}
    damage(root / name)
    make_mini(root)
    assert f"{root}: files are absent or not as they were made" in capsys.readouterr().err
    assert digests(root) == before
    assert {path: path.stat().st_mtime_ns for path in others} == others
    make_mini(root)
    assert capsys.readouterr().err == ""


def test_a_set_without_a_digest_gets_one(few, tmp_path):
    root = tmp_path / "mini"
    make_mini(root)
    marker = json.loads((root / write.MARKER).read_text())
    before = dict(marker)
    del marker["digest"]
    (root / write.MARKER).write_text(json.dumps(marker))
    make_mini(root)
    assert json.loads((root / write.MARKER).read_text()) == before


@pytest.mark.parametrize("name", [".DS_Store", "mvtec/Thumbs.db", "dagm/._Class1", "desktop.ini"])
def test_what_file_managers_leave_in_a_set_stops_nothing(few, tmp_path, capsys, name):
    root = tmp_path / "mini"
    make_mini(root)
    (root / name).touch()
    capsys.readouterr()
    make_mini(root)
    assert capsys.readouterr().err == "" and (root / name).exists()


def test_an_empty_folder_is_filled(few, tmp_path):
    (tmp_path / "mini").mkdir()
    make_mini(tmp_path / "mini")
    assert json.loads((tmp_path / "mini" / write.MARKER).read_text())["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]


def test_a_set_that_another_process_finished_first_is_taken(few, tmp_path, monkeypatch):
    build = write._build

    def slow_build(folder, seed):
        build(folder, seed)
        build(tmp_path / "mini", seed)

    monkeypatch.setattr(write, "_build", slow_build)
    make_mini(tmp_path / "mini")
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]


def test_anything_else_in_the_folder_is_refused_and_left_alone(few, tmp_path):
    root = tmp_path / "mini"
    make_mini(root)
    with pytest.raises(DiffadError, match="seed 0, not of version 1 and seed 1"):
        make_mini(root, 1)
    marker = (root / write.MARKER).read_text()
    (root / write.MARKER).write_text(marker.replace('"version": 1', '"version": 0'))
    with pytest.raises(DiffadError, match="version 0"):
        make_mini(root)
    (root / write.MARKER).write_text(marker)
    (root / "mvtec" / "notes.txt").touch()
    with pytest.raises(DiffadError, match=r"holds \d+ files, not its \d+;"):
        make_mini(root)
    (root / "mvtec" / "weave" / "train" / "good" / "000.png").unlink()
    with pytest.raises(DiffadError, match=r"holds \d+ files, not its \d+;"):
        make_mini(root)
    (root / write.MARKER).write_text("[]")
    left = digests(root)
    with pytest.raises(DiffadError, match="something else"):
        make_mini(root)
    assert digests(root) == left
    (tmp_path / "file").touch()
    with pytest.raises(DiffadError, match="something else"):
        make_mini(tmp_path / "file")


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(DiffadError, match="seed -1 is negative"):
        make_mini(tmp_path / "mini", -1)
