"""The record of a run, `record.json`: what ran, with what, and what came out.

Written and read here only. In schema 1 the configuration was flat; it is read into sections.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_jsonable_python

from diffad_lib.datasets.inventory import Entry
from diffad_lib.errors import DiffadError, one_line, short_repr
from diffad_lib.files import json_object, write_json
from diffad_lib.methods.method import find_method
from diffad_lib.metrics import Metric
from diffad_lib.runs.config import RunConfig

RECORD_NAME = "record.json"
SCHEMA = 2


class Facts(BaseModel):
    """A part of a record. What a newer version added is kept, not refused."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Settled(Facts):
    """The configuration: who ran, and the sections of `RunConfig` as JSON."""

    dataset: str
    category: str
    method: str
    budget: str = "mini"
    seed: int = 0
    data_root: str | None = None
    textures: str | None = None
    weights: str | None = None
    variants: list[str] = Field(default_factory=list)
    overrides: list[str] = Field(default_factory=list)
    detector: dict[str, Any] = Field(default_factory=dict)
    synthesis: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)


class SplitFacts(Facts):
    """Images of a split, and the identity of its files."""

    images: int
    fingerprint: str
    files: dict[str, str] = Field(default_factory=dict)  # a short digest of each, by its path
    grey: int | None = None  # training images without colour, where that was looked at


class Data(Facts):
    """What was read; textures and foreground masks only where folders of them were given."""

    train: SplitFacts
    test: SplitFacts
    test_defects: int = 0
    textures: SplitFacts | None = None
    foregrounds: SplitFacts | None = None
    inventory: list[Entry] = Field(default_factory=list)  # all that lies in the category's folder
    catalog: dict[str, int] = Field(default_factory=dict)  # official images of each part
    notes: list[str] = Field(default_factory=list)  # what was doubtful

    def difference(self, now: "Data") -> str | None:
        """The first file that is another one now, or None if all that is known is the same."""
        for name in ("train", "test", "textures", "foregrounds"):
            held, there = getattr(self, name), getattr(now, name)
            if held is None or there is None or held.fingerprint == there.fingerprint:
                continue
            files = {*held.files.items()} ^ {*there.files.items()}
            first = min((path for path, _ in files), default="one of the images")
            verb = "holds other files" if first.endswith("/") else "is another file"
            if held.files and (first not in held.files or first not in there.files):
                verb = "is new" if first in there.files else "is gone"
            more = len({path for path, _ in files}) - 1
            return f"{name}: {first} {verb}" + (f" (and {more} more)" if more > 0 else "")
        return None


class GivenWeights(Facts):
    """The weights of a run in which nothing was trained."""

    sha256: str  # of detector.safetensors in the folder that was named
    official: dict[str, str] = Field(default_factory=dict)  # sha256 of imported files, by name


class Seconds(Facts):
    """Wall time of the parts of a run, and of all of it."""

    prepare: float | None = None
    train: float
    predict: float | None = None
    total: float


class Training(Facts):
    """How the training went; `last` is the last row of its history."""

    steps: int
    stopped_by: str
    selected_step: int
    resumed_from: int
    last: dict[str, int | float | None]


class Invariance(Facts):
    """How far outputs depend on what else is predicted, as shares of the largest; None for NaN."""

    images: int
    score_difference: float | None
    map_difference: float | None
    tolerance: float
    holds: bool


class Measured(Facts):
    """A metric with its 95 % interval; None where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""

    @model_validator(mode="after")
    def _check_interval(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high come together")
        # The value may lie outside: of few resamples none has to reach it.
        if self.low is not None and self.high is not None and self.low > self.high + 1e-9:
            raise ValueError("low is above high")
        return self

    @classmethod
    def of(cls, metric: Metric) -> "Measured":
        """NaN, which JSON lacks, becomes None."""
        numbers = (metric.value, metric.low, metric.high)
        value, low, high = (None if math.isnan(number) else number for number in numbers)
        return cls(value=value, low=low, high=high, note=metric.note)


def _known_metrics(metrics: Any) -> Any:
    """Without what is no metric, so that it cannot make a record unreadable."""
    if not isinstance(metrics, dict):
        return metrics
    return {
        name: one
        for name, one in metrics.items()
        if isinstance(one, Measured) or (isinstance(one, dict) and "value" in one)
    }


class Swapped(Facts):
    """What a detector reaches with a given reconstruction (`swap.py`); None where undefined."""

    image_auroc: float | None
    pixel_ap: float | None


class ImageScore(Facts):
    """A test image and its score."""

    file: str
    defect: str
    label: int
    score: float


class Record(Facts):
    """One finished run."""

    version: int = Field(SCHEMA, alias="schema")
    finished: str | None = None
    config: Settled
    data: Data | None = None
    git: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    device: dict[str, Any] = Field(default_factory=dict)
    resumed_under: list[str] = Field(default_factory=list)  # what changed while it was interrupted
    seconds: Seconds
    peak_memory: dict[str, int | None] = Field(default_factory=dict)
    training: Training | None = None
    weights: GivenWeights | None = None  # None: this run trained its own
    images_per_second: float | None = None
    invariance: Invariance | None = None
    metrics: Annotated[dict[str, Measured], BeforeValidator(_known_metrics)]
    swaps: dict[str, Swapped] = Field(default_factory=dict)  # by the reconstruction
    images: list[ImageScore] = Field(default_factory=list)

    def metric(self, name: str) -> Measured | None:
        """A metric by its name in METRICS; None if the record lacks it."""
        return self.metrics.get(name)

    def run_config(self) -> RunConfig:
        """The configuration, checked; DiffadError if this version has other settings."""
        return RunConfig(**self.config.model_dump())


def write_record(path: Path, record: Record) -> None:
    """Write a record, atomically."""
    write_json(path, record.model_dump(mode="json", by_alias=True))


def read_record(path: Path) -> Record:
    """A run's record; raises DiffadError when the file is missing or damaged."""
    content = read_json(path)
    schema = content.get("schema", SCHEMA)
    if isinstance(schema, int) and schema > SCHEMA:
        raise DiffadError(
            f"{path}: has schema {short_repr(schema)}; this version reads up to {SCHEMA}: update"
        )
    try:
        if isinstance(content.get("config"), dict):
            content = {**content, "schema": SCHEMA, "config": in_sections(content["config"])}
        return Record.model_validate(content)
    except DiffadError as error:  # a method that this version lacks
        raise DiffadError(f"{path}: {one_line(error)}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = one_line(".".join(str(part) for part in first["loc"]))
        problem = f"lacks {key}" if first["type"] == "missing" else f"{key}: {first['msg']}"
        raise DiffadError(f"{path}: {problem}; delete it to run again") from None


def in_sections(held: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with every setting: newer ones have their default.

    In schema 1 it was flat, with keys of other methods, which had no effect and are left out.
    """
    if not isinstance(held.get("method"), str):
        return dict(held)
    is_flat = "detector" not in held
    who = {key: held[key] for key in held if not is_flat or key in RunConfig.model_fields}
    for name, kind in find_method(held["method"]).section_types().items():
        fields = kind.model_fields.items()
        values = {key: to_jsonable_python(field.get_default()) for key, field in fields}
        known = {key: held[key] for key in values if key in held} if is_flat else held.get(name, {})
        who[name] = values | dict(known) if isinstance(known, Mapping) else known
    return who


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run folder; raises DiffadError when the file is missing or damaged."""
    return json_object(path, "delete it to run again")
