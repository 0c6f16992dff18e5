"""What a GPU does with this project: one command for a person who has just got one.

    make gpu-check                                      # ten minutes at most, no network
    python3 -m benchmarks.gpu_check --to FOLDER         # the same without .venv
    make gpu-check OPTIONS="--data-root DATA --dataset mvtec --category bottle --textures DTD"

In this order, each part written to FOLDER/gpu_check.json as soon as it is measured: is PyTorch
built for this GPU; do CPU and GPU agree; which micro-batch fits, how long a step takes and how much
memory it needs at the papers' settings; then a short real training of both methods, with records.
FOLDER/index.html shows all of it. Exit code 1 if something is wrong with the build or the numbers.
"""

import argparse
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.gpu_agreement import check_agreement
from benchmarks.gpu_page import write_report
from benchmarks.gpu_steps import Way, measure
from benchmarks.machine import chosen_device, machine
from diffad_lib import plots
from diffad_lib.errors import DiffadError, one_line
from diffad_lib.evaluation import predict_batch
from diffad_lib.files import write_atomically, write_json
from diffad_lib.methods import method_names
from diffad_lib.methods.method import find_method
from diffad_lib.runs import experiment as ex
from diffad_lib.runs import facts
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.data import check_inputs
from diffad_lib.runs.device import denormals_as_zero
from diffad_lib.runs.folder import put_aside
from diffad_lib.runs.record import read_record

TOTAL_SECONDS = 600.0
MEASURING_SECONDS = 240.0  # for agreement and steps; training comes after
EVALUATING_SECONDS = 40.0  # kept for each method after its training
COMPILING_SECONDS = 90.0  # that have to be left to begin a compiled measurement
TINY = {
    "image_size": 32, "base_width": 8, "segmentation_width": 4, "batch_size": 4,
    "eval_batch_size": 4,
    "channel_multipliers": (1, 2), "attention_resolutions": (8,), "residual_blocks": 1,
}  # fmt: skip
WAYS = (
    Way("bf16-mixed", channels_last=True),
    Way("32", channels_last=True),
    Way("bf16-mixed"),
    Way("32"),
    Way("bf16-mixed", channels_last=True, compiled=True),
    Way("32", channels_last=True, compiled=True),
)


@dataclass
class Report:
    """What was measured, written after every part, so that nothing is lost if the time ends."""

    folder: Path
    started: float = field(default_factory=time.monotonic)
    content: dict[str, Any] = field(default_factory=dict)

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def keep(self, part: str, found: dict[str, Any]) -> None:
        """Add a row to a part, print it, and write all."""
        self.content.setdefault(part, []).append(found)
        self.content["seconds"] = round(self.spent, 1)
        write_json(self.folder / "gpu_check.json", self.content)
        told = ", ".join(f"{key} {value}" for key, value in found.items() if value is not None)
        print(f"[{self.spent:5.0f} s] {part}: {told}", flush=True)

    @property
    def problems(self) -> list[str]:
        """What is wrong, one line each."""
        return [row["problem"] for rows in self.content.values() if isinstance(rows, list)
                for row in rows if row.get("problem")]  # fmt: skip


def methods() -> list[str]:
    """The methods that have been published with code."""
    return [name for name in method_names() if find_method(name).official is not None]


def ways_of(device: torch.device) -> list[Way]:
    """The ways that are measured; of a GPU, the one of the training first."""
    if device.type != "cuda":
        return [way for way in WAYS if not way.compiled]
    # Where the card has no bf16, autocast would imitate it.
    return [way for way in WAYS if way.precision == "32" or facts.computes_bf16(device)]


def check_build(device: torch.device) -> dict[str, Any]:
    """Versions, the card, and whether PyTorch has kernels for it."""
    told = machine(device) | {"cuda": torch.version.cuda, "problem": None}
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        told |= {"capability": capability, "cudnn": torch.backends.cudnn.version()}
        told["memory_gib"] = round(told.pop("memory_bytes") / 2**30, 1)
        if not torch.version.hip and not has_kernels(capability, torch.cuda.get_arch_list()):
            told["problem"] = (
                f"PyTorch {torch.__version__} for CUDA {torch.version.cuda} has no kernels for "
                f"compute capability {capability}; install a build that has"
            )
    return told


def has_kernels(capability: tuple[int, int], built: list[str]) -> bool:
    """Whether code in `built` (sm_86, sm_90a, compute_90) runs on a card of this capability."""
    for name in built:
        kind, _, number = name.partition("_")
        major, minor = divmod(int(number.rstrip("af")), 10)
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:  # compiled when it is loaded
            return True
    return False


def train(config: RunConfig, report: Report) -> dict[str, Any]:
    """A run as notebook 08 does it; its record, and figures beside it."""
    begun = time.monotonic()
    put_aside(config)
    run = ex.prepare(config)
    result = ex.train_experiment(run)
    predictions, metrics = ex.evaluate_experiment(run)
    swaps = ex.swap_experiment(run)
    path = ex.finish(run, result, predictions, metrics, swaps, time.monotonic() - begun)
    record = read_record(path)
    rows = plots.example_rows(predictions.image_scores, ex.labels(run.test))
    shown = np.concatenate([*rows.values()])
    some = predict_batch(run.detector, run.test.images[shown], run.fabric, config.seed)
    figures = {
        "losses": plots.loss_curves(pd.DataFrame(result.history)),
        "predictions": plots.prediction_sheet(
            rows, run.test.images, some.reconstruction, predictions.anomaly_maps,
            run.test.masks[:, 0], predictions.image_scores,
        ),
    }  # fmt: skip
    for name, figure in figures.items():
        write_atomically(report.folder / f"{config.method}_{name}.png", figure.savefig)
    return {
        "method": config.method,
        "data": f"{config.dataset}/{config.category}",
        "precision": record.device["precision"],
        "batch": f"{config.training.batch_size} x {config.training.accumulate}",
        "steps": result.steps,
        "train_s": round(result.seconds, 1),
        "predicted_images_per_s": round(predictions.images_per_second, 1),
        **{name: round(metric.value, 4) for name, metric in metrics.items()},
        "problem": None if record.invariance and record.invariance.holds
        else f"{config.method}: scores depend on what else is predicted",
    }  # fmt: skip


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--to", type=Path, default=Path("runs/gpu_check"))
    parser.add_argument("--minutes", type=float, default=4.0, help="of real training, in all")
    parser.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    parser.add_argument("--data-root", type=Path, help="default: the mini data")
    parser.add_argument("--dataset", default="mpdd")
    parser.add_argument("--category", default="bracket")
    parser.add_argument("--textures", type=Path, help="default: the built-in bank")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try the check")
    return parser.parse_args()


def main() -> int:
    """Runs the check; 1 if something is wrong."""
    chosen = options()
    report = Report(chosen.to)
    try:
        with denormals_as_zero():  # as in a run
            check(chosen, report)
    except DiffadError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    write_report(report.content, report.folder / "index.html")
    for problem in report.problems:
        print(f"WRONG: {problem}", file=sys.stderr)
    print(f"page: {report.folder / 'index.html'}")
    return 1 if report.problems else 0


def check(chosen: argparse.Namespace, report: Report) -> None:
    """All parts, in order; the build alone if nothing can run with it."""
    device = chosen_device(chosen.device)
    report.keep("build", check_build(device))
    if report.problems:
        return

    def configured(method: str, seconds: float | None = None, **settings: Any) -> RunConfig:
        known = find_method(method).setting_keys()
        sizes = {key: value for key, value in TINY.items() if chosen.tiny and key in known}
        return build_config(
            chosen.dataset, chosen.category, method, "paper",
            overrides=sizes | {"device": device.type, "bootstrap_samples": 0} | settings,
            data_root=chosen.data_root, textures=chosen.textures, runs_dir=chosen.to / "runs",
            max_train_seconds=seconds,
        )  # fmt: skip

    check_inputs(configured(methods()[0]))  # also makes the mini data
    for method in methods():
        for row in check_agreement(configured(method), device):
            report.keep("agreement", row)
    ways = ways_of(device)
    fitting: dict[str, dict[str, Any]] = {}
    for way in ways:
        for method in methods():
            left = MEASURING_SECONDS - report.spent
            if left < (COMPILING_SECONDS if way.compiled else 0):
                told = {"method": method, **asdict(way), "left_out": "no time was left"}
                report.keep("steps", told)
                continue
            row = measure(configured(method, **way.settings()), way, fitting.get(method))
            report.keep("steps", row)
            if row.get("micro_batch") and way == ways[0]:
                fitting[method] = {key: row[key] for key in ("micro_batch", "accumulate")}
    for left, method in zip(range(len(methods()), 0, -1), methods(), strict=True):
        share = (TOTAL_SECONDS - report.spent) / left - EVALUATING_SECONDS
        seconds = min(60 * chosen.minutes / len(methods()), max(10.0, share))
        more: dict[str, Any] = {"precision": "auto"}
        if found := fitting.get(method):
            more |= {"batch_size": found["micro_batch"], "accumulate": found["accumulate"]}
        report.keep("training", train(configured(method, seconds, **more), report))


if __name__ == "__main__":
    sys.exit(main())
