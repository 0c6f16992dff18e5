"""The record of the measured times, its table and its figure."""

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from benchmarks.measure import OURS, Times
from diffad_lib.files import write_atomically
from diffad_lib.runs.facts import computes_bf16, conditions


def machine() -> dict[str, Any]:
    """All that the times depend on: processor, threads, versions of code and packages."""
    device = torch.device("cpu")
    return {
        "processor": processor_name(),
        "bf16": computes_bf16(device),
        **conditions(device, "as in the table"),
    }


def processor_name() -> str:
    """As Linux tells it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table_lines(results: Sequence[Times]) -> list[str]:
    """A table in Markdown: a row for each way of each work."""
    lines = ["| work | way | seconds | lowest to highest | times as fast as ours in fp32 |"]
    lines.append("|---|---|---|---|---|")
    for found in results:
        for way, seconds in found.seconds.items():
            each = [one / found.units for one in seconds]
            ratio = "" if way == OURS or OURS not in found.seconds else _ratio(found, way)
            lines.append(
                f"| {found.work} | {way} | {statistics.median(each):.4g} s/{found.unit} | "
                f"{min(each):.4g} to {max(each):.4g} | {ratio} |"
            )
        lines += [f"| {found.work} | {told} | | | |" for told in found.absent]
    return lines


def _ratio(found: Times, way: str) -> str:
    ratios = found.ratios(OURS, way)
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def write_results(folder: Path, found: dict[str, Any], results: Sequence[Times]) -> None:
    """results.json with every single time, results.md with the table, results.png."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"machine": found, "works": [asdict(one) for one in results]}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / "results.json", lambda path: path.write_text(text, encoding="utf-8"))
    about = f"{found['processor']}, threads: {found['threads']}, PyTorch {found['torch']}"
    page = "\n".join([about, "", *table_lines(results)]) + "\n"
    write_atomically(folder / "results.md", lambda path: path.write_text(page, encoding="utf-8"))
    figure = draw(results)
    write_atomically(folder / "results.png", lambda path: figure.savefig(path, format="png"))
    plt.close(figure)


def draw(results: Sequence[Times]) -> Figure:
    """Every ratio of a pair as a point: how much longer another way takes than ours in fp32."""
    rows = [
        (f"{found.work}: {way}", found.ratios(way, OURS))
        for found in results
        for way in found.seconds
        if way != OURS and OURS in found.seconds
    ]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.35 * len(rows)), layout="constrained")
    for height, (_, ratios) in enumerate(rows):
        axes.plot(ratios, [height] * len(ratios), "o", alpha=0.5)
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="time ÷ time of this project in fp32, pair by pair")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    return figure
