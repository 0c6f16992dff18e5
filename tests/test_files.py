"""Atomic writes: the old file or the new one, and one line when the disk refuses."""

import errno
import fcntl
import json
import math
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffad_lib.errors import DiffadError
from diffad_lib.files import (
    drop_lock,
    exclusive,
    read_bytes,
    read_text,
    remove_leftovers,
    take_lock,
    unwritable,
    write_atomically,
    write_json,
    write_torch,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refuse(path: Path) -> None:
    path.write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_write_makes_the_folder_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_atomically(path, lambda temporary: temporary.write_text("whole"))
    assert path.read_text() == "whole"
    assert names(path.parent) == ["file.txt"]


def test_the_temporary_has_the_suffix_of_the_file_and_lies_beside_it(tmp_path: Path) -> None:
    seen: list[Path] = []
    write_atomically(tmp_path / "detector.safetensors", seen.append)
    assert seen[0].parent == tmp_path and seen[0].suffix == ".safetensors"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_file_is_what_the_umask_says(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == mode


def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    done = []

    def sync(handle: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        done.append(("folder" if is_folder else "file", path.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert done == [("file", "old"), ("folder", "new")]


def test_a_folder_that_cannot_be_synced_is_no_obstacle(tmp_path, monkeypatch):
    def sync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", sync)
    write_json(tmp_path / "a.json", {})
    assert names(tmp_path) == ["a.json"]


def test_a_full_disk_keeps_the_old_file_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(DiffadError) as error:
        write_atomically(path, refuse)
    assert str(path) in str(error.value) and "No space left on device" in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_reader_of_the_old_file_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with path.open() as reader:
        write_atomically(path, lambda temporary: temporary.write_text("new"))
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_another_error_passes_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file.txt", fail)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    path = tmp_path / "taken" / "file.txt"
    with pytest.raises(DiffadError, match="cannot be written") as error:
        write_atomically(path, refuse)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(DiffadError, match="Permission denied"):
        write_atomically(tmp_path / "file.txt", refuse)


def test_nan_and_infinity_become_null_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": math.nan, "b": [1.5, (math.inf,)], "c": {2: Path("x")}, "d": "é"})
    assert json.loads(path.read_text("utf-8")) == {
        "a": None,
        "b": [1.5, [None]],
        "c": {"2": "x"},
        "d": "é",
    }


def test_a_value_that_is_not_json_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert names(tmp_path) == []


def test_torch_content_comes_back(tmp_path: Path) -> None:
    write_torch(tmp_path / "a.pt", {"weights": torch.arange(3)})
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert torch.equal(content["weights"], torch.arange(3))


@pytest.mark.slow
def test_torch_content_that_does_not_fit_on_the_disk_is_one_line(tmp_path: Path) -> None:
    # A file-size limit refuses like a full disk does, and needs no rights. torch.save to a path
    # would answer with a RuntimeError about positions in a zip file.
    script = """
import resource, sys
from pathlib import Path
import torch
from diffad_lib.files import write_torch
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
write_torch(Path(sys.argv[1]), torch.zeros(100_000))
"""
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith("diffad_lib.errors.DiffadError") and str(path) in last
    assert names(tmp_path) == ["checkpoint.pt"] and path.read_bytes() == b"old"


def test_leftovers_of_killed_writes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    names_of_a_user = ["checkpoint.pt", "a-b.json", ".notebook.partial.ipynb", ".my-notes"]
    names_of_a_user += [".my-deadbeef.pt", ".a-0123456789abcdefx", "a-0123456789abcdef.pt"]
    kept = [tmp_path / name for name in names_of_a_user]
    for path in kept:
        path.touch()
    kept += [tmp_path / ".some-folder", tmp_path / ".a-0123456789abcdef"]
    for path in kept[-2:]:
        path.mkdir()
    script = (
        "import os, sys; from pathlib import Path; from diffad_lib.files import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), lambda path: os.kill(os.getpid(), 9))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "checkpoint.pt")], check=False)
    assert len(list(tmp_path.iterdir())) == len(kept) + 1
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_second_process_is_kept_out_until_the_first_has_ended(tmp_path):
    lock = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from diffad_lib.files import exclusive\n"
        f"with exclusive(Path({str(lock)!r}), 'wait'):\n"
        "    print('inside', flush=True); sys.stdin.read()"
    )
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipe) as other:
        assert other.stdout.readline() == "inside\n"
        with (
            pytest.raises(DiffadError, match=f"{tmp_path} is locked: wait"),
            exclusive(lock, "wait"),
        ):
            pytest.fail("both were inside")
        other.kill()
    with exclusive(lock, "wait"):
        pass
    drop_lock(lock, take_lock(lock, "wait"))
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_its_holder_removes_meanwhile_locks_nobody_out_or_in(
    tmp_path, monkeypatch
):
    lock, calls = tmp_path / "lock", []

    def flock(handle: int, how: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            lock.unlink()
        real(handle, how)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    handle = take_lock(lock, "wait")
    assert os.path.samestat(os.fstat(handle), lock.stat())
    with pytest.raises(DiffadError, match="is locked: wait"):
        take_lock(lock, "wait")
    drop_lock(lock, handle)


def test_a_lock_file_is_writable_as_nfs_wants_it_and_no_link(tmp_path, monkeypatch):
    def flock(handle: int, how: int) -> None:
        assert fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(tmp_path / "lock", "wait"):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    with pytest.raises(OSError, match="symbolic links"), exclusive(tmp_path / "link", "wait"):
        pass
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_and_no_obstacle(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with exclusive(tmp_path / "lock", "busy"):
        pass
    assert f"{tmp_path}: this file system has no locks" in capsys.readouterr().err


def test_another_error_of_a_lock_is_not_hidden(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), exclusive(tmp_path / "lock", "busy"):
        pass


@pytest.mark.parametrize(
    ("number", "is_full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EACCES, False)]
)
def test_only_a_full_disk_is_called_full(number, is_full):
    told = str(unwritable(Path("x"), OSError(number, os.strerror(number))))
    assert ("free some space" in told) == is_full and os.strerror(number) in told


@pytest.fixture
def special(tmp_path: Path):
    """Makes a file of a kind, at a path."""
    held = socket.socket(socket.AF_UNIX)

    def make(kind: str, path: Path) -> None:
        if kind == "a pipe (FIFO)":
            os.mkfifo(path)
        elif kind == "a device":
            path.symlink_to("/dev/zero")
        elif kind == "a folder":
            path.mkdir()
        else:
            held.bind(str(path))

    yield make
    held.close()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["a pipe (FIFO)", "a device", "a folder", "a socket"])
def test_only_regular_files_are_read(special, tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    path = Path("x.png")
    special(kind, path)
    for read in (read_bytes, read_text):
        with pytest.raises(DiffadError) as caught:
            read(path)
        assert str(caught.value) == f"x.png is {kind}, not a file; remove it"


def test_a_link_to_a_regular_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbf\xc3\xa9\xff\r\n")
    (tmp_path / "b").symlink_to("a")
    assert read_bytes(tmp_path / "b").endswith(b"\r\n")
    assert read_text(tmp_path / "b") == "é\ufffd\r\n"


@pytest.mark.parametrize(("read", "megabytes"), [(read_bytes, 512), (read_text, 64)])
def test_a_file_that_would_fill_the_memory_is_refused(tmp_path, read, megabytes):
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(megabytes * 2**20 + 1)  # it takes no space
    with pytest.raises(DiffadError, match=f"has {megabytes} MB, more than the {megabytes} MB that"):
        read(path)


@pytest.mark.parametrize("size", [5, 0])
def test_a_file_that_grows_or_shrinks_while_it_is_read_is_told(tmp_path, monkeypatch, size):
    path = tmp_path / "x"
    path.write_text("old")
    opened = Path.open

    def open_late(self, *arguments):
        os.truncate(path, size)
        return opened(self, *arguments)

    monkeypatch.setattr(Path, "open", open_late)
    with pytest.raises(DiffadError, match="changed while it was read"):
        read_bytes(path)


def test_a_name_that_no_file_can_have_is_one_line(tmp_path):
    with pytest.raises(DiffadError, match="cannot be read: File name too long"):
        read_bytes(tmp_path / ("x" * 300))
