"""pyproject.toml, environment.yml and requirements.lock agree; nothing is installed unchecked."""

import importlib.metadata
import itertools
import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from course_files import ROOT

CONDA_NAMES = {"pytorch-cpu": "torch"}


def declared() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["course"], *extras["sweep"], *extras["dev"]]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def entries(lock: str) -> list[Requirement]:
    """The pinned requirements of a lock; each has the hash of at least one file."""
    text = (ROOT / lock).read_text().replace(" \\\n", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[^ ]+==[^ ]+( ;.*?)?(    --hash=sha256:[0-9a-f]{64})+", line), line
    return [Requirement(line.split("    --hash")[0]) for line in lines]


def locked() -> dict[str, str]:
    """Versions by name, as this Python on this machine gets them."""
    here = [one for one in entries("requirements.lock") if not one.marker or one.marker.evaluate()]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in here}


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
    installers = {"pip", "setuptools"}
    assert {name: v for name, v in conda().items() if name not in installers} == wanted
    channels = yaml.safe_load((ROOT / "environment.yml").read_text())["channels"]
    assert channels == ["conda-forge", "nodefaults"]


def test_lock_is_exact_and_names_the_tested_torch() -> None:
    lock = locked()
    assert lock["torch"] == "2.13.0"
    assert all(re.fullmatch(r"[\d.]+(\.post\d+)?", version) for version in lock.values())


def test_the_cuda_build_of_torch_needs_what_a_second_lock_has() -> None:
    cuda = entries("requirements-cuda.lock")
    assert {"nvidia-cudnn-cu13", "triton"} <= {one.name for one in cuda}
    for one in cuda:
        assert one.name not in locked()
        assert one.marker and not one.marker.evaluate({"sys_platform": "darwin"}), one.name


def test_what_the_lock_leaves_out_is_imported_nowhere() -> None:
    """Snakemake names a package that has no wheel; `make` installs wheels only."""
    place = Path(pytest.importorskip("snakemake").__file__).parent
    needed = map(Requirement, importlib.metadata.requires("snakemake") or [])
    names = {canonicalize_name(one.name) for one in needed if not one.marker}
    assert names - locked().keys() == {"connection-pool"}
    sources = [path.read_text(encoding="utf-8") for path in place.rglob("*.py")]
    assert len(sources) > 50 and not any("connection_pool" in text for text in sources)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-cuda.lock"])
def test_a_lock_names_no_index(lock: str) -> None:
    assert "//" not in (ROOT / lock).read_text()


def test_every_python_and_machine_gets_one_version_of_each_package() -> None:
    everything = entries("requirements.lock")
    for version, system in itertools.product(("3.11.2", "3.11.7", "3.13.1"), ("linux", "darwin")):
        where = {"python_full_version": version, "sys_platform": system}
        names = [one.name for one in everything if not one.marker or one.marker.evaluate(where)]
        assert len(names) == len({*names}), where
        assert {canonicalize_name(name) for name in declared()} <= {*names}, where


@pytest.mark.parametrize(
    ("name", "with_a_hole"),
    [  # the newest version that a published hole is known of
        ("torch", "2.9.1"),  # CVE-2026-24747: weights_only itself
        ("jupyterlab", "4.6.1"),
    ],
)
def test_versions_with_known_holes_are_not_admitted(name: str, with_a_hole: str) -> None:
    assert not declared()[name].specifier.contains(with_a_hole)


def test_make_installs_only_wheels_whose_hash_is_in_the_lock_and_ourselves() -> None:
    text = (ROOT / "Makefile").read_text()
    installs = [line for line in text.splitlines() if "pip install" in line]
    checked = [line for line in installs if line.startswith("INSTALL := ")]
    assert "--require-hashes --only-binary :all:" in checked[0]
    (own,) = [line for line in installs if line not in checked]
    assert "--no-deps --no-build-isolation --editable ." in own
    for lock in ("requirements.lock", "requirements-cuda.lock"):  # which leave a package out
        (line,) = [line for line in text.splitlines() if f"--requirement {lock}" in line]
        assert "--no-deps" in line
    first = next(line for line in text.splitlines() if "$(INSTALL)" in line)
    assert ".venv/pip.lock" in first and Version(locked()["pip"]) >= Version("26.1.2")


@pytest.mark.xdist_group("environment")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="pytest runs in one process")
def test_pytest_xdist_sees_the_groups_of_tests(request: pytest.FixtureRequest) -> None:
    """Otherwise both workers start the runs, browsers and servers that a group shares."""
    assert request.node.nodeid.endswith("@environment")
