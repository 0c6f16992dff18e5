"""The pages of the repository name files that are there."""

import re

import pytest

from course_files import FOLDER, ROOT, parameters, read
from diffad_lib.datasets.catalog import run_datasets
from diffad_lib.methods import method_names
from diffad_lib.runs.notebook import RUN_NOTEBOOK

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("d*/**/*.md"), *ROOT.glob("tests/**/*.md")])
FOLDERS = ("diffad_lib/", "tests/", "tools/", "docs/", "notebooks/", "workflow/", "benchmarks/")
PLACEHOLDER = re.compile(r"[A-Z]{2,}|…|\*|<")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@every_page
def test_paths_in_code_are_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    paths = [path for path in re.findall(r"`([\w./{}*-]+)`", text) if path.startswith(FOLDERS)]
    named = [path.split("::")[0] for path in paths if not PLACEHOLDER.search(path)]
    assert [path for path in named if not (ROOT / path).exists()] == []


@every_page
def test_links_lead_to_files_that_are_there(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
@pytest.mark.parametrize(("option", "known"), [("dataset", run_datasets), ("method", method_names)])
def test_the_table_of_options_names_every_dataset_and_method(name, option, known):
    text = (ROOT / name).read_text(encoding="utf-8")
    (meaning,) = re.findall(rf"^\| `--{option}`[^|]*\|([^|]*)\|$", text, re.MULTILINE)
    assert sorted(re.findall(r"`([^`]+)`", meaning)) == known()


@pytest.mark.parametrize(("option", "known"), [("dataset", run_datasets), ("method", method_names)])
def test_the_parameters_of_the_run_notebook_name_every_dataset_and_method(option, known):
    comment = parameters(read(FOLDER / RUN_NOTEBOOK))[option]
    assert sorted(re.split(", | or ", comment)) == known()
