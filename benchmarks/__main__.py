"""python -m benchmarks: measures, prints a table and leaves a record and a page of it.

    python -m benchmarks                                 this project alone
    python -m benchmarks --draem DIR --diffusionad DIR   beside checkouts of the official code
    python -m benchmarks --full --pairs 5 --threads 1    also at the size of the papers
    python -m benchmarks --scaling                       how times grow instead
    python -m benchmarks --inference --full              latency and images a second, instead
    python -m benchmarks --memory --draem DIR            memory of a step of the papers, instead

Every way of a work is called in turn, A B A B …, so that a busy machine hits all of them; ratios
are taken pair by pair.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import inference, memory, scaling
from benchmarks.inference_page import NAME, about, table, write_inference
from benchmarks.machine import machine
from benchmarks.measure import OURS, in_turn
from benchmarks.page import table_lines, write_results
from benchmarks.works import BF16, Checkouts, all_works, full_training
from diffad_lib.errors import DiffadError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--draem", type=Path, help="checkout of VitjanZ/DRAEM")
    parser.add_argument("--diffusionad", type=Path, help="checkout of HuiZhang0812/DiffusionAD")
    parser.add_argument("--full", action="store_true", help="also at the size of the papers")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--scaling", action="store_true", help="how times grow, instead")
    instead.add_argument("--inference", action="store_true", help="how fast a line is, instead")
    instead.add_argument("--memory", action="store_true", help="what a full step takes, instead")
    parser.add_argument("--only", default="", help="works, or networks, with this in their name")
    parser.add_argument("--pairs", type=int, default=5, help="calls of each way (default: 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--to", type=Path, default=Path("runs/benchmarks"), help="folder")
    given = parser.parse_args()
    if given.pairs < 1 or given.threads < 1:
        sys.exit("error: --pairs and --threads must be at least 1")
    if given.scaling and (given.full or given.only or given.draem or given.diffusionad):
        sys.exit("error: --scaling measures this project alone, and all of its curves")
    if given.inference and (given.draem or given.diffusionad):
        sys.exit("error: --inference measures no checkouts")
    if given.memory and (given.full or given.only):
        sys.exit("error: --memory measures every training step at the size of the papers")
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(True)  # as a run does
    found = machine(torch.device("cpu"))
    if given.scaling:
        scaling.measure(given.to, found, given.pairs)
        print(f"{given.to}/scaling.json, {given.to}/scaling.md and {given.to}/scaling.png")
        return
    precisions = [OURS, *([BF16] if found["bf16"] else [])]
    if given.inference:
        return _inference(given, found, precisions)
    checkouts, results = Checkouts(given.draem, given.diffusionad), []
    try:
        if given.memory:
            works = full_training(checkouts, precisions)
            return memory.write_memory(given.to, found, memory.measure(works, given.threads))
        for work in all_works(checkouts, given.full, precisions):
            if given.only.lower() not in work.title.lower():
                continue
            results.append(in_turn(work, given.pairs))
            print(*table_lines(results[-1:])[2:], sep="\n", flush=True)
    except DiffadError as error:
        sys.exit(f"error: {error}")
    if not results:
        sys.exit(f'error: no work has "{given.only}" in its title')
    write_results(given.to, found, results)
    print(f"{given.to}/results.json, {given.to}/results.md and {given.to}/results.png")


def _inference(given: argparse.Namespace, found: dict[str, Any], precisions: list[str]) -> None:
    """Measures, prints the table and leaves inference.json, .md and .png in the folder."""
    theirs, absent = inference.their_subjects()
    every = [*inference.own_subjects(given.full), *theirs]
    subjects = [one for one in every if given.only.lower() in one.name.lower()]
    if not subjects:
        sys.exit(f'error: no network has "{given.only}" in its name')
    rows = inference.measure(subjects, precisions, given.pairs)
    most = inference.reached(precisions, given.pairs)
    write_inference(given.to, found, rows, absent, most)
    print(about(found, most), *table(rows), *absent, sep="\n")
    print(f"{given.to}/{NAME}.json, {given.to}/{NAME}.md and {given.to}/{NAME}.png")


if __name__ == "__main__":
    main()
