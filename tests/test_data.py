"""Data of a run: which kind it is, and that it is there before anything starts."""

from pathlib import Path

import pytest
import torch

import layout_factory as factory
from diffad_lib.errors import DiffadError
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import check_inputs, data_kind


def config(dataset: str, category: str, **options) -> RunConfig:
    return build_config(dataset, category, "draem", **options)


@pytest.mark.parametrize("root", [None, Path("anywhere")])
@pytest.mark.parametrize(
    ("dataset", "category", "kind"),
    [
        ("mvtec", "weave", "texture"),  # mini data
        ("mvtec", "plate", "object"),
        ("mvtec", "carpet", "texture"),  # official
        ("custom", "screws", "object"),
    ],
)
def test_kind_is_known_wherever_the_data_lies(
    root: Path | None, dataset: str, category: str, kind: str
) -> None:
    assert data_kind(config(dataset, category, data_root=root)) == kind


def test_an_own_part_can_be_declared_a_texture() -> None:
    assert data_kind(config("custom", "cloth", overrides={"kind": "texture"})) == "texture"


def test_a_missing_split_or_folder_is_named_before_the_run(tmp_path: Path) -> None:
    bottle = factory.make_mvtec(tmp_path, "bottle")
    check_inputs(config("mvtec", "bottle", data_root=tmp_path))
    for option, name in (("textures", "no-textures"), ("foreground_folder", "no-masks")):
        missing = tmp_path / name
        options = (
            {option: missing} if option == "textures" else {"overrides": {option: str(missing)}}
        )
        with pytest.raises(DiffadError, match=f"{name}: no such folder; .*{option}"):
            check_inputs(config("mvtec", "bottle", data_root=tmp_path, **options))
    for image in (bottle / "train" / "good").iterdir():
        image.unlink()
    with pytest.raises(DiffadError, match=r"good holds no PNG"):
        check_inputs(config("mvtec", "bottle", data_root=tmp_path))


def test_a_device_that_is_not_there_is_named_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory.make_mvtec(tmp_path, "bottle")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DiffadError, match="finds no cuda here; set device=auto"):
        check_inputs(config("mvtec", "bottle", data_root=tmp_path, overrides={"device": "cuda"}))
