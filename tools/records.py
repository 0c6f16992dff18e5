"""Make the records in notebooks/records, which chapter 09 compares.

    python tools/records.py    # 18 runs of one to five minutes, and one more for each machine

Each is an ordinary `diffad run` at the mini budget on one thread: three methods, two categories of
the mini data, three seeds; and one of them again as other machines would compute it. Runs lie in
runs/; those that are finished are not repeated. Of a record the names of files are left out, and
the place of the run folder.
"""

import os
import subprocess
import sys
from pathlib import Path

from diffad_lib.course.headless import CATEGORIES, METHODS
from diffad_lib.course.shipped import RECORDS
from diffad_lib.mini import find_category
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.facts import project_root
from diffad_lib.runs.record import RECORD_NAME, SplitFacts, read_record, write_record

SEEDS = (0, 1, 2)
REPEATED = ("weave", "draem", 0)  # category, method, seed of the run that other machines repeat
# What another processor would do, by switches of PyTorch and oneDNN: fewer instructions, in all
# operations or in the convolutions alone. Another number of threads would do too, but takes longer.
MACHINES = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "onednn": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
}


def configuration(category: str, method: str, seed: int, runs_dir: Path) -> RunConfig:
    """A run at the mini budget, on the mini data."""
    dataset = find_category(category).dataset
    return build_config(dataset, category, method, seed=seed, runs_dir=runs_dir)


def finished(config: RunConfig, environment: dict[str, str]) -> Path:
    """The record of a run, which is made where it is missing."""
    options = {
        "--dataset": config.dataset,
        "--category": config.category,
        "--method": config.method,
        "--seed": str(config.seed),
        "--runs-dir": str(config.runs_dir),
    }
    command = [str(Path(sys.executable).with_name("diffad")), "run"]
    command += [part for option in options.items() for part in option]
    one_thread = {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=os.environ | one_thread | environment)
    return config.run_folder / RECORD_NAME


def ship(path: Path, to: Path) -> None:
    """Copy a record; it loses the place of the run folder and the names of all files read."""
    record = read_record(path)
    config = record.config.model_copy(update={"runs_dir": "runs"})
    data = record.data
    if data is not None:
        parts = {name: _without_files(getattr(data, name)) for name in ("train", "test")}
        data = data.model_copy(update=parts | {"inventory": []})
    write_record(to, record.model_copy(update={"config": config, "data": data}))


def _without_files(split: SplitFacts) -> SplitFacts:
    return split.model_copy(update={"files": {}})


def main() -> None:
    runs = project_root() / "runs"
    jobs = [
        (configuration(category, method, seed, runs), RECORDS / "seeds", {})
        for category in CATEGORIES
        for method in METHODS
        for seed in SEEDS
    ]
    for name, environment in MACHINES.items():
        config = configuration(*REPEATED, runs / "machines" / name)
        jobs.append((config, RECORDS / "machines" / name, environment))
    for config, folder, environment in jobs:
        to = folder / config.run_folder.relative_to(config.runs_dir) / RECORD_NAME
        ship(finished(config, environment), to)
        print(to.relative_to(project_root()), flush=True)


if __name__ == "__main__":
    main()
