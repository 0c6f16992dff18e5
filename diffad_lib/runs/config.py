"""The strict configuration of a run: a budget, named variants, `key=value` overrides."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator
from pydantic_core import PydanticCustomError

from diffad_lib.datasets.catalog import run_datasets
from diffad_lib.errors import DiffadError, nearest, one_line
from diffad_lib.methods import method_names
from diffad_lib.methods.method import Method, find_method
from diffad_lib.plans import PLACES, Budget
from diffad_lib.settings import BudgetName, setting

_NAME_BYTES = 200  # of a folder; file systems take 255


class RunConfig(Budget):
    """Everything that decides what a run computes: who runs, and a budget of four sections."""

    dataset: str = setting(..., "key of a dataset with test sets")
    category: str = setting(..., "a folder of the dataset")
    method: str = setting(..., "a module of methods/")
    budget: BudgetName = setting("mini", "which of the method's budgets")
    seed: int = setting(0, "of weights, batches, synthesis and test noise", ge=0, lt=2**63)
    data_root: Path | None = setting(None, "folder that holds the datasets; none: the mini data")
    textures: Path | None = setting(None, "folder of texture images; none: the built-in bank")
    weights: Path | None = setting(
        None, "folder of a saved detector that is evaluated as it is; nothing is trained"
    )
    runs_dir: Path = setting(Path("runs"), "where run folders go")
    variants: tuple[str, ...] = setting((), "named departures from the budget")
    overrides: tuple[str, ...] = setting((), "`key=value` departures from the budget")

    @model_validator(mode="before")
    @classmethod
    def _read_sections(cls, values: Any) -> Any:
        """The method says which settings its detector and its training have."""
        if not isinstance(values, Mapping) or not isinstance(values.get("method"), str):
            return values
        kinds = find_method(values["method"]).section_types()
        sections = {
            name: kind(**values[name])
            for name, kind in kinds.items()
            if isinstance(values.get(name), Mapping)
        }
        return {**values, **sections}

    @field_validator("category")
    @classmethod
    def _check_category(cls, category: str) -> str:
        """A part of the run folder, which is looked into before the dataset's folders are."""
        if category in (".", "..") or {*"/\\\0"} & {*category}:
            raise PydanticCustomError("no_name", "Input should be the name of one folder")
        return category

    @property
    def run_folder(self) -> Path:
        """runs_dir/dataset/category/method/budget[+variant][+key=value][+weights=NAME]/seed<k>."""
        given = () if self.weights is None else (f"weights={self.weights.absolute().name}",)
        name = "+".join((self.budget, *self.variants, *self.overrides, *given))
        name = re.sub(r"[^\w.=,+-]+", "_", name)
        if len(encoded := name.encode()) > _NAME_BYTES:
            digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
            name = f"{encoded[:_NAME_BYTES].decode(errors='ignore')}+{digest}"
        folder = self.runs_dir / self.dataset / self.category / self.method / name
        return folder / f"seed{self.seed}"


# Training settings that have an option of their own: they do not name the run folder.
OWN_OPTIONS = ("max_train_seconds", *sorted(PLACES))
_OPTION_KEYS = {*RunConfig.model_fields} - {*Budget.model_fields} | {*OWN_OPTIONS}


def build_config(
    dataset: str,
    category: str,
    method: str,
    budget: str = "mini",
    variants: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> RunConfig:
    """A checked RunConfig: budget, variants, overrides, options; DiffadError names a wrong key."""
    variants, overrides = tuple(variants), dict(overrides or {})
    for number, name in enumerate(variants):
        if name in variants[:number]:
            raise DiffadError(f'--variant "{name}" is given twice; keep one')
    if dataset not in run_datasets():
        raise DiffadError(f'--dataset "{dataset}" is not known; {nearest(dataset, run_datasets())}')
    found = find_method(method)
    for key in overrides:
        _check_override(key, method, found)
    departures: dict[str, Any] = {}
    for name in variants:
        departures |= found.departures(name)
    for key in OWN_OPTIONS:
        if (value := options.pop(key, None)) is not None:
            departures[key] = value
    sections = found.budget(budget).with_settings(departures | overrides)
    return RunConfig(
        **dict(sections),
        dataset=dataset,
        category=category,
        method=method,
        budget=budget,
        variants=variants,
        overrides=tuple(
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in sorted(overrides.items())
        ),
        **options,
    )


def _check_override(key: str, name: str, method: Method) -> None:
    if key == "overrides":
        raise DiffadError("overrides are what --set gives; name the setting itself")
    if key in _OPTION_KEYS:
        option = {"variants": "variant"}.get(key, key).replace("_", "-")
        if key in PLACES:
            raise DiffadError(f'"{key}" is no setting but an option of `diffad run`: --{option}')
        raise DiffadError(f'"{key}" cannot be set with --set; use --{option}')
    if key in method.setting_keys():
        return
    others = [other for other in method_names() if key in find_method(other).setting_keys()]
    if others:
        raise DiffadError(f'"{key}" is no setting of method {name}, only of {" and ".join(others)}')


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """`["steps=200", "precision=bf16-mixed"]` → {"steps": 200, "precision": "bf16-mixed"}.

    Values are read as JSON where they parse as JSON, else as plain text.
    """
    overrides: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise DiffadError(f'--set "{one_line(pair)}" must have the form key=value')
        if key in overrides:
            raise DiffadError(f'--set gives "{one_line(key)}" twice; keep one')
        try:
            overrides[key] = json.loads(text)
        except (ValueError, RecursionError):  # no JSON, 5000 digits, or nested too deep
            overrides[key] = text
    return overrides
