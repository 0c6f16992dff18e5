"""Train the small detectors in notebooks/checkpoints, which the course loads.

    python tools/checkpoints.py                       # all of them
    python tools/checkpoints.py diffusionad_bracket   # one

Each is an ordinary `diffad run` on the mini data, with the settings below and the weights of the
last step. A run that was interrupted goes on; delete its folder in runs/ to train again.
"""

import argparse
import shutil
from pathlib import Path

from diffad_lib.course.shipped import CHECKPOINTS, SHIPPED
from diffad_lib.mini import find_category
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.notebook import run
from diffad_lib.runs.record import RECORD_NAME, read_record, write_record
from diffad_lib.weights import DETECTOR_NAME, WEIGHTS_NAME
from records import without_place

# Small networks, as the files are part of the repository. The course looks at the noise that the
# denoising network puts out and at what it draws from noise, so DiffusionAD feeds and puts out
# what the papers say, and trains longer than at the mini budget.
SETTINGS = {
    "diffusionad": {
        "base_width": 16,
        "channel_multipliers": [1, 2, 2],
        "segmentation_width": 8,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "prediction": "eps",
        "signed_range": False,
        "score_pixels": 50,
    },
    "diffusionad_repair": {"segmentation_width": 8},
    "draem": {"base_width": 12, "segmentation_width": 8, "anomaly_probability": 0.5},
    "autoencoder": {"base_width": 12, "bottleneck": 32, "learning_rate": 2e-3},  # 512 numbers
}
STEPS = {
    "diffusionad_bracket": 2000,
    "diffusionad_weave": 1000,
    "diffusionad_bracket_repair": 3000,
    "diffusionad_weave_repair": 3000,
    "draem_bracket": 500,
    "draem_weave": 2000,
    "autoencoder_bracket": 3000,
    "autoencoder_weave": 3000,
}


def configuration(name: str) -> RunConfig:
    """The run that trains a checkpoint, from the checkpoint's name."""
    method, category, *variants = name.split("_")
    overrides = SETTINGS["_".join([method, *variants])] | {"steps": STEPS[name]}
    dataset = find_category(category).dataset
    return build_config(dataset, category, method, variants=variants, overrides=overrides)


def ship(run_folder: Path, folder: Path) -> None:
    """Copy a run's detector and record; the record loses the place of the run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (WEIGHTS_NAME, DETECTOR_NAME):
        shutil.copy(run_folder / file, folder)
    write_record(folder / RECORD_NAME, without_place(read_record(run_folder / RECORD_NAME)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SHIPPED)}")
    for name in parser.parse_args().names or SHIPPED:
        config = configuration(name)
        run(config)
        ship(config.run_folder, CHECKPOINTS / name)
        print(f"{name}: {CHECKPOINTS / name}", flush=True)


if __name__ == "__main__":
    main()
