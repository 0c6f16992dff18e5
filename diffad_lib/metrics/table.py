"""The metrics: each a function of a `Sweep` and an entry, which all that uses metrics reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from diffad_lib.metrics.curves import Floats, Sweep, auroc, average_precision, normalised_aupro


@dataclass(frozen=True)
class MetricKind:
    """One metric."""

    title: str
    unit: Literal["image", "pixel"]  # what its sweep counts
    summary: Callable[..., Floats]  # value [...] of a sweep [...,T]
    takes_fpr_limit: bool = False  # `summary` has a keyword fpr_limit
    in_tables: bool = True  # also where there is room for a few only
    curve: Literal["roc", "pr", "pro"] | None = None  # that it is the area of, if to be drawn

    def value_of(self, found: Sweep, fpr_limit: float) -> Floats:
        """The metric [...] of a sweep [...,T]."""
        if self.takes_fpr_limit:
            return self.summary(found, fpr_limit=fpr_limit)
        return self.summary(found)


METRICS: dict[str, MetricKind] = {
    "image_auroc": MetricKind("image AUROC", "image", auroc, curve="roc"),
    "image_ap": MetricKind("image AP", "image", average_precision, in_tables=False, curve="pr"),
    "pixel_auroc": MetricKind("pixel AUROC", "pixel", auroc, curve="roc"),
    "pixel_ap": MetricKind("pixel AP", "pixel", average_precision, curve="pr"),
    "aupro": MetricKind("AUPRO", "pixel", normalised_aupro, takes_fpr_limit=True, curve="pro"),
}
"""The metrics by the name that they have in a record."""


def tabled() -> dict[str, str]:
    """Name and title of the metrics that tables show, in their order."""
    return {name: kind.title for name, kind in METRICS.items() if kind.in_tables}
