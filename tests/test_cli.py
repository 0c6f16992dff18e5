"""Bad input through the command line: one line on stderr, exit code 1, nothing half-written."""

import errno
import io
import json
import os
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import papermill
import pytest
from papermill.parameterize import parameterize_path

import layout_factory as factory
from diffad_lib.datasets import images
from diffad_lib.datasets.images import load_split
from diffad_lib.datasets.layouts import list_samples
from diffad_lib.errors import DiffadError, shown, shown_lines
from diffad_lib.runs import notebook
from diffad_lib.runs.config import build_config, parse_overrides
from diffad_lib.runs.experiment import prepare
from diffad_lib.runs.folder import settings_of
from diffad_lib.runs.record import Record
from diffad_lib.weights import save_detector
from small import small_detector
from started import Command


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset and textures; no kernel may start."""
    factory.make_mvtec(tmp_path / "data")
    factory.make_dtd(tmp_path / "data")
    monkeypatch.setenv("DIFFAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(papermill, "execute_notebook", no_kernel)
    return tmp_path


def no_kernel(*arguments, **options) -> None:
    raise AssertionError("a kernel was started")


class Cli:
    """Runs `diffad run` in this process; options replace the defaults, None leaves one out."""

    def __init__(self, root: Path, diffad: Command) -> None:
        self.root, self.diffad = root, diffad

    def __call__(self, *more: str, **options: str | Path) -> tuple[int, str]:
        defaults = {
            "dataset": "mvtec",
            "category": "bottle",
            "method": "draem",
            "data-root": self.root / "data",
            "textures": self.root / "data" / "dtd",
            "runs-dir": self.root / "runs",
        }
        named = defaults | {key.replace("_", "-"): value for key, value in options.items()}
        pairs = [part for key, value in named.items() for part in (f"--{key}", value)]
        told = self.diffad("run", *pairs, *more)
        return told.code, told.err

    def error(self, *more: str, **options: str | Path) -> str:
        """The one line of a run that has to fail."""
        code, stderr = self(*more, **options)
        assert code == 1
        assert stderr.startswith("error: ") and stderr.count("\n") == 1, stderr
        assert stderr.endswith("\n")
        return stderr


@pytest.fixture
def diffad_run(root: Path, diffad: Command) -> Cli:
    return Cli(root, diffad)


@pytest.fixture
def reads_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook's first steps in this process instead of in a kernel."""

    def execute(path: Path, output: Path, values: dict, *_: object) -> None:
        overrides = parse_overrides(values.pop("overrides"))
        for name in ("data_root", "textures", "runs_dir"):
            values[name] = Path(values[name])
        prepare(build_config(**values, overrides=overrides))
        raise AssertionError("bad input was accepted")

    monkeypatch.setattr(notebook, "execute", execute)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"data_root": "absent"}, ["absent", "not a folder"]),
        ({"category": "botle"}, ['"botle"', 'did you mean "bottle"?']),
        ({"dataset": "visa"}, ['"visa"', "data/README.md"]),
        ({"dataset": "mvtek"}, ["--dataset", 'did you mean "mvtec"?']),
        ({"method": "drem"}, ["--method", 'did you mean "draem"?']),
        ({"budget": "labtop"}, ["--budget", 'did you mean "laptop"?']),
        ({"variant": "oficial-code"}, ["--variant", 'did you mean "official-code"?']),
        ({"set": "epoch=3"}, ['"epoch"', 'did you mean "epochs"?']),
        ({"set": "steps=few"}, ["steps: "]),
        ({"set": "steps"}, ["--set", "key=value"]),
        ({"set": "foreground_folder=absent"}, ["absent", "foreground_folder"]),
        ({"seed": "-1"}, ["seed: "]),
        ({"textures": "absent"}, ["absent", "--textures"]),
    ],
)
def test_input_that_is_not_there_or_not_known(
    diffad_run: Cli, root: Path, options: dict, parts: list[str]
) -> None:
    line = diffad_run.error(**options)
    for part in parts:
        assert part in line
    assert not (root / "runs").exists()


def test_a_textures_folder_without_images(diffad_run: Cli, root: Path) -> None:
    (root / "empty").mkdir()
    assert "holds no image" in diffad_run.error(textures=root / "empty")


def test_a_mask_without_an_image_and_an_image_without_a_mask(diffad_run: Cli, root: Path) -> None:
    base = root / "data" / "mvtec" / "bottle"
    image, mask = base / "test/crack/000.png", base / "ground_truth/crack/000_mask.png"
    image.rename(root / "aside.png")
    assert str(mask) in diffad_run.error()
    (root / "aside.png").rename(image)
    mask.unlink()
    assert str(image) in diffad_run.error()
    assert not (root / "runs").exists()


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split(diffad_run: Cli, root: Path, split: str) -> None:
    own = root / "own" / "parts"
    factory.write_noise(own / split / "good" / "0.png", 0)
    (own / "train").mkdir(exist_ok=True)
    line = diffad_run.error(dataset="custom", category="parts", data_root=root / "own")
    assert "parts" in line and {"train": "test", "test": "train"}[split] in line


PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8)
BAD_IMAGES = {
    "16 bits": PIXELS[..., 0].astype(np.uint16) * 257,
    "4 channels": PIXELS,
    "1×1 pixels": PIXELS[:1, :1, :3],
}


@pytest.mark.usefixtures("reads_data")
@pytest.mark.parametrize("place", ["train/good/001.png", "test/stain/001.png"])
@pytest.mark.parametrize("reason", BAD_IMAGES)
def test_an_image_that_cannot_be_used(diffad_run: Cli, root: Path, reason: str, place: str) -> None:
    path = root / "data" / "mvtec" / "bottle" / place
    factory.write_pixels(path, BAD_IMAGES[reason])
    line = diffad_run.error()
    assert str(path) in line and reason in line
    assert not list((root / "cache").glob(".*"))


@pytest.mark.usefixtures("reads_data")
@pytest.mark.parametrize(
    "place", ["mvtec/bottle/train/good/001.png", "dtd/images/banded/banded_0001.jpg"]
)
def test_a_truncated_file(diffad_run: Cli, root: Path, place: str) -> None:
    path = root / "data" / place
    path.write_bytes(path.read_bytes()[:600])
    line = diffad_run.error()
    assert str(path) in line and "cut off or damaged" in line


@pytest.mark.usefixtures("reads_data")
def test_an_image_size_that_the_method_cannot_take(diffad_run: Cli) -> None:
    assert "multiple of 32" in diffad_run.error("--set", "image_size=40")


def test_a_runs_folder_that_cannot_be_made(diffad_run: Cli, root: Path) -> None:
    (root / "taken").write_text("a file")
    line = diffad_run.error(runs_dir=root / "taken")
    assert str(root / "taken") in line and "--runs-dir" in line
    assert (root / "taken").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_runs_folder_without_permission(diffad_run: Cli, root: Path) -> None:
    (root / "locked").mkdir(mode=0o555)
    line = diffad_run.error(runs_dir=root / "locked")
    assert str(root / "locked") in line and "Permission denied" in line


def test_a_full_disk_leaves_no_part_of_a_notebook(
    diffad_run: Cli, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, output: Path, **options) -> None:
        Path(output).write_text("{")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(papermill, "execute_notebook", refuse)
    line = diffad_run.error()
    assert str(root / "runs") in line and "No space left on device" in line
    assert [path for path in (root / "runs").rglob("*") if path.is_file()] == []


def test_a_kernel_that_does_not_start_is_one_line(
    diffad_run: Cli, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(source: Path, output: Path, **options) -> None:
        Path(output).write_text("{}")
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(papermill, "execute_notebook", die)
    line = diffad_run.error()
    assert str(root / "runs") in line and "the process that computes died" in line


def test_a_temporary_folder_too_long_for_a_socket_is_named(
    diffad_run: Cli, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = root / ("x" * 100)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    line = diffad_run.error()
    assert str(folder) in line and "set TMPDIR" in line
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("reads_data")
def test_a_line_break_in_a_name_stays_one_line(diffad_run: Cli, root: Path) -> None:
    (root / "data/mvtec/bottle/train/good/a\nb.png").touch()
    assert r"a\nb.png is cut off" in diffad_run.error()


@pytest.mark.parametrize(
    "control", ["\0", "\a", "\n", "\r", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e"]
)
def test_a_control_character_is_shown_as_its_escape(control: str) -> None:
    escape = control.encode("unicode_escape").decode()
    assert shown(f"a{control}b") == f"a{escape}b"
    assert shown_lines(f"a{control}\nb") == f"a{escape}\nb".replace(r"\n", "\n")


def test_what_a_terminal_only_shows_stays_as_it_is() -> None:
    assert shown("긁힘 é\t× \u200d \\n [red]") == "긁힘 é\t× \u200d \\n [red]"


@pytest.mark.parametrize("place", ["train/good/{}.png", "test/{}/0.png"])
def test_a_name_forges_no_line_of_the_report(root: Path, diffad: Command, place: str) -> None:
    name = "a\ncustom: 1 found, 0 absent, 0 problems\x1b[2A\u202e"
    path = root / "data/mvtec/bottle" / place.format(name)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    report = diffad("data", "verify", "mvtec", "--data-root", root / "data").out
    assert place.format(r"a\ncustom: 1 found, 0 absent, 0 problems\x1b[2A\u202e") in report
    assert "\ncustom" not in report and "\x1b" not in report and "\u202e" not in report


@pytest.mark.parametrize("stream", ["stdout_file", "stderr_file"])
def test_what_a_notebook_prints_cannot_command_the_terminal(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, stream: str
) -> None:
    def say(source: str, output: str, **options) -> None:
        options[stream].write("step 1\n\x1b]0;title\a\n")
        options[stream].flush()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(papermill, "execute_notebook", say)
    with pytest.raises(DiffadError):
        notebook.execute(root / "a.ipynb", root / "b.ipynb", {})
    assert "step 1\n\\x1b]0;title\\x07\n" in "".join(capsys.readouterr())


def test_verify_names_a_file_whose_name_the_terminal_cannot_show(
    root: Path, monkeypatch: pytest.MonkeyPatch, diffad: Command
) -> None:
    folder = root / os.fsdecode(b"data/mvtec/bottle/train/\xb0")
    folder.mkdir()
    (folder / "0.png").touch()
    terminal = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", terminal)
    told = diffad("data", "verify", "mvtec", "--data-root", root / "data")
    terminal.flush()
    assert told.code == 1 and b"train/\\udcb0" in terminal.buffer.getvalue()


def test_the_cache_is_shown_and_cleared(
    root: Path, monkeypatch: pytest.MonkeyPatch, diffad: Command
) -> None:
    monkeypatch.setattr(images, "_SAFE_NANOSECONDS", -1)  # files just made are known at once
    folder = root / "cache"
    assert diffad("cache") == (0, f"{folder}: 0 files, 0.0 MB\n", "")
    load_split(list_samples("mvtec", "bottle", root / "data"), 128)
    assert diffad("cache") == (0, f"{folder}: 2 files, 0.7 MB\n", "")
    assert diffad("cache", "clear") == (0, f"{folder}: 2 files removed, 0.7 MB\n", "")
    assert list(folder.iterdir()) == []


def test_a_damaged_record_is_named(diffad_run: Cli, root: Path) -> None:
    config = build_config("mvtec", "bottle", "draem", runs_dir=root / "runs")
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "record.json").write_text("{")
    line = diffad_run.error()
    assert str(config.run_folder / "record.json") in line and "delete it" in line


def test_a_run_killed_between_record_and_notebook_is_not_complete(root: Path) -> None:
    config = build_config(
        "mvtec",
        "bottle",
        "draem",
        data_root=root / "data",
        textures=root / "data" / "dtd",
        runs_dir=root / "runs",
    )
    config.run_folder.mkdir(parents=True)
    partial = config.run_folder / ".notebook.ipynb.partial.ipynb"
    partial.write_text("{")
    seconds = {"train": 1.0, "total": 2.0}
    record = {"schema": 2, "config": settings_of(config), "metrics": {}, "seconds": seconds}
    (config.run_folder / "record.json").write_text(json.dumps(record))
    with pytest.raises(AssertionError, match="a kernel was started"):
        notebook.run(config)
    partial.unlink()
    save_detector(small_detector("draem"), config.run_folder)
    assert notebook.run(config) == Record.model_validate(record)


def test_an_unknown_option_is_a_usage_error(diffad_run: Cli) -> None:
    code, stderr = diffad_run("--stepps", "3")
    assert code == 2 and "--stepps" in stderr and "Traceback" not in stderr


@pytest.mark.parametrize("name", ["{x}", "{", "a}b", "{seed}", "{category.__class__}"])
def test_braces_in_a_path_are_not_filled_in(
    diffad_run: Cli, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    written = []

    def look(source: str, output: str, parameters: dict, **options) -> None:
        written.append(Path(parameterize_path(output, parameters)))
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(papermill, "execute_notebook", look)
    line = diffad_run.error(runs_dir=root / name)
    assert "free some space" not in line and "Input/output error" in line
    assert written[0].is_relative_to(root / name)


def test_an_error_of_the_program_shows_its_traceback_and_asks_for_a_report(
    diffad_run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments, **options) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(notebook, "run", fail)
    code, stderr = diffad_run()
    assert code == 70 and "Traceback" in stderr and "surprise" in stderr
    assert "please report it" in stderr.splitlines()[-1]


def test_a_category_is_found_in_either_unicode_form(root: Path) -> None:
    stored = unicodedata.normalize("NFD", "부품")
    (root / "data" / "mvtec" / "bottle").rename(root / "data" / "mvtec" / stored)
    typed = unicodedata.normalize("NFC", "부품")
    assert len(list_samples("mvtec", typed, root / "data")) == 9
    assert len(list_samples("mvtec", stored, root / "data")) == 9


@pytest.mark.parametrize("arguments", [[], ["--help"], ["data", "verify", "mvtec"]])
def test_without_the_modules_of_unix_every_command_is_one_line(arguments: list[str]) -> None:
    program = (
        "import sys; sys.modules['fcntl'] = sys.modules['resource'] = None\n"
        "from diffad_lib.cli import main\nmain()"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "diffad needs Linux, macOS or WSL\n"
