"""`diffad course`: the mini data, every method on a texture and on an object, one table."""

import io
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from diffad_lib.datasets.mini import make_mini
from diffad_lib.runs.config import build_config
from diffad_lib.runs.data import MINI_ROOT
from diffad_lib.runs.notebook import run
from diffad_lib.runs.summary import metrics_table

CATEGORIES = (("mvtec", "weave"), ("mpdd", "bracket"))  # a texture and an object
METHODS = ("autoencoder", "draem", "diffusionad")


def run_course(runs_dir: Path) -> list[dict[str, Any]]:
    """Run the course headless and print its table; returns the records.

    Raises DiffadError from the first run that fails.
    """
    started = time.monotonic()
    print(f"Mini data in {MINI_ROOT}", flush=True)
    make_mini(MINI_ROOT)
    jobs = [(dataset, category, m) for dataset, category in CATEGORIES for m in METHODS]
    records = []
    for number, (dataset, category, method) in enumerate(jobs, start=1):
        print(f"[{number}/{len(jobs)}] {dataset}/{category} {method} ...", flush=True)
        config = build_config(dataset, category, method, runs_dir=runs_dir)
        before = time.monotonic()
        records.append(run(config, stream=io.StringIO()))
        elapsed = time.monotonic() - started
        left = elapsed / number * (len(jobs) - number)
        auroc = records[-1]["metrics"]["image_auroc"]["value"]
        print(
            f"[{number}/{len(jobs)}] {dataset}/{category} {method}: image AUROC {auroc:.3f}, "
            f"{time.monotonic() - before:.0f} s; about {left:.0f} s left",
            flush=True,
        )
    Console().print(metrics_table(records))
    print(f"{time.monotonic() - started:.0f} s in all; run folders below {runs_dir}")
    return records
