"""The folder of a kernel: what killed processes left goes, what others use stays."""

import errno
import os
import tempfile
import time
from pathlib import Path

import pytest

from diffad_lib.errors import DiffadError
from diffad_lib.files import exclusive
from diffad_lib.runs.facts import project_root
from diffad_lib.runs.kernel import OwnKernel, kernel_config, kernel_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(root: Path, name: str, lock: bool = True, age: float = 100.0) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "kernel-1").touch()
    if lock:
        (folder / "lock").touch()
    os.utime(folder, (time.time() - age,) * 2)
    return folder


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_a_kernel_has_a_new_folder_that_goes_with_it(temporary: Path) -> None:
    with kernel_folder() as folder:
        assert folder.parent == temporary and folder.name.startswith("diffad-")
        assert folder.stat().st_mode & 0o777 == 0o700
        kernel_config(folder)
    assert names(temporary) == set()


def test_a_folder_of_a_killed_process_is_removed(temporary: Path) -> None:
    left(temporary, "diffad-killed")
    with kernel_folder():
        assert "diffad-killed" not in names(temporary)


def test_folders_of_others_stay(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = left(temporary, "diffad-used")
    left(temporary, "diffad-young", age=10.0)
    left(temporary, "diffad-unknown", lock=False)
    left(temporary, "something-else")
    elsewhere = left(temporary, "elsewhere")
    (temporary / "diffad-link").symlink_to(elsewhere)
    (temporary / "diffad-file").touch()
    before = names(temporary)
    with exclusive(used / "lock", "x"), kernel_folder():
        assert before <= names(temporary)
    assert names(elsewhere) == {"kernel-1", "lock"}


def test_folders_of_other_users_stay(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left(temporary, "diffad-theirs")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with kernel_folder():
        assert "diffad-theirs" in names(temporary)


@pytest.mark.parametrize(("users", "expected"), [(None, "3"), ("5", "5")])
def test_threads_are_the_kernels_alone_and_the_users_number_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users: str | None, expected: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if users:
        monkeypatch.setenv("OMP_NUM_THREADS", users)
    kernel = OwnKernel(config=kernel_config(tmp_path, threads=3))
    assert kernel.kernel_spec.env["OMP_NUM_THREADS"] == expected
    assert os.environ.get("OMP_NUM_THREADS") == users


def test_without_a_number_pytorch_decides_about_threads(tmp_path: Path) -> None:
    kernel = OwnKernel(config=kernel_config(tmp_path))
    assert "OMP_NUM_THREADS" not in kernel.kernel_spec.env


def test_a_kernel_imports_this_checkout_before_what_the_user_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "theirs")
    found = OwnKernel(config=kernel_config(tmp_path)).kernel_spec
    assert found.env["PYTHONPATH"] == f"{project_root()}{os.pathsep}theirs"
    monkeypatch.delenv("PYTHONPATH")
    found = OwnKernel(config=kernel_config(tmp_path)).kernel_spec
    assert found.env["PYTHONPATH"] == str(project_root())


def test_a_temporary_folder_that_cannot_be_used_is_named_and_not_the_run_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(prefix: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("TMPDIR", "/full")
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    with (
        pytest.raises(DiffadError, match=r"^/full: .*\(No space left.*set TMPDIR"),
        kernel_folder(),
    ):
        pytest.fail("it has no folder")
