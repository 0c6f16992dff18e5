"""python -m benchmarks.samples: how long a training sample of DRAEM at 256 px takes.

    python -m benchmarks.samples --data-root DATA --textures DTD/images --draem DIR

From the image files to a normal image, an anomalous one and its mask. This project reads and
resizes each file once, before the training (that time is told); the official code does it for every
sample, with imgaug 0.4, which has to be installed beside.
"""

import argparse
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch

from benchmarks import official
from benchmarks.machine import machine
from benchmarks.measure import OURS, Action, Work, in_turn
from benchmarks.page import table_lines, write_results
from benchmarks.works import OFFICIAL
from diffad_lib.errors import DiffadError
from diffad_lib.runs.config import build_config
from diffad_lib.runs.experiment import Experiment, prepare

DATASET, CATEGORY = "mvtec", "bottle"


def drawing(experiment: Experiment, textures: Path, draem: Path | None) -> Work:
    """Batches of the experiment's size, by this project and where it is given the official code."""
    size, batch = experiment.config.detector.image_size, experiment.config.training.batch_size
    steps = count()

    def theirs() -> Action:
        assert draem is not None
        train = experiment.train.samples[0].image.parent
        draw = official.draem_samples(draem, train, textures, size, experiment.config.seed)
        return lambda: draw(batch)

    ways: dict[str, Callable[[], Action]] = {
        OURS: lambda: lambda: experiment.batches(next(steps)),
    }
    if draem:
        ways[OFFICIAL] = theirs
    absent = () if draem else (f"{OFFICIAL}: give its checkout with --draem",)
    return Work(f"DRAEM training sample, {size} px", "image", batch, ways, absent)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samples", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the datasets")
    parser.add_argument("--textures", type=Path, required=True, help="DTD's folder images")
    parser.add_argument("--draem", type=Path, help="checkout of VitjanZ/DRAEM")
    parser.add_argument("--pairs", type=int, default=5, help="calls of each way (default: 5)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--to", type=Path, default=Path("runs/benchmarks/samples"), help="folder")
    given = parser.parse_args()
    if given.pairs < 1 or given.threads < 1:
        sys.exit("error: --pairs and --threads must be at least 1")
    torch.set_num_threads(given.threads)
    places = {"data_root": given.data_root, "textures": given.textures}
    try:
        config = build_config(
            DATASET, CATEGORY, "draem", "paper", overrides={"device": "cpu"}, **places
        )
        experiment = prepare(config)
        found = in_turn(drawing(experiment, given.textures, given.draem), given.pairs)
    except DiffadError as error:
        sys.exit(f"error: {error}")
    print(f"read and resized before: {experiment.prepared_seconds:.1f} s")
    print(*table_lines([found]), sep="\n")
    write_results(given.to, machine(torch.device("cpu")), [found])
    print(f"{given.to}/results.json, {given.to}/results.md and {given.to}/results.png")


if __name__ == "__main__":
    main()
