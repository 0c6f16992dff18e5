"""The cache gives back what was put in, or nothing; it knows which files did not change."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

import layout_factory as factory
from diffad_lib.datasets import cache as cache_module
from diffad_lib.datasets import images as images_module
from diffad_lib.datasets.cache import (
    cache_folder,
    cache_size,
    entry_path,
    load_entry,
    remove_unused,
    write_entry,
)
from diffad_lib.datasets.images import file_digests, fingerprint, load_split
from diffad_lib.errors import DiffadError

DAY = 24 * 3600


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def settled(samples, monkeypatch):
    """Files count as settled at once; the function says which of them are read from now on."""
    monkeypatch.setattr(images_module, "_SAFE_NANOSECONDS", -1)
    read = images_module.read_bytes
    seen = []
    monkeypatch.setattr(images_module, "read_bytes", lambda path: seen.append(path) or read(path))

    def reads() -> list[Path]:
        found, seen[:] = seen[:], []
        return found

    return reads


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def replace_by_link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere")))


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: flip(path, 0), "damaged"),
        (lambda path: flip(path, 5000), "damaged"),
        (lambda path: flip(path, -1), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(bytes(4)), "damaged"),  # the checksum of nothing is 0
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "damaged"),
        (replace_by_link, "symbolic links"),
        (replace_by_pipe, "no file"),
    ],
)
def test_a_damaged_or_strange_entry_is_told_and_made_again(samples, cache, capsys, damage, told):
    expected = load_split(samples, 16, cache)
    (path,) = cache.glob("*.u8")
    good = path.read_bytes()
    capsys.readouterr()
    damage(path)
    again = load_split(samples, 16, cache)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line.startswith(f"{path} is not used (") and told in line
    np.testing.assert_array_equal(again.images, expected.images)
    np.testing.assert_array_equal(again.regions, expected.regions)
    assert path.read_bytes() == good and not path.is_symlink()
    load_split(samples, 16, cache)
    assert capsys.readouterr().err == ""


def test_an_entry_of_another_user_is_not_used(cache, monkeypatch, capsys):
    path = entry_path(cache, ".u8", "facts")
    write_entry(path, lambda file: file.write(b"content"))
    assert load_entry(path).tobytes() == b"content"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert load_entry(path) is None
    assert "another user" in capsys.readouterr().err
    assert entry_path(cache, ".u8", "facts") != path  # so that two users do not take turns
    assert cache_size(cache) == (0, 0) and remove_unused(cache, 0) == (0, 0)


def test_what_is_loaded_is_in_memory_and_survives_a_file_that_is_cut_off(samples, cache):
    stack = load_split(samples, 16, cache)
    expected = np.array(stack.images)
    (path,) = cache.glob("*.u8")
    os.truncate(path, 0)
    np.testing.assert_array_equal(stack.images, expected)


def test_a_large_entry_is_a_map_that_is_checked_too(samples, cache, monkeypatch, capsys):
    expected = load_split(samples, 16, cache)
    assert not isinstance(expected.images.base, np.memmap)
    monkeypatch.setattr(cache_module, "_MOST_IN_MEMORY", 0)
    mapped = load_split(samples, 16, cache)
    assert isinstance(mapped.images, np.memmap)
    np.testing.assert_array_equal(mapped.images, expected.images)
    np.testing.assert_array_equal(mapped.regions, expected.regions)
    (path,) = cache.glob("*.u8")
    flip(path, 100)
    capsys.readouterr()
    load_split(samples, 16, cache)
    assert "it is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("most", [0, 2**20])
def test_what_is_loaded_cannot_be_written(samples, cache, monkeypatch, most):
    monkeypatch.setattr(cache_module, "_MOST_IN_MEMORY", most)
    stack = load_split(samples, 16, cache)
    for array in (stack.images, stack.regions):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_what_nobody_used_for_30_days_is_removed_when_something_is_added(samples, cache):
    for size in (16, 24):
        load_split(samples, size, cache)
    used, old = sorted(cache.glob("*.u8"), key=lambda path: path.stat().st_size)
    notes = cache / "notes.u8"
    notes.touch()
    for path in (used, old, notes):
        age(path, 31 * DAY)
    load_split(samples, 16, cache)
    assert old.exists()
    load_split(samples, 8, cache)
    assert not old.exists() and used.exists() and notes.exists()


@pytest.mark.usefixtures("settled")
def test_clearing_leaves_the_files_of_others_and_builds_that_go_on(samples, cache):
    load_split(samples, 16, cache)
    count, size = cache_size(cache)
    assert count == 2 and size == sum(path.stat().st_size for path in cache.iterdir())
    build = cache / f".{'0' * 32}-{'a' * 16}.u8"
    stale = cache / f".{'1' * 32}-{'a' * 16}.u8"
    others = [cache / "notes.txt", cache / "a.u8", cache / f"x{'0' * 32}.u8", build]
    for path in (*others, stale):
        path.touch()
    (cache / f"{'2' * 32}.u8").mkdir()
    age(stale, 2 * DAY)
    assert remove_unused(cache, 0) == (3, size)
    assert sorted(path for path in cache.iterdir() if path.is_file()) == sorted(others)
    assert cache_size(cache / "absent") == remove_unused(cache / "absent") == (0, 0)


def test_a_relative_cache_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFAD_CACHE", "relative/cache")
    with pytest.raises(DiffadError, match="DIFFAD_CACHE=relative/cache is not an absolute path"):
        cache_folder()
    monkeypatch.setenv("DIFFAD_CACHE", "~/cache")
    assert cache_folder() == Path.home() / "cache"
    monkeypatch.chdir(tmp_path)
    assert cache_folder(Path("mine")) == tmp_path / "mine"


def test_files_that_did_not_change_are_not_read_again(samples, cache, settled):
    first = fingerprint(samples, cache)
    assert len(settled()) == 13  # 9 images, 4 masks
    assert fingerprint(samples, cache) == first
    assert settled() == []


@pytest.mark.parametrize("what", ["content", "time", "inode"])
def test_a_file_that_may_have_changed_is_read_again(samples, cache, settled, what):
    first = fingerprint(samples, cache)
    settled()
    path = samples[1].image
    status, data = path.stat(), path.read_bytes()
    if what == "content":  # of the same size, and the time is put back
        path.write_bytes(data[:-1] + b"\0")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif what == "time":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    else:
        copy = path.with_name("copy")
        copy.write_bytes(data)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
        copy.replace(path)
    assert (fingerprint(samples, cache) == first) == (what != "content")
    assert settled() == [path]


@pytest.mark.parametrize("field", range(5))
def test_every_fact_that_tells_a_change_counts(samples, cache, settled, field):
    first = fingerprint(samples, cache)
    (table,) = cache.glob("*.files")
    rows = json.loads(load_entry(table).tobytes())
    rows["train/good/001.png"][field] += 1
    write_entry(table, lambda file: file.write(json.dumps(rows).encode()))
    settled()
    assert fingerprint(samples, cache) == first
    assert settled() == [samples[1].image]


def test_a_file_that_was_written_a_moment_ago_is_read_again(samples, cache, monkeypatch):
    monkeypatch.setattr(images_module, "_SAFE_NANOSECONDS", 3600 * 10**9)
    first = fingerprint(samples, cache)
    path = samples[1].image
    stat, known = Path.stat, path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    monkeypatch.setattr(Path, "stat", lambda self: known if self == path else stat(self))
    assert fingerprint(samples, cache) != first  # though the clock of the disk did not move on


def test_a_file_whose_time_was_put_back_a_moment_ago_is_not_known(samples, cache, monkeypatch):
    monkeypatch.setattr(images_module, "_SAFE_NANOSECONDS", 3600 * 10**9)
    for sample in samples:
        for path in filter(None, (sample.image, sample.mask)):
            age(path, DAY)
    fingerprint(samples, cache)
    assert list(cache.glob("*.files")) == []


def test_a_damaged_table_of_digests_is_told_and_made_again(samples, cache, settled, capsys):
    first = fingerprint(samples, cache)
    (table,) = cache.glob("*.files")
    flip(table, 90)
    settled()
    assert fingerprint(samples, cache) == first
    assert len(settled()) == 13
    assert f"{table} is not used (it is damaged)" in capsys.readouterr().err


@pytest.mark.usefixtures("settled")
def test_digests_need_no_cache_that_can_be_written(samples, tmp_path):
    expected = fingerprint(samples, tmp_path / "cache")
    (tmp_path / "file").touch()
    assert fingerprint(samples, tmp_path / "file" / "cache") == expected


def test_relative_and_absolute_paths_share_a_table(samples, cache, settled, tmp_path, monkeypatch):
    files = [sample.image for sample in samples]
    digests = file_digests(files, cache)
    settled()
    monkeypatch.chdir(tmp_path)
    relative = [path.relative_to(tmp_path) for path in files]
    assert list(file_digests(relative, cache).values()) == list(digests.values())
    assert settled() == []


def test_a_file_that_changes_after_it_was_hashed_is_told_and_not_cached(
    samples, cache, monkeypatch
):
    path = samples[1].image
    write = images_module._write

    def change_then_write(file, *rest):
        factory.write_noise(path, 77)
        write(file, *rest)

    monkeypatch.setattr(images_module, "_write", change_then_write)
    with pytest.raises(DiffadError, match=rf"{path} changed while it was read; start again"):
        load_split(samples, 16, cache)
    assert list(cache.glob("*.u8")) == []
    monkeypatch.undo()
    assert load_split(samples, 16, cache).files["train/good/001.png"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("place", ["image", "mask"])
@pytest.mark.parametrize(("target", "told"), [(None, "a pipe"), ("/dev/zero", "a device")])
def test_a_pipe_or_device_named_like_an_image_is_an_error_and_no_wait(
    samples, cache, place, target, told
):
    path = getattr(samples[-1], place)
    path.unlink()
    path.symlink_to(target) if target else os.mkfifo(path)
    with pytest.raises(DiffadError, match=rf"{path} is {told}.*, not a file; remove it"):
        load_split(samples, 16, cache)
