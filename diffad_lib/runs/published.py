"""Published figures, and those of other people's reruns, each with its source: published.json.

Percent, as printed there. A figure that we do not know is absent. PRO is taken as AUPRO; what the
publications integrate up to is a false-positive rate of 0.3, as `fpr_limit` is by default.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffad_lib.files import json_object
from diffad_lib.metrics import METRICS

MEAN = "mean"  # the category of a figure that is a mean over a whole dataset
_FILE = Path(__file__).with_suffix(".json")
Kind = Literal["published", "rerun"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Who says so: the authors of a method, or somebody who ran it again."""

    kind: Kind
    method: str
    text: str


class Figure(_Strict):
    """Metrics in percent of a category or of a whole dataset, by one source."""

    source: str
    dataset: str
    category: str
    variant: str = ""  # a departure, such as a part left out; "" is the method itself
    percent: dict[str, float] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, value in self.percent.items():
            if name not in METRICS or not 0 <= value <= 100:
                raise ValueError(f"{name} {value} is no metric in percent")
        return self


class Published(_Strict):
    """The whole file."""

    sources: dict[str, Source]
    figures: list[Figure]

    def shares(
        self, kind: Kind, method: str, dataset: str, category: str, metric: str
    ) -> list[tuple[float, str]]:
        """What the sources of a kind say of a method: (share in [0,1], key of the source)."""
        return [
            (figure.percent[metric] / 100, figure.source)
            for figure in self.figures
            if (figure.dataset, figure.category, figure.variant) == (dataset, category, "")
            and (found := self.sources[figure.source]).kind == kind
            and found.method == method
            and metric in figure.percent
        ]

    def footnotes(self, keys: Sequence[str]) -> list[str]:
        """`[1] source` for each key, in the order given."""
        return [f"[{number}] {self.sources[key].text}" for number, key in enumerate(keys, start=1)]


@cache
def published() -> Published:
    """The file, checked."""
    return Published.model_validate(json_object(_FILE, "check it out again"))
