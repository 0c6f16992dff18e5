"""Forecasts on the terminal, and for other programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.table import Table

from diffad_lib.cost import Linear, count_memory
from diffad_lib.methods.method import find_method
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.forecast import (
    CARDS,
    UNSEEN_BYTES,
    UNSEEN_SHARE,
    Choice,
    Forecast,
    choices,
    first_fit,
)
from diffad_lib.runs.speed import step_flop
from diffad_lib.runs.tables import add_row, plain_table

GIB = 2**30
HEADINGS = ("run", "seeds", "images", "steps", "PFLOP", "hours", "GB")


def shown_forecasts(
    forecasts: Sequence[Forecast], gigabytes: float | None = None
) -> Iterator[str | Table]:
    """Lines and tables: the memory of every method and budget, then all runs and their sum."""
    kinds = {(one.config.method, one.config.budget): one for one in reversed(forecasts)}
    for (method, budget), one in sorted(kinds.items()):
        yield f"{method}, budget {budget}: GiB of a training step, counted"
        yield memory_table(one.config)
        yield from memory_lines(one.config, gigabytes)
        yield f"{step_flop(one.config) / 1e12:.4g} TFLOP a step; speed {one.speed.told}\n"
    yield jobs_table(forecasts)
    kept = sum(one.kept_bytes for one in forecasts)
    highest = max(one.running_bytes - one.kept_bytes for one in forecasts)
    yield f"disk: {kept / 1e9:.3g} GB in the end, {highest / 1e9:.3g} GB more while a run goes on"
    if any(one.images.source == "catalog" for one in forecasts):
        yield "* official number of images: the data was not looked at (--data-root)"


def jobs_table(forecasts: Sequence[Forecast]) -> Table:
    """One row for the seeds of a run, and their sum."""
    table = plain_table(show_footer=True)
    sums = ["in sum", str(len(forecasts)), "", *_sums(forecasts)]
    for heading, total in zip(HEADINGS, sums, strict=True):
        table.add_column(heading, total, justify="left" if heading == "run" else "right")
    runs: dict[tuple[str, ...], list[Forecast]] = {}
    for one in forecasts:
        runs.setdefault(_without_seed(one), []).append(one)
    for who, seeds in runs.items():
        images, mark = seeds[0].images, "*" if seeds[0].images.source == "catalog" else ""
        cells = ["/".join(who), str(len(seeds)), f"{images.train:,}{mark}", *_sums(seeds)]
        add_row(table, cells)
    return table


def _without_seed(one: Forecast) -> tuple[str, ...]:
    config = one.config
    return config.dataset, config.category, config.method, config.budget


def _sums(forecasts: Sequence[Forecast]) -> list[str]:
    """Steps, PFLOP, hours and GB of several runs."""
    return [
        f"{sum(one.steps for one in forecasts):,}",
        f"{sum(one.flop for one in forecasts) / 1e15:,.4g}",
        f"{sum(one.seconds for one in forecasts) / 3600:,.3g}",
        f"{sum(one.kept_bytes for one in forecasts) / 1e9:.2g}",
    ]


def memory_table(config: RunConfig) -> Table:
    """GiB of a training step for every micro-batch, at both precisions, with and without keeping
    activations."""
    ways = choices(config)
    columns = list(dict.fromkeys((way.precision, way.recomputes) for way in ways))
    table = plain_table()
    table.add_column("micro-batch × accumulate")
    for precision, recomputes in columns:
        heading = precision + (", recomputed" if recomputes else "")
        table.add_column(heading, justify="right")
    for size in sorted({way.batch_size for way in ways}):
        of_size = {(one.precision, one.recomputes): one for one in ways if one.batch_size == size}
        first = next(iter(of_size.values()))
        cells = [f"{of_size[column].bytes / GIB:.1f}" for column in columns]
        add_row(table, (f"{size} × {first.accumulate}", *cells))
    return table


def memory_lines(config: RunConfig, gigabytes: float | None = None) -> Iterator[str]:
    """What is saved for an image, and what to set on cards of the common sizes, or on the one."""
    kind = find_method(config.method).detector
    memory = count_memory(kind, config.detector, bf16=False)
    yield (
        f"saved for the backward pass at 32 bit: {_gib(memory.saved)}; weights, buffers and "
        f"Adam's means: {memory.state / GIB:.2f} GiB"
    )
    yield (
        f"a card needs the counted bytes, {UNSEEN_SHARE:.0%} and {UNSEEN_BYTES / 1e9:g} GB more "
        "(driver, workspaces, gaps):"
    )
    ways = choices(config)
    advice: dict[str, list[str]] = {}
    for size in CARDS if gigabytes is None else (gigabytes,):
        advice.setdefault(_advice(first_fit(ways, size)), []).append(f"{size:g}")
    for told, sizes in advice.items():
        yield f"  {', '.join(sizes)} GB: {told}"


def _gib(line: Linear) -> str:
    each = f"{line.each / GIB:.2f} GiB an image"
    return each if line.fixed < 0.005 * GIB else f"{line.fixed / GIB:.2f} GiB and {each}"


def _advice(way: Choice | None) -> str:
    if way is None:
        return "no setting fits: take a smaller image_size or base_width"
    settings = " ".join(f"--set {key}={value}" for key, value in way.changes.items())
    told = f"{settings or 'fits as it is'} ({way.needed / 1e9:.1f} GB)"
    if "batch_size" in way.changes:
        told += "; batch norm and the losses' means then see micro-batches"
    return told


def figures(one: Forecast) -> dict[str, Any]:
    """The figures of a run, for other programs."""
    config = one.config
    who = {key: getattr(config, key) for key in ("dataset", "category", "method", "budget", "seed")}
    return who | {
        "images": one.images._asdict(),
        "steps": one.steps,
        "flop": one.flop,
        "train_seconds": one.train_seconds,
        "seconds": one.seconds,
        "kept_bytes": one.kept_bytes,
        "running_bytes": one.running_bytes,
        "speed": one.speed.told,
    }
