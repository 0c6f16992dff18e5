"""The records in notebooks/records, and chapter 09 on a folder of runs on official categories."""

import json
import re
from collections import Counter

import pytest

from course_files import FOLDER, code_cells, printed, read
from diffad_lib.course.headless import CATEGORIES, METHODS
from diffad_lib.course.shipped import RECORDS
from diffad_lib.files import write_json
from diffad_lib.runs.gather import gather, settings_text
from test_notebooks_run import run


def test_there_are_three_seeds_of_every_method_on_both_categories():
    gathered = gather([RECORDS / "seeds"])
    assert (gathered.left_out, gathered.notes) == ((), ())
    cells = Counter((run.place[2], run.cell[0]) for run in gathered.runs)
    assert cells == {(category, method): 3 for category in CATEGORIES for method in METHODS}


def test_all_were_made_with_one_code_on_one_kind_of_machine():
    records = [run.record for run in gather([RECORDS / "seeds"]).runs]
    assert len({json.dumps([r.git, r.versions, r.device], sort_keys=True) for r in records}) == 1
    assert not records[0].git["dirty"]


def test_the_other_machines_repeat_one_of_these_runs():
    (first,) = [r for r in gather([RECORDS / "seeds"]).runs if r.path.match(REPEATED)]
    folders = sorted((RECORDS / "machines").iterdir())
    assert len(folders) == 2
    for folder in folders:
        (again,) = gather([folder]).runs
        assert (again.place, again.cell) == (first.place, first.cell)
        assert settings_text(again) == settings_text(first)
        assert again.record.config.seed == first.record.config.seed
        assert again.record.data == first.record.data
        assert again.record.metrics != first.record.metrics


REPEATED = "mvtec/weave/draem/mini/seed0/record.json"


def test_they_are_small_and_name_no_place():
    files = [path for path in RECORDS.rglob("*") if path.is_file()]
    paths = [path for path in files if path.parent != RECORDS]  # there lie what tools measured
    assert {path.name for path in paths} == {"record.json"}
    assert sum(path.stat().st_size for path in paths) < 400_000
    assert not [path for path in files if re.search(r'"/\w', path.read_text(encoding="utf-8"))]
    for path in paths:
        texts = re.findall(r'"(/[^"]*)"', path.read_text(encoding="utf-8"))
        assert texts == [] and json.loads(path.read_text())["config"]["runs_dir"] == "runs"


def as_real_runs(folder):
    """The shipped records under official names: two methods on bottle, one of them on screw."""
    for run_ in gather([RECORDS / "seeds"]).runs:
        name = {"bracket": "bottle", "weave": "screw"}[run_.place[2]]
        method = run_.cell[0]
        if method == "autoencoder" or (name, method) == ("screw", "diffusionad"):
            continue
        content = json.loads(run_.path.read_text(encoding="utf-8"))
        content["config"] |= {"dataset": "mvtec", "category": name, "data_root": "/data"}
        write_json(folder / name / method / str(run_.record.config.seed) / "record.json", content)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_chapter_09_shows_a_folder_of_real_runs(tmp_path):
    as_real_runs(tmp_path / "runs")
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "record.json").write_text("{")
    values = {"runs": str(tmp_path / "runs"), "trials": 5}
    options = ("--no-progress-bar", "--log-level", "ERROR", "--parameters_yaml", json.dumps(values))
    out = tmp_path / "out.ipynb"
    done = run(FOLDER, "papermill", "09_compare_results.ipynb", str(out), *options)
    assert done.returncode == 0, done.stderr[-5000:]
    cells = code_cells(read(out))
    text = "".join(printed(cell) for cell in cells)
    assert "9 runs, left out: 1" in text and "broken/record.json: cannot be read" in text
    assert "cells (category × method): 30, of which empty: 27" in text
    tables = [
        output.data["text/markdown"]
        for cell in cells
        for output in cell.outputs
        if "text/markdown" in output.get("data", ())
    ]
    (bottle,) = [line for line in tables[0].splitlines() if line.startswith("| bottle ")]
    assert "0.992 [" in bottle  # published
    (zipper,) = [line for line in tables[0].splitlines() if line.startswith("| zipper ")]
    assert zipper.count("–") >= 2
    assert sum("image/png" in o.get("data", ()) for cell in cells for o in cell.outputs) >= 7
