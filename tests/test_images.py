import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import layout_factory as factory
from diffad_lib.datasets import images as images_module
from diffad_lib.datasets.cache import entry_path
from diffad_lib.datasets.decode import decode_pair
from diffad_lib.datasets.images import fingerprint, load_split
from diffad_lib.datasets.layouts import list_samples
from diffad_lib.datasets.regions import whole_regions
from diffad_lib.datasets.samples import Sample
from diffad_lib.errors import DiffadError

SHARED = Path(__file__).resolve().parents[2] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")


RULES_OF_IMAGES = ("area", "linear")


def entries(cache: Path, suffix: str = ".u8") -> list[Path]:
    return sorted(cache.glob(f"*{suffix}"))


@pytest.fixture
def no_decoding(monkeypatch):
    """After a call of the returned function, decoding is an error."""

    def forbid():
        def fail(image, mask, read):
            raise AssertionError(f"{image} was decoded again")

        monkeypatch.setattr(images_module, "decode_pair", fail)

    return forbid


def test_stack_holds_what_the_files_hold(samples, cache):
    stack = load_split(samples, factory.SIDE, cache)
    assert (stack.images.shape, stack.images.dtype) == ((9, 3, 32, 32), np.uint8)
    assert (stack.masks.shape, stack.masks.dtype) == ((9, 1, 32, 32), np.uint8)
    assert stack.samples == tuple(samples)
    for index, sample in enumerate(samples):
        image, mask = decode_pair(sample.image, sample.mask)
        np.testing.assert_array_equal(stack.images[index], image.transpose(2, 0, 1))
        np.testing.assert_array_equal(stack.masks[index, 0], mask)
    assert stack.masks.any(axis=(1, 2, 3)).tolist() == [False] * 5 + [True] * 4


def test_images_are_resized(samples, cache):
    stack = load_split(samples, 16, cache)
    assert stack.images.shape == (9, 3, 16, 16)
    assert stack.masks[-1, 0, 2:5, 6:9].all()
    assert stack.masks[-1].sum() == 9


@pytest.mark.parametrize(
    ("dataset", "category", "make"),
    [
        ("visa", "candle", factory.make_visa),
        ("visa", "candle", factory.make_visa_rearranged),
        ("dagm", "Class1", factory.make_dagm),
    ],
)
def test_every_layout_gives_binary_masks_on_defects_only(dataset, category, make, tmp_path, cache):
    make(tmp_path)
    stack = load_split(list_samples(dataset, category, tmp_path), factory.SIDE, cache)
    assert stack.masks.sum(axis=(1, 2, 3)).tolist() == [0] * 5 + [36] * 4


def test_greyscale_has_three_equal_channels(tmp_path, cache):
    factory.make_mvtec(tmp_path, grey=True)
    images = load_split(list_samples("mvtec", "bottle", tmp_path), 16, cache).images
    assert (images == images[:, :1]).all()


def test_second_load_decodes_nothing(samples, cache, no_decoding):
    first = load_split(samples, 16, cache)
    no_decoding()
    second = load_split(samples, 16, cache)
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.masks, second.masks)
    assert first.fingerprint == second.fingerprint


def test_a_moved_dataset_uses_the_same_cache(samples, cache, tmp_path, no_decoding):
    first = load_split(samples, 16, cache)
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "mvtec", moved / "mvtec")
    no_decoding()
    assert load_split(list_samples("mvtec", "bottle", moved), 16, cache).fingerprint == (
        first.fingerprint
    )


def test_a_changed_pixel_is_seen_even_with_the_old_size_and_time(samples, cache, tmp_path):
    path = samples[0].image
    path = path.with_suffix(".bmp")  # every BMP of one size has the same number of bytes
    samples[0].image.unlink()
    factory.write_noise(path, 1)
    samples = list_samples("mvtec", "bottle", tmp_path)
    before, status = load_split(samples, 16, cache), path.stat()
    factory.write_noise(path, 2)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = load_split(samples, 16, cache)
    assert path.stat().st_size == status.st_size
    assert (before.images[0] != after.images[0]).any()
    assert before.fingerprint != after.fingerprint


def test_fingerprint_sees_names_labels_masks_and_order(samples, tmp_path):
    original = fingerprint(samples)[0]
    assert fingerprint(samples)[0] == original
    assert fingerprint(samples[::-1])[0] != original
    assert fingerprint(samples[:-1])[0] != original
    factory.write_mask(samples[-1].mask, value=1)
    assert fingerprint(samples)[0] != original
    factory.write_mask(samples[-1].mask)
    assert fingerprint(samples)[0] == original
    renamed = samples[0].image.rename(samples[0].image.with_name("900.png"))
    assert renamed.exists()
    assert fingerprint(list_samples("mvtec", "bottle", tmp_path))[0] != original


def test_sizes_and_rules_have_caches_of_their_own(samples, cache, monkeypatch):
    load_split(samples, 16, cache)
    load_split(samples, 24, cache)
    assert len(entries(cache)) == 2
    monkeypatch.setattr(images_module, "RULES", images_module.RULES + 1)
    load_split(samples, 16, cache)
    assert len(entries(cache)) == 3


def test_by_the_official_rule_a_pixel_counts_only_as_a_whole():
    mask = np.zeros((64, 64), np.uint8)
    mask[9:25, 9:25], mask[40, 40] = 1, 1  # a square with edges between pixels at 24 px; a speck
    official = (cv2.resize(255 * mask, (24, 24)) / 255.0).astype(np.float32).astype(int)
    regions = whole_regions(mask, 24)
    np.testing.assert_array_equal(regions > 0, official == 1)
    assert regions.max() == 1  # the speck is gone
    assert 0 < official.sum() < (16 * 24 / 64) ** 2
    assert whole_regions(np.ones((50, 70), np.uint8), 32).all()
    two = np.zeros((64, 64), np.uint8)
    two[4:20, 4:20], two[40:60, 40:60] = 1, 1
    assert whole_regions(two, 32).max() == 2


def weave(height: int, width: int) -> np.ndarray:
    """A picture [H,W,3] with threads finer than a pixel of a small one, and noise."""
    rows, columns = np.mgrid[:height, :width]
    threads = 60 * np.sin(rows / 1.3)[..., None] + 40 * np.cos(columns / 2.1 + rows / 90)[..., None]
    colours = np.array([90, 120, 150]) + threads
    noise = np.random.default_rng(3).normal(0, 12, (height, width, 3))
    return (colours + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(900, 900), (768, 1024), (700, 200), (100, 90)])
def test_by_the_official_rule_an_image_has_the_bytes_of_the_official_code(shape, tmp_path, cache):
    path = tmp_path / "weave.png"
    factory.write_pixels(path, weave(*shape))
    official = cv2.resize(cv2.imread(str(path), cv2.IMREAD_COLOR), dsize=(256, 256))  # BGR
    one = [Sample(path, None, 0, "good", "test")]
    linear = load_split(one, 256, cache, image_rule="linear").images[0]
    np.testing.assert_array_equal(linear[::-1].transpose(1, 2, 0), official)


def test_by_default_areas_are_averaged_as_before(tmp_path, cache):
    path, picture = tmp_path / "weave.png", weave(900, 900)
    factory.write_pixels(path, picture)
    one = [Sample(path, None, 0, "good", "test")]
    area, linear = (load_split(one, 256, cache, "half", rule).images[0] for rule in RULES_OF_IMAGES)
    expected = cv2.resize(picture[..., ::-1], (256, 256), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(load_split(one, 256, cache).images[0], area)
    np.testing.assert_array_equal(area.transpose(1, 2, 0), expected)
    assert np.abs(area.astype(int) - linear).mean() > 5


def test_where_an_image_is_halved_the_rules_agree(tmp_path, cache):
    factory.write_pixels(tmp_path / "weave.png", weave(512, 512))
    one = [Sample(tmp_path / "weave.png", None, 0, "good", "test")]
    area, linear = (load_split(one, 256, cache, "half", rule).images for rule in RULES_OF_IMAGES)
    assert np.abs(area.astype(int) - linear).max() <= 1  # 0, but for another build of OpenCV


def test_image_rules_have_caches_of_their_own_and_defaults_keep_theirs(samples, cache):
    pairs = [(mask, image) for mask in ("half", "whole") for image in RULES_OF_IMAGES]
    stacks = [load_split(samples, 12, cache, *pair) for pair in pairs]
    assert len(entries(cache)) == 4
    for (mask, image), stack in zip(pairs, stacks, strict=True):
        again = load_split(samples, 12, cache, mask, image)
        np.testing.assert_array_equal(again.images, stack.images)
        same_images = stacks[RULES_OF_IMAGES.index(image)]
        np.testing.assert_array_equal(stack.images, same_images.images)
        same_masks = stacks[2 * (mask == "whole")]
        np.testing.assert_array_equal(stack.regions, same_masks.regions)
    assert (stacks[0].images != stacks[1].images).any()
    facts = [(), ("whole",)]  # the keys of caches from before there was an `image_rule`
    for told, stack in zip(facts, stacks[::2], strict=True):
        key = entry_path(cache, ".u8", images_module.RULES, *told, 12, stack.fingerprint)
        assert key in entries(cache)


def test_mask_rules_have_caches_of_their_own(samples, cache):
    half, whole = (load_split(samples, 24, cache, rule) for rule in ("half", "whole"))
    assert len(entries(cache)) == 2
    assert 0 < whole.masks.sum() < half.masks.sum()
    np.testing.assert_array_equal(whole.images, half.images)
    np.testing.assert_array_equal(load_split(samples, 24, cache).regions, half.regions)


def test_without_masks_their_rule_makes_no_other_cache(samples, cache):
    normal = [sample for sample in samples if sample.mask is None]
    half, whole = (load_split(normal, 24, cache, rule) for rule in ("half", "whole"))
    assert len(entries(cache)) == 1 and not whole.masks.any()
    np.testing.assert_array_equal(whole.images, half.images)


@pytest.mark.parametrize("rule", ["half", "whole"])
def test_a_mask_of_noise_is_named(samples, cache, rule):
    noise = np.zeros((600, 600), np.uint8)
    noise[::2, ::2] = 255
    cv2.imwrite(str(samples[-1].mask), noise)
    cv2.imwrite(str(samples[-1].image), np.zeros((600, 600, 3), np.uint8))
    with pytest.raises(DiffadError, match=rf"^{samples[-1].mask}: 90000 regions.*save a mask"):
        load_split(samples, 600, cache, rule)


def test_bad_file_stops_the_build_and_leaves_no_cache(samples, cache):
    bad = samples[3].image
    bad.write_bytes(bad.read_bytes()[:-20])
    with pytest.raises(DiffadError) as caught:
        load_split(samples, 16, cache)
    assert str(caught.value).startswith(f"{bad} is cut off")
    assert entries(cache) == []


def test_killed_build_leaves_nothing_that_is_used(samples, cache, tmp_path):
    code = """
import os, signal, sys
from diffad_lib.datasets import images
from diffad_lib.datasets.layouts import list_samples
load = images._load
def load_then_die(sample, *rest):
    if sample.defect == "stain":
        os.kill(os.getpid(), signal.SIGKILL)
    return load(sample, *rest)
images._load = load_then_die
images.load_split(list_samples("mvtec", "bottle", sys.argv[1]), 16, images.Path(sys.argv[2]))
"""
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(cache)], check=False)
    assert killed.returncode == -9
    (leftover,) = entries(cache)
    assert leftover.name.startswith(".")
    stack = load_split(samples, 16, cache)
    assert stack.masks.any(axis=(1, 2, 3)).sum() == 4
    yesterday = time.time() - 2 * 24 * 3600
    os.utime(leftover, (yesterday, yesterday))
    load_split(samples, 24, cache)
    assert not leftover.exists()
    assert len(entries(cache)) == 2


def test_processes_that_build_at_once_agree(samples, cache, tmp_path):
    code = """
import sys
from pathlib import Path
from diffad_lib.datasets.images import load_split
from diffad_lib.datasets.layouts import list_samples
sys.stdin.read()
stack = load_split(list_samples("mvtec", "bottle", sys.argv[1]), 16, Path(sys.argv[2]))
print(int(stack.images.sum()), int(stack.masks.sum()))
"""
    command = [sys.executable, "-c", code, str(tmp_path), str(cache)]
    builders = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for builder in builders:
        builder.stdin.close()
    printed = {builder.stdout.read() for builder in builders}
    assert [builder.wait() for builder in builders] == [0, 0, 0]
    stack = load_split(samples, 16, cache)
    assert printed == {f"{stack.images.sum()} {stack.masks.sum()}\n"}
    assert len(entries(cache)) == 1 and list(cache.glob(".*")) == []


def test_unwritable_cache_is_one_line_that_says_what_to_do(samples, tmp_path):
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(DiffadError) as caught:
        load_split(samples, 16, blocker / "cache")
    assert "cannot be written" in str(caught.value)
    assert str(blocker / "cache") in str(caught.value)
    assert str(caught.value).endswith("set DIFFAD_CACHE")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the full device of Linux")
def test_full_disk_is_one_line_and_leaves_no_cache(samples, cache, monkeypatch):
    write = images_module._write

    def write_to_full_disk(file, *rest):
        os.dup2(os.open("/dev/full", os.O_RDWR), file.fileno())
        write(file, *rest)

    monkeypatch.setattr(images_module, "_write", write_to_full_disk)
    with pytest.raises(DiffadError, match=r"No space left on device.*set DIFFAD_CACHE"):
        load_split(samples, 16, cache)
    assert entries(cache) == []


def test_cache_folder_comes_from_the_environment(samples, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "from_environment"))
    load_split(samples, 16)
    assert len(entries(tmp_path / "from_environment")) == 1


def test_empty_list_and_missing_file_are_errors(samples, cache):
    with pytest.raises(DiffadError, match="list of samples is empty"):
        load_split([], 16, cache)
    samples[1].image.unlink()
    with pytest.raises(DiffadError, match=r"001.png cannot be read"):
        load_split(samples, 16, cache)


def test_a_name_that_is_not_utf8_is_an_error(samples, cache):
    other = samples[1].image.with_name(os.fsdecode(b"\xb0\xa1.png"))
    samples[1].image.rename(other)
    samples[1] = replace(samples[1], image=other)
    with pytest.raises(DiffadError, match=r"good/\\xb0\\xa1.png has a name that is not UTF-8"):
        load_split(samples, 16, cache)


@needs_shared
def test_real_bottle(cache):
    samples = list_samples("mvtec", "bottle", SHARED / "data")
    test = [sample for sample in samples if sample.split == "test"]
    stack = load_split(test, 64, cache)
    assert stack.images.shape == (83, 3, 64, 64)
    defective = [sample.label == 1 for sample in stack.samples]
    assert stack.masks.any(axis=(1, 2, 3)).tolist() == defective
    # A bottle from above: bright background in the corners, dark glass.
    assert stack.images[..., :4, :4].mean() > 200
    assert stack.images.mean() < 170
