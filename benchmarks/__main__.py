"""python -m benchmarks: measures, prints a table and leaves a record and a page of it.

    python -m benchmarks                                 this project alone
    python -m benchmarks --draem DIR --diffusionad DIR   beside checkouts of the official code
    python -m benchmarks --full --pairs 5 --threads 1    also at the size of the papers
    python -m benchmarks --scaling                       how times grow instead
    python -m benchmarks --inference --full              latency and images a second, instead
    python -m benchmarks --memory --draem DIR            memory of a step of the papers, instead

With a GPU, what is not measured instead is measured there, always also at the size of the papers.
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
from benchmarks.machine import chosen_device, machine
from benchmarks.measure import Times, in_turn
from benchmarks.page import about_machine, table_lines, write_results
from benchmarks.works import CPU, Setup, all_works, full_training, hows_on
from diffad_lib.errors import DiffadError
from diffad_lib.runs.device import denormals_as_zero, usable_gpus


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
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
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
    if given.device == "cuda" and (given.scaling or given.inference):
        sys.exit("error: --scaling and --inference measure the CPU")
    torch.set_num_threads(given.threads)
    try:
        with denormals_as_zero():  # as in a run
            _measure(given)
    except DiffadError as error:
        sys.exit(f"error: {error}")


def _measure(given: argparse.Namespace) -> None:
    """What was asked for; DiffadError if it cannot be measured here."""
    has_gpu = given.device == "cuda" or (given.device == "auto" and usable_gpus())
    device = chosen_device("auto") if has_gpu else CPU
    if given.scaling:
        scaling.measure(given.to, machine(CPU), given.pairs)
        print(f"{given.to}/scaling.json, {given.to}/scaling.md and {given.to}/scaling.png")
        return
    if given.inference:
        return _inference(given, machine(CPU), [*hows_on(CPU)])
    setup, found = Setup(hows_on(device), given.draem, given.diffusionad), machine(device)
    print(about_machine(found))
    if not given.memory:
        _times(given, setup, found)
    if given.memory or (has_gpu and not given.only):
        rows = memory.measure(full_training(setup), given.threads)
        memory.write_memory(given.to, found, rows)


def _times(given: argparse.Namespace, setup: Setup, found: dict[str, Any]) -> None:
    """Measure, print the table and leave results.json, .md and .png in the folder."""
    results: list[Times] = []
    print(*table_lines([]), sep="\n")
    for work in all_works(setup, given.full or setup.device.type == "cuda"):
        if given.only.lower() not in work.title.lower():
            continue
        results.append(in_turn(work, given.pairs))
        print(*table_lines(results[-1:])[2:], sep="\n", flush=True)
        write_results(given.to, found, results)  # after each, so that nothing is lost
    if not results:
        raise DiffadError(f'no work has "{given.only}" in its title')
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
