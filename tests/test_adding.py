"""What is added is found: a method, a dataset, a metric and a setting, each in one place.

They are put into a copy of the checkout, which then runs from the command line, and whose own
tests stay green.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import layout_factory as factory
from course_files import ROOT
from started import DIFFAD

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("run")]

ADDED = Path(__file__).parent / "added"
ENTRY = '    "aupro": MetricKind('
METRIC = '''
def mean_rate(found: Sweep) -> Floats:
    """Mean true-positive rate [...] of a sweep [...,T]."""
    return (found.true_positives / found.true_positives[..., -1:]).mean(axis=-1)


METRICS: dict'''


BLOCKER = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ImportError(name + " is an extra, which a headless run does without")
sys.meta_path.insert(0, Blocker())
"""
# Without psutil: it belongs to the course, but ipykernel needs it too.
EXTRAS = {"jupyterlab", "jupyter_server", "ipywidgets", "seaborn", "nbconvert", "latex2mathml"}
EXTRAS |= {"jupytext", "nbval"}
RULES = ("rooms", "methods", "config", "tables", "metrics")  # tests that know nothing of the four


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the library and of notebook 08, with four things added and without extras."""
    root = tmp_path_factory.mktemp("checkout")
    blocker = BLOCKER.replace("{names}", repr(EXTRAS))
    (root / "sitecustomize.py").write_text(blocker, encoding="utf-8")
    for folder in ("diffad_lib", "tests", "docs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "08_train_and_evaluate.ipynb", root / "notebooks")
    shutil.copy(ADDED / "method_toy.py", root / "diffad_lib" / "methods" / "toy.py")
    catalog = root / "diffad_lib" / "datasets" / "catalog"
    shutil.copy(ADDED / "dataset_toyset.py", catalog / "toyset.py")
    table = root / "diffad_lib" / "metrics" / "table.py"
    text = table.read_text(encoding="utf-8")
    assert text.count("\nMETRICS: dict") == text.count(ENTRY) == 1
    entry = f'    "mean_rate": MetricKind("mean rate", "pixel", mean_rate),\n{ENTRY}'
    text = text.replace("\nMETRICS: dict", METRIC).replace(ENTRY, entry)
    table.write_text(text, encoding="utf-8")
    factory.make_mvtec(root / "data", "disc", folder="toyset")
    return root


def python(root: Path, *arguments: str) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "DIFFAD_CACHE": str(root / "cache"),
    }
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    return done.stdout


def diffad(root: Path, *arguments: str) -> str:
    return python(root, *DIFFAD[1:], *arguments)


@pytest.fixture(scope="module")
def run(checkout: Path) -> tuple[str, dict]:
    """What `diffad run` printed, and its record."""
    who = ("--dataset", "toyset", "--category", "disc", "--method", "toy")
    pairs = ("--set", "gain=2.5", "--set", "bootstrap_samples=20")
    printed = diffad(checkout, "run", *who, *pairs, "--data-root", str(checkout / "data"))
    (path,) = (checkout / "runs").rglob("record.json")
    return printed, json.loads(path.read_text(encoding="utf-8"))


def test_a_method_without_a_reconstruction_runs_as_any_other(run: tuple[str, dict]) -> None:
    _, record = run
    assert record["config"]["method"] == "toy" and record["training"]["steps"] == 3
    assert len(record["images"]) == 6
    assert min(image["score"] for image in record["images"]) > 0  # calibrated after training


def test_a_setting_is_one_field(run: tuple[str, dict]) -> None:
    _, record = run
    assert record["config"]["detector"] == {"image_size": 32, "gain": 2.5}
    assert "gain=2.5" in record["config"]["overrides"]


def test_a_dataset_is_one_file(checkout: Path, run: tuple[str, dict]) -> None:
    assert run[1]["config"]["dataset"] == "toyset"
    data_root = ("--data-root", str(checkout / "data"))
    assert "disc: 3 train good, 2 test good, 4 test defect" in diffad(
        checkout, "data", "verify", "toyset", *data_root
    )


def test_a_metric_is_one_function_and_one_entry(run: tuple[str, dict]) -> None:
    printed, record = run
    assert 0 <= record["metrics"]["mean_rate"]["value"] <= 1
    assert re.search(r"mean\s", printed)


def test_a_record_of_before_still_opens_and_lacks_the_new_metric(checkout: Path) -> None:
    folder = ROOT / "notebooks" / "checkpoints" / "draem_bracket"
    program = (
        "import sys; from pathlib import Path\n"
        "from diffad_lib.runs.record import read_record; from diffad_lib.runs.tables import cells\n"
        "record = read_record(Path(sys.argv[1])); assert record.metric('mean_rate') is None\n"
        "assert '–' in cells(record); print(record.metric('aupro').value)"
    )
    assert float(python(checkout, "-c", program, str(folder / "record.json"))) > 0.9


def test_extras_are_blocked_in_these_tests(checkout: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    course = {re.split(r"\W", line)[0] for line in project["optional-dependencies"]["course"]}
    assert course - EXTRAS == {"psutil"}
    for name in sorted(EXTRAS):
        program = f"import diffad_lib\ntry: import {name}\nexcept ImportError as e: print(e)"
        assert f"{name} is an extra" in python(checkout, "-c", program)


def test_the_rules_of_the_library_hold_with_what_is_added(checkout: Path) -> None:
    files = [f"tests/test_{name}.py" for name in RULES]
    no_plugins = ("-p", "no:cacheprovider", "-p", "no:nbval")  # nbval is an extra
    printed = python(checkout, "-m", "pytest", "-v", *no_plugins, *files)
    for case in ("test_weights_and_settings_come_back[toy]", "[toy-mini]", "[methods/toy.py]"):
        assert f"{case} PASSED" in printed


def test_help_texts_name_what_is_added(checkout: Path) -> None:
    told = diffad(checkout, "run", "--help")
    assert "toy" in told and "toyset" in told
