"""How much memory a training step takes, each way in a process of its own.

On a CPU what the system counts, not what PyTorch does: a convolution copies its inputs. On a GPU
what PyTorch allocated. Weights, gradients and the optimiser's state are in it, packages are not.
"""

import gc
import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Action, Work, is_expected
from benchmarks.page import about_machine
from benchmarks.works import OFFICIAL
from diffad_lib.errors import DiffadError, one_line
from diffad_lib.files import write_json, write_text

NAME = "memory"
STEPS = 2  # the first makes the state of the optimiser, which the second has beside all else
_STATUS = Path("/proc/self/status")


def measure(works: Iterable[Work], threads: int) -> list[dict[str, Any]]:
    """Rows with work, way and bytes; DiffadError where the system does not tell the memory.

    Ways that do not fit or cannot be compiled are told and have no row.
    """
    if not _STATUS.exists():
        raise DiffadError("--memory: this system has no /proc; measure on Linux")
    if torch.cuda.is_initialized():  # what this process measured is given back
        torch.compiler.reset()
        gc.collect()
        torch.cuda.empty_cache()
    spawn = multiprocessing.get_context("spawn")
    rows = []
    for work in works:
        for way, make in work.ways.items():
            with ProcessPoolExecutor(1, spawn) as alone:
                try:
                    peak = alone.submit(peak_bytes, make, threads).result()
                except Exception as error:
                    if not is_expected(error, way):
                        raise
                    print(f"{work.title}, {way}: {one_line(error)}", flush=True)
                    continue
            rows.append({"work": work.title, "way": way, "bytes": peak})
            print(f"{work.title}, {way}: {peak / 2**30:.2f} GiB", flush=True)
    return rows


def peak_bytes(make: Callable[[], Action], threads: int) -> int:
    """Highest bytes on the GPU that an action uses; else resident ones above those of before.

    To be called in a new process, as the highest is that of its whole life.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # as a run does
    before = _resident("VmRSS")
    try:
        action = make()
        for step in range(STEPS):
            if step == STEPS - 1 and torch.cuda.is_initialized():
                torch.cuda.reset_peak_memory_stats()  # without what compiling took
            action()
    except Exception as error:  # not every one can be sent to the process that asks
        raise RuntimeError(f"{type(error).__name__}: {one_line(error)}") from error
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    return _resident("VmHWM") - before


def _resident(key: str) -> int:
    """Bytes. Not getrusage's, in which a new process begins with the highest of its parent."""
    return int(_STATUS.read_text(encoding="utf-8").split(f"{key}:")[1].split()[0]) * 1024


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table in Markdown, with the share of what the official code takes where it is known."""
    lines = ["| work | way | GiB | of the official code's |", "|---|---|---|---|"]
    official = {row["work"]: row["bytes"] for row in rows if row["way"] == OFFICIAL}
    for row in rows:
        share = f"{row['bytes'] / official[row['work']]:.2f}" if row["work"] in official else ""
        lines.append(f"| {row['work']} | {row['way']} | {row['bytes'] / 2**30:.2f} | {share} |")
    return lines


def write_memory(folder: Path, found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """memory.json and memory.md."""
    write_json(folder / f"{NAME}.json", {"machine": dict(found), "rows": list(rows)})
    lines = [about_machine(found), "", *table_lines(rows)]
    write_text(folder / f"{NAME}.md", "\n".join(lines) + "\n")
    print(f"{folder}/{NAME}.json and {folder}/{NAME}.md")
