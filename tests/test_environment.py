"""pyproject.toml, environment.yml and requirements.lock agree."""

import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"pytorch-cpu": "torch"}


def declared() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["course"], *extras["dev"]]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def conda() -> dict[str, SpecifierSet]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    flat = [e for e in entries if isinstance(e, str)] + entries[-1]["pip"]
    matches = [re.fullmatch(r"([\w-]+)(>=[\d.,<]+)", entry) for entry in flat]
    found = {CONDA_NAMES.get(m[1], m[1]): m[2] for m in matches if m}
    return {canonicalize_name(name): SpecifierSet(version) for name, version in found.items()}


def test_every_locked_version_satisfies_pyproject() -> None:
    lock = locked()
    for name, requirement in declared().items():
        assert name in lock, f"{name} is not in requirements.lock"
        assert requirement.specifier.contains(lock[name]), f"{name} {lock[name]}"


def test_environment_yml_asks_for_the_same_packages_and_versions_as_pyproject() -> None:
    wanted = {name: requirement.specifier for name, requirement in declared().items()}
    assert {name: v for name, v in conda().items() if name != "setuptools"} == wanted


def test_lock_is_exact_and_names_the_tested_torch() -> None:
    lock = locked()
    assert lock["torch"] == "2.13.0"
    assert all(re.fullmatch(r"[\d.]+(\.post\d+)?", version) for version in lock.values())


@pytest.mark.xdist_group("environment")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="pytest runs in one process")
def test_pytest_xdist_sees_the_groups_of_tests(request: pytest.FixtureRequest) -> None:
    """Otherwise both workers start the runs, browsers and servers that a group shares."""
    assert request.node.nodeid.endswith("@environment")
