"""`diffad run` from end to end: a complete run folder, exact resume after a kill, one-line errors.

Every test runs the real command, in a process of its own where the process matters; the command
starts a kernel for the notebook.
"""

import io
import json
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from papermill.exceptions import PapermillExecutionError

import layout_factory as factory
from diffad_lib.checkpoint import CHECKPOINT_NAME
from diffad_lib.datasets.images import fingerprint, load_split
from diffad_lib.datasets.layouts import list_samples
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import predict_all
from diffad_lib.files import exclusive
from diffad_lib.metrics import METRICS
from diffad_lib.runs import experiment as ex
from diffad_lib.runs import notebook
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import what_is_read
from diffad_lib.runs.notebook import run
from diffad_lib.runs.record import SplitFacts, read_record
from diffad_lib.weights import load_detector
from small import KILLABLE_STEPS, SHORT_RUN
from started import DIFFAD, Command, Told, is_free, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]

ODD_STYLE = "figure.dpi: 3\nfont.family: nowhere\n"
ODD_DEFECT = "price_$x_^2$ 긁힘"
METHODS = ("autoencoder", "draem", "diffusionad")
FILES = {"notebook.ipynb", "record.json", "detector.safetensors", "detector.json"}
TINY = {
    "autoencoder": {"steps": KILLABLE_STEPS},
    "draem": {"steps": 3, "segmentation_width": 4},
    "diffusionad": {"steps": 3, "segmentation_width": 4, "channel_multipliers": [1, 2]},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    base = factory.make_mvtec(root / "data")
    for part in ("test", "ground_truth"):  # neither a formula nor in matplotlib's own font
        (base / part / "stain").rename(base / part / ODD_DEFECT)
    factory.make_dtd(root / "data")
    spec = {"argv": ["/nowhere/python", "{connection_file}"], "display_name": "x", "language": "x"}
    (root / "jupyter" / "kernels" / "python3").mkdir(parents=True)
    (root / "jupyter" / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    (root / "matplotlibrc").write_text(ODD_STYLE)
    (root / "startup.py").write_text("import matplotlib\nmatplotlib.use('Agg')\n")
    return root


def command(root: Path, runs: str, method: str, *more: str, **overrides) -> list[str]:
    settings = SHORT_RUN | TINY[method] | overrides
    pairs = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}".replace(" ", "")
        for key, value in settings.items()
    ]
    return [
        *(*DIFFAD, "run"),
        *("--dataset", "mvtec", "--category", "bottle", "--method", method),
        *("--data-root", str(root / "data"), "--textures", str(root / "data" / "dtd")),
        *("--runs-dir", str(root / runs)),
        *(part for pair in pairs for part in ("--set", pair)),
        *more,
    ]


def surroundings(root: Path) -> dict[str, str]:
    """Of a batch job: another backend, rc file and start-up file, a broken kernelspec; a cache."""
    return {
        "MPLBACKEND": "Agg",
        "MATPLOTLIBRC": str(root / "matplotlibrc"),
        "JUPYTER_PATH": str(root / "jupyter"),
        "PYTHONSTARTUP": str(root / "startup.py"),
        "OMP_NUM_THREADS": "1",
        "DIFFAD_CACHE": str(root / "cache"),
    }


@pytest.fixture
def told_by(
    root: Path, monkeypatch: pytest.MonkeyPatch, diffad: Command
) -> Callable[[list[str]], Told]:
    """What a command tells that runs in this process; its kernel is a process all the same."""
    for name, value in surroundings(root).items():
        monkeypatch.setenv(name, value)
    return lambda line: diffad(*line[len(DIFFAD) :])


def config_of(root: Path, runs: str, method: str, **options) -> RunConfig:
    return build_config(
        "mvtec",
        "bottle",
        method,
        overrides=SHORT_RUN | TINY[method],
        data_root=root / "data",
        runs_dir=root / runs,
        **{"textures": root / "data" / "dtd"} | options,
    )


def assert_one_line(told: Told, *parts: str) -> None:
    assert told.code == 1, told.err
    lines = told.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), told.err
    for part in parts:
        assert part in lines[0]


@pytest.fixture(scope="module")
def all_finished(root: Path) -> dict[str, RunConfig]:
    """A run by each method from the command line, all at once, in a folder of their own.

    It holds what Matplotlib and Python would take before their own.
    """
    place = root / "place"
    place.mkdir()
    files = {"matplotlibrc": ODD_STYLE, "pandas.py": "raise ImportError('of this folder')\n"}
    for name, text in files.items():
        (place / name).write_text(text)
    processes = {
        method: subprocess.Popen(
            command(root, "runs", method),
            cwd=place,
            env=os.environ | surroundings(root),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for method in METHODS
    }
    configs = {method: config_of(root, "runs", method) for method in METHODS}
    for method, process in processes.items():
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert errors == ""
        assert str(configs[method].run_folder) in output and "AUROC" in output
    assert {path.name for path in place.iterdir()} == {*files}
    return configs


@pytest.fixture(params=METHODS)
def finished(all_finished: dict[str, RunConfig], request: pytest.FixtureRequest) -> RunConfig:
    return all_finished[request.param]


def test_the_run_folder_is_complete_and_holds_nothing_else(finished: RunConfig) -> None:
    assert {path.name for path in finished.run_folder.iterdir()} == FILES


def test_the_notebook_is_executed_in_order_with_its_parameters(finished: RunConfig) -> None:
    notebook = nbformat.read(finished.run_folder / "notebook.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    injected = [cell for cell in cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert f'method = "{finished.method}"' in injected[0].source
    figures = [
        output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})
    ]
    assert len(figures) == 7
    sizes = [len(output["data"]["image/png"]) for output in figures]
    assert min(sizes) > 5000  # at the resolution of the project, not of the user's settings


def test_the_record_holds_settings_data_machine_times_and_results(
    root: Path, finished: RunConfig
) -> None:
    record = read_record(finished.run_folder / "record.json")
    assert record.run_config() == finished
    samples = list_samples("mvtec", "bottle", root / "data")
    for split, count in (("train", 3), ("test", 6)):
        chosen = [sample for sample in samples if sample.split == split]
        total, files = fingerprint(chosen)
        grey = 0 if split == "train" else None
        expected = SplitFacts(images=count, fingerprint=total, files=files, grey=grey)
        assert getattr(record.data, split) == expected
    assert record.data.test_defects == 4
    assert set(record.git) == {"commit", "dirty"}
    assert record.versions["torch"] == torch.__version__
    assert record.device["type"] == "cpu" and record.device["threads"] == 1
    seconds = record.seconds
    assert 0 < seconds.train < seconds.total
    assert seconds.prepare > 0 and seconds.predict > 0
    assert record.peak_memory["host_bytes"] > 10**8
    assert record.invariance.holds and record.resumed_under == []
    assert record.training.steps == finished.training.steps
    assert record.training.stopped_by == "steps"
    assert set(record.metrics) == set(METRICS)
    for metric in record.metrics.values():
        assert 0 <= metric.low <= metric.value <= metric.high <= 1 or metric.note


def test_saved_weights_predict_the_recorded_scores_again(root: Path, finished: RunConfig) -> None:
    samples = list_samples("mvtec", "bottle", root / "data")
    test = [sample for sample in samples if sample.split == "test"]
    stack = load_split(test, finished.detector.image_size, root / "cache")
    detector = load_detector(finished.run_folder)
    fabric = Fabric(accelerator="cpu", devices=1)
    predictions = predict_all(detector, stack.images, fabric, seed=finished.seed)
    images = read_record(finished.run_folder / "record.json").images
    assert [image.file for image in images] == [sample.image.name for sample in test]
    assert [image.label for image in images] == [0, 0, 1, 1, 1, 1]
    recorded = [image.score for image in images]
    np.testing.assert_allclose(predictions.image_scores, recorded, rtol=1e-4, atol=1e-6)


def test_a_finished_run_is_not_repeated(
    finished: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished.run_folder / "record.json"
    before = path.stat().st_mtime_ns
    monkeypatch.setattr("diffad_lib.runs.notebook.execute", lambda *_: pytest.fail("repeated"))
    assert run(finished) == read_record(path) and path.stat().st_mtime_ns == before


def test_a_finished_run_says_so_and_answers_only_for_the_same_files(
    root: Path, all_finished: dict[str, RunConfig]
) -> None:
    config, told = all_finished["draem"], io.StringIO()
    record = run(config, told)
    assert f"finished on {record.finished} with the same data; nothing was run" in told.getvalue()
    mask = root / "data" / "mvtec" / "bottle" / "ground_truth" / "crack" / "000_mask.png"
    before = mask.read_bytes()
    try:
        factory.write_mask(mask, value=200)
        with pytest.raises(DiffadError, match=r"with other data: .*crack/000_mask.png is another"):
            run(config)
        mask.with_name("009_mask.png").write_bytes(before)
        image = root / "data" / "mvtec" / "bottle" / "test" / "crack" / "009.png"
        factory.write_noise(image, 9)
        with pytest.raises(DiffadError, match=r"test/crack/009.png|and \d more"):
            run(config)
        image.unlink()
        mask.with_name("009_mask.png").unlink()
    finally:
        mask.write_bytes(before)
    assert run(config) == record
    texture = next((root / "data" / "dtd").rglob("*.jpg"))
    before = texture.read_bytes()
    factory.write_noise(texture, 99)
    try:
        with pytest.raises(DiffadError, match=f"data: .*{texture.name} is another file"):
            run(config)
    finally:
        texture.write_bytes(before)
    aside = root / "data" / "aside"
    (root / "data" / "mvtec").rename(aside)
    try:
        with pytest.raises(DiffadError, match="what it read cannot be compared"):
            run(config)
    finally:
        aside.rename(root / "data" / "mvtec")


def test_again_runs_anew_and_keeps_the_old_run_beside_it(
    root: Path, all_finished: dict[str, RunConfig], told_by: Callable[[list[str]], Told]
) -> None:
    runs = root / "again"
    shutil.copytree(root / "runs", runs)
    config = config_of(root, "again", "draem")
    before = (config.run_folder / "record.json").read_bytes()
    told = told_by(command(root, "again", "draem", "--again"))
    assert told.code == 0, told.err
    kept = config.run_folder.with_name("seed0.before-1")
    assert (kept / "record.json").read_bytes() == before
    anew = read_record(config.run_folder / "record.json")
    assert anew.finished != read_record(kept / "record.json").finished
    weights = "detector.safetensors"
    assert (config.run_folder / weights).read_bytes() == (kept / weights).read_bytes()


def test_a_finished_run_without_its_weights_is_refused(
    root: Path, all_finished: dict[str, RunConfig]
) -> None:
    shutil.copytree(root / "runs", root / "lost")
    config = config_of(root, "lost", "draem")
    weights = config.run_folder / "detector.safetensors"
    for spoil in (lambda: weights.write_bytes(b""), weights.unlink):
        spoil()
        with pytest.raises(DiffadError, match=r"detector.safetensors is missing or .* --again"):
            run(config)


def test_a_finished_run_says_what_is_newer_than_it(
    root: Path, all_finished: dict[str, RunConfig]
) -> None:
    shutil.copytree(root / "runs", root / "older")
    config, told = config_of(root, "older", "draem"), io.StringIO()
    run(config, told)
    assert "since then" not in told.getvalue()
    path = config.run_folder / "record.json"
    content = json.loads(path.read_text())
    content["versions"]["torch"], content["git"]["commit"] = "1.0", "a"
    path.write_text(json.dumps(content))
    run(config, told)
    assert "since then: commit a, now " in told.getvalue()
    assert f"torch 1.0, now {torch.__version__}" in told.getvalue()


def test_a_run_that_another_process_finishes_meanwhile_is_not_repeated(
    root: Path, all_finished: dict[str, RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, told = config_of(root, "meanwhile", "draem"), io.StringIO()

    def finish_elsewhere(config: RunConfig) -> None:
        shutil.copytree(root / "runs", root / "meanwhile")

    monkeypatch.setattr("diffad_lib.runs.notebook.check_inputs", finish_elsewhere)
    monkeypatch.setattr("diffad_lib.runs.notebook.execute", lambda *_: pytest.fail("repeated"))
    run(config, told)
    assert "nothing was run" in told.getvalue()
    assert {path.name for path in config.run_folder.iterdir()} == FILES


def test_again_beside_a_run_that_goes_on_is_refused(
    root: Path, all_finished: dict[str, RunConfig]
) -> None:
    shutil.copytree(root / "runs", root / "busy")
    config = config_of(root, "busy", "draem")
    before = {path.name for path in config.run_folder.iterdir()}
    with exclusive(config.run_folder / ".training.lock", "x"):
        with pytest.raises(DiffadError, match="is locked: another process"):
            run(config, again=True)
        assert {path.name for path in config.run_folder.iterdir()} == before | {".training.lock"}
    assert [path.name for path in config.run_folder.parent.iterdir()] == ["seed0"]


def test_a_terminated_run_ends_its_kernel_and_leaves_no_temporary_folder(root: Path) -> None:
    temporary, runs = root / "t", root / "terminated"
    temporary.mkdir()
    process = subprocess.Popen(
        command(root, "terminated", "autoencoder", steps=10**6),
        env=os.environ | surroundings(root) | {"TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: [*runs.rglob(CHECKPOINT_NAME)], process)
    assert [*temporary.glob("diffad-*")]
    process.terminate()
    _, errors = process.communicate(timeout=60)
    # nbclient may tell, in a race, that the kernel died; nothing of ours is to be there.
    assert process.returncode == 130 and "diffad_lib" not in errors
    assert not [*temporary.glob("diffad-*")] and not [*runs.rglob("*.lock")]


def test_another_setting_in_the_same_folder_is_refused(root: Path, finished: RunConfig) -> None:
    other = config_of(root, "runs", finished.method, max_train_seconds=9)
    with pytest.raises(DiffadError, match="another max_train_seconds") as error:
        run(other)
    assert str(finished.run_folder) in str(error.value)
    assert {path.name for path in finished.run_folder.iterdir()} == FILES


@pytest.mark.parametrize("victim", ["command", "kernel"])
def test_a_killed_run_goes_on_to_the_same_weights_and_a_killed_kernel_is_told(
    root: Path,
    all_finished: dict[str, RunConfig],
    told_by: Callable[[list[str]], Told],
    victim: str,
) -> None:
    config = config_of(root, f"killed-{victim}", "autoencoder")
    line = command(root, f"killed-{victim}", "autoencoder")
    process = subprocess.Popen(
        line,
        env=os.environ | surroundings(root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until((config.run_folder / CHECKPOINT_NAME).exists, process)
    # The kernel has a session of its own, so that the process group is not enough.
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    )
    kernels = [int(kernel) for kernel in found.stdout.split()]
    for kernel in kernels:
        os.kill(kernel, signal.SIGSTOP if victim == "command" else signal.SIGKILL)
    if victim == "command":
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)  # but not for its standard error, which a stopped kernel has too
    if victim == "kernel":
        assert_one_line(Told(process.returncode, "", process.stderr.read()), str(config.run_folder))
    assert not (config.run_folder / "notebook.ipynb").exists()
    # As a kill in the middle of a write does.
    (config.run_folder / ".checkpoint-0123456789abcdef.pt").touch()

    if victim == "command":  # its kernel may live on, and write, for another second or more
        assert_one_line(told_by(line), str(config.run_folder), "is locked: another process")
        for kernel in kernels:
            os.kill(kernel, signal.SIGCONT)
        until(lambda: is_free(config.run_folder))
    again = told_by(line)
    assert again.code == 0, again.err
    assert "began otherwise" not in again.out and "resumed from step" in again.out
    whole = all_finished["autoencoder"]
    record = read_record(config.run_folder / "record.json")
    assert 0 < record.training.resumed_from <= KILLABLE_STEPS  # all, if its kernel lived on
    weights = "detector.safetensors"
    assert (config.run_folder / weights).read_bytes() == (whole.run_folder / weights).read_bytes()
    expected = read_record(whole.run_folder / "record.json")
    assert record.images == expected.images and record.metrics == expected.metrics
    assert {path.name for path in config.run_folder.iterdir()} == FILES


def test_an_interrupted_run_refuses_other_data(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFAD_CACHE", str(root / "cache"))
    config = config_of(root, "interrupted", "autoencoder", max_train_seconds=100000)
    settings = config.model_dump(mode="json")
    config.run_folder.mkdir(parents=True)
    path = config.run_folder / "config.json"
    path.write_text(json.dumps(settings | {"textures": None}))
    with pytest.raises(DiffadError, match="another textures"):
        run(config)
    data = what_is_read(config).model_dump(mode="json")
    data["train"]["fingerprint"], data["train"]["files"]["000.png"] = "0", "0"
    path.write_text(json.dumps(settings | {"data": data, "under": {}}))
    path.with_name(CHECKPOINT_NAME).touch()
    told = "began with other data: train: 000.png is another file.*--again"
    with pytest.raises(DiffadError, match=told):
        ex.train_experiment(ex.prepare(config))


def test_an_error_in_a_cell_is_one_line_and_leaves_the_failed_notebook(
    root: Path, told_by: Callable[[list[str]], Told]
) -> None:
    broken = factory.make_mvtec(root / "broken", "bottle") / "train" / "good" / "001.png"
    broken.write_bytes(broken.read_bytes()[:500])
    line = command(root, "runs-broken", "autoencoder", "--data-root", str(root / "broken"))
    assert_one_line(told_by(line), str(broken))
    folder = config_of(root, "runs-broken", "autoencoder").run_folder
    assert {path.name for path in folder.iterdir()} == {"notebook.failed.ipynb"}


def test_a_full_disk_is_one_line_and_leaves_no_half_file(root: Path) -> None:
    # A limit on the size of a file refuses like a full disk does, and needs no rights.
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    done = subprocess.run(
        command(root, "full", "autoencoder"),
        env=os.environ | surroundings(root),
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    told = Told(done.returncode, done.stdout, done.stderr)
    folder = config_of(root, "full", "autoencoder").run_folder
    assert_one_line(told, str(folder), "cannot be written (File too large)")
    assert not {path.name for path in folder.iterdir()} & FILES


def test_memory_that_ran_out_is_no_error_of_the_program(tmp_path, monkeypatch) -> None:
    def execute(_: str, output: str, **options: object) -> None:
        Path(output).touch()
        raise PapermillExecutionError(1, 3, "train()", "OutOfMemoryError", "Tried to", [])

    monkeypatch.setattr(notebook.papermill, "execute_notebook", execute)
    with pytest.raises(DiffadError, match="memory ran out; in training, `diffad plan`") as error:
        notebook._execute(tmp_path / "a.ipynb", tmp_path / "b.ipynb", {}, io.StringIO(), None)
    assert "program" not in str(error.value) and (tmp_path / "b.failed.ipynb").exists()


def test_an_own_folder_without_masks_has_image_metrics_and_null_pixel_metrics(
    root: Path, told_by: Callable[[list[str]], Told]
) -> None:
    own = factory.make_mvtec(root, "parts", folder="own")
    (own / "ground_truth").rename(root / "unused")
    line = command(root, "runs-own", "draem", *("--dataset", "custom", "--category", "parts"))
    told = told_by([*line, "--data-root", str(root / "own")])
    assert told.code == 0, told.err
    assert "undefined" in told.out
    record = read_record(next((root / "runs-own").rglob("record.json")))
    assert record.metric("image_auroc").value is not None
    for name in ("pixel_auroc", "pixel_ap", "aupro"):
        assert record.metric(name).value is None
        assert "no defective pixel" in record.metric(name).note
