"""Image and pixel metrics with intervals, and the curves behind them."""

from diffad_lib.metrics.curves import (
    aupro,
    image_ap,
    image_auroc,
    pixel_ap,
    pixel_auroc,
    pr_curve,
    pro_curve,
    roc_curve,
)
from diffad_lib.metrics.intervals import Metric, compute_metrics
from diffad_lib.metrics.table import METRICS, tabled

__all__ = [
    "METRICS", "Metric", "aupro", "compute_metrics", "image_ap", "image_auroc", "pixel_ap",
    "pixel_auroc", "pr_curve", "pro_curve", "roc_curve", "tabled",
]  # fmt: skip
