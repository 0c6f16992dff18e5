"""Settings of all tests, and what tests of the images and of their cache share."""

import sys
from pathlib import Path

import pytest
import torch

import layout_factory as factory
from diffad_lib import cli
from diffad_lib.datasets.layouts import list_samples
from diffad_lib.datasets.samples import Sample
from started import Command, Told

# Small tensors gain nothing from more threads, and threads that wait for each other cost a lot.
torch.set_num_threads(1)


@pytest.fixture
def diffad(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command line in this process: diffad("page", path)."""

    def run(*words: object) -> Told:
        monkeypatch.setattr(sys, "argv", ["diffad", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return Told(int(stop.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    factory.make_mvtec(tmp_path)
    return list_samples("mvtec", "bottle", tmp_path)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
