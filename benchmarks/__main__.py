"""python -m benchmarks: measures, prints a table and leaves a record and a page of it.

    python -m benchmarks                                 this project alone
    python -m benchmarks --draem DIR --diffusionad DIR   beside checkouts of the official code
    python -m benchmarks --full --pairs 5 --threads 1    also at the size of the papers
    python -m benchmarks --scaling                       how times grow instead

Every way of a work is called in turn, A B A B …, so that a busy machine hits all of them; ratios
are taken pair by pair.
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks import scaling
from benchmarks.measure import OURS, in_turn
from benchmarks.page import table_lines, write_results
from benchmarks.works import BF16, Checkouts, all_works
from diffad_lib.errors import DiffadError
from diffad_lib.runs.facts import machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--draem", type=Path, help="checkout of VitjanZ/DRAEM")
    parser.add_argument("--diffusionad", type=Path, help="checkout of HuiZhang0812/DiffusionAD")
    parser.add_argument("--full", action="store_true", help="also at the size of the papers")
    parser.add_argument("--scaling", action="store_true", help="how times grow, instead")
    parser.add_argument("--only", default="", help="works whose title has this in it")
    parser.add_argument("--pairs", type=int, default=5, help="calls of each way (default: 5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--to", type=Path, default=Path("runs/benchmarks"), help="folder")
    given = parser.parse_args()
    if given.pairs < 1 or given.threads < 1:
        sys.exit("error: --pairs and --threads must be at least 1")
    if given.scaling and (given.full or given.only or given.draem or given.diffusionad):
        sys.exit("error: --scaling measures this project alone, and all of its curves")
    torch.set_num_threads(given.threads)
    torch.set_flush_denormal(True)  # as a run does
    found = machine(torch.device("cpu"))
    if given.scaling:
        scaling.measure(given.to, found, given.pairs)
        print(f"{given.to}/scaling.json, {given.to}/scaling.md and {given.to}/scaling.png")
        return
    precisions = [OURS, *([BF16] if found["bf16"] else [])]
    results = []
    try:
        for work in all_works(Checkouts(given.draem, given.diffusionad), given.full, precisions):
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


if __name__ == "__main__":
    main()
