"""Train and measure what chapter 10 shows: notebooks/records/traps.json and traps_real.json.

    python tools/traps.py  # trains and measures what runs/traps lacks, then writes the record
    python tools/traps.py --data-root DATA --textures DTD/images  # the same for the real data

DRAEM, three seeds each, on one thread: 12 trainings on the bracket of the mini data, or 6 on the
bottle of MVTec AD. One that was interrupted begins again; delete its folder to repeat it.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from diffad_lib.course import traps
from diffad_lib.course.shipped import RECORDS, load_shipped
from diffad_lib.datasets.decode import decode_mask
from diffad_lib.detector import Detector
from diffad_lib.evaluation import predict_all
from diffad_lib.files import write_json, write_text
from diffad_lib.metrics import pixel_ap, pixel_auroc
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.experiment import Experiment, labels, prepare
from diffad_lib.runs.facts import device_facts, git_state, package_versions
from diffad_lib.settings import BudgetName
from diffad_lib.training import Callback, Trainer
from diffad_lib.types import TrainingBatch
from diffad_lib.weights import WEIGHTS_NAME, load_detector, save_detector
from trap_figures import as_list, figures, normalised, predicted, protocol_figures

RUNS = Path("runs")
RIGHT = "draem"  # the kind without a trap, which is measured in every way
SEEDS = (0, 1, 2)
LOOKS = 20  # at the test set, in one training
DRAWS = 5  # of the noise of a test
LATE = (1, 10, 50)  # by how much t is wrong
SHIPPED = "diffusionad_bracket_repair"


@dataclass(frozen=True)
class Kind:
    """What is changed in a training: settings, and what replaces the synthesizer."""

    overrides: Mapping[str, Any]
    synthesis: Callable[..., TrainingBatch] | None = None


@dataclass(frozen=True, eq=False)
class Study:
    """Where the traps are made."""

    name: str  # of its record, and of its folder in runs
    dataset: str
    category: str
    budget: BudgetName
    kinds: Mapping[str, Kind]
    data_root: Path | None = None
    textures: Path | None = None


def with_and_without(overrides: Mapping[str, Any]) -> dict[str, Kind]:
    """DRAEM as it is, and without synthetic anomalies."""
    return {
        RIGHT: Kind(overrides),
        "no_anomalies": Kind({**overrides, "anomaly_probability": 0.0}),
    }


# The size of the shipped network, and at the mini budget everything else.
FULL = {"base_width": 12, "segmentation_width": 8}
PASTED = {
    "normalise_then_paste": Kind(FULL, traps.normalise_then_paste),
    "paste_then_normalise": Kind(FULL, traps.paste_then_normalise),
}
MINI = Study("traps", "mpdd", "bracket", "mini", with_and_without(FULL) | PASTED)
SHORT = {"steps": 1000, "device": "cpu"}  # a third of the steps of the laptop budget
REAL = Study("traps_real", "mvtec", "bottle", "laptop", with_and_without(SHORT))


class Looks(Callback):
    """Looks at the test set while a training runs, and changes nothing."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.every = experiment.plan.steps // LOOKS
        self.fabric = Fabric(accelerator="cpu", devices=1)  # float32, as the result is measured
        self.found: list[dict[str, Any]] = []

    def __call__(self, step: int, detector: Detector) -> None:
        test = self.experiment.test
        given = predict_all(detector, test.images, self.fabric)
        self.found.append(
            {
                "step": step,
                "image_scores": as_list(given.image_scores),
                "pixel_auroc": pixel_auroc(given.anomaly_maps, test.masks[:, 0]),
                "pixel_ap": pixel_ap(given.anomaly_maps, test.masks[:, 0]),
            }
        )

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.found = state["found"]


def configuration(study: Study, kind: str, seed: int) -> RunConfig:
    places = {"data_root": study.data_root, "textures": study.textures}
    overrides = study.kinds[kind].overrides
    what = study.dataset, study.category, "draem", study.budget
    return build_config(*what, overrides=overrides, seed=seed, **places)


def folder_of(study: Study, kind: str, seed: int) -> Path:
    return RUNS / study.name / kind / f"seed{seed}"


def train(study: Study, kind: str, seed: int) -> None:
    """Train a detector into its folder, unless it lies there."""
    folder = folder_of(study, kind, seed)
    if (folder / WEIGHTS_NAME).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    experiment = prepare(configuration(study, kind, seed))
    synthesis = study.kinds[kind].synthesis
    batches, looks = experiment.batches, [Looks(experiment)] if kind == RIGHT else []
    if synthesis is not None:
        batches = replace(batches, synthesizer=partial(synthesis, batches.synthesizer))
    parts = experiment.detector, batches, experiment.plan, experiment.fabric
    result = Trainer(*parts, callbacks=looks).train()
    for look in looks:
        write_json(folder / "looks.json", look.found)
    write_json(folder / "training.json", {"seconds": result.seconds, "last": result.last})
    save_detector(result.detector, folder)
    print(f"{kind} seed {seed}: {result.seconds:.0f} s", flush=True)


def measure(study: Study, kind: str, seed: int) -> dict[str, Any]:
    """All that the chapter shows of one training."""
    test, train_images = data(study)
    folder, images = folder_of(study, kind, seed), test["images"]
    detector = load_detector(folder).eval()
    told = {"seed": seed, **json.loads((folder / "training.json").read_text())}
    predict = normalised(detector) if study.kinds[kind].synthesis else detector.predict
    found = predicted(predict, images)
    told |= figures(found, test)
    if kind == RIGHT:
        told["looks"] = json.loads((folder / "looks.json").read_text())
        told["train_scores"] = as_list(predicted(predict, train_images)[0])
        told["swapped"] = figures(predicted(predict, images.flip(1)), test)
        told |= protocol_figures(found[1], test, detector.settings.score_window)
    return told


def measure_noise(test: dict[str, Any]) -> dict[str, Any]:
    """What the noise of the test and a wrong t do to the shipped DiffusionAD."""
    detector, images = load_shipped(SHIPPED).detector, test["images"]

    def seeded(seed: int, late: int) -> dict[str, Any]:
        other = traps.late_detector(detector, late)
        generator = partial(torch.Generator().manual_seed, seed)
        return figures(predicted(lambda part: other.predict(part, generator()), images), test)

    seeds = [
        seeded(seed, 0) | {"late": {str(late): seeded(seed, late) for late in LATE}}
        for seed in SEEDS
    ]
    noise, draws = torch.Generator().manual_seed(1000), []
    for _ in range(DRAWS):
        with torch.inference_mode():
            scores, maps = traps.predict_unseeded(detector, images, noise)
        draws.append(figures((scores.numpy(), maps[:, 0].numpy()), test))
    return {"network": SHIPPED, "seeds": seeds, "draws": draws}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, help="folder of the datasets, for the real data")
    parser.add_argument("--textures", type=Path, help="folder of texture images, as DTD's")
    given = parser.parse_args()
    torch.set_num_threads(1)
    is_real = given.data_root is not None
    if is_real != (given.textures is not None):
        parser.error("give both --data-root and --textures, or neither")
    study, runs = MINI, {}
    if is_real:
        study = replace(REAL, data_root=given.data_root, textures=given.textures)

    for kind in study.kinds:
        for seed in SEEDS:
            train(study, kind, seed)
            path = folder_of(study, kind, seed) / "measured.json"
            runs.setdefault(kind, []).append(kept(path, partial(measure, study, kind, seed)))
    test, _ = data(study)
    told = {
        "command": "python tools/traps.py" + " --data-root DATA --textures DTD/images" * is_real,
        "dataset": study.dataset,
        "category": study.category,
        "method": "draem",
        "budget": study.budget,
        "kinds": {name: kind.overrides for name, kind in study.kinds.items()},
        "git": git_state(),
        "versions": package_versions(),
        "device": device_facts(torch.device("cpu")),
        "labels": test["labels"].tolist(),
    }
    if is_real:
        told["data"] = data_facts(study)
    else:
        path = RUNS / study.name / "noise.json"
        told["noise"] = kept(path, partial(measure_noise, test))
    record = RECORDS / f"{study.name}.json"
    write_text(record, as_json(told, runs))
    print(record)


@cache
def data(study: Study) -> tuple[dict[str, Any], Tensor]:
    """The test set, and the training images [N,3,H,W] in [0,1]."""
    experiment = prepare(configuration(study, RIGHT, 0))
    stack = experiment.test
    blank = np.zeros(decode_mask(stack.samples[-1].mask).shape, np.uint8)
    test = {
        "images": torch.tensor(stack.images) / 255,
        "labels": labels(stack),
        "regions": stack.regions[:, 0],
        "native": [decode_mask(one.mask) if one.mask else blank for one in stack.samples],
    }
    return test, torch.tensor(experiment.train.images) / 255


def data_facts(study: Study) -> dict[str, Any]:
    """What was read, without the list of all files, and the size of a mask's file."""
    test, _ = data(study)
    read = prepare(configuration(study, RIGHT, 0)).data
    given = {"train": read.train, "test": read.test, "textures": read.textures}
    told = {name: one.model_dump(include={"images", "fingerprint"}) for name, one in given.items()}
    return told | {"mask": test["native"][0].shape}


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What lies in the file; if there is none, it is made."""
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_text(encoding="utf-8"))


def as_json(told: dict[str, Any], runs: dict[str, list[Any]]) -> str:
    """A line for each training; NaN is an error."""
    kinds = []
    for kind, each in runs.items():
        lines = ",\n".join(json.dumps(one, allow_nan=False) for one in each)
        kinds.append(f'"{kind}": [\n{lines}\n]')
    head = json.dumps(told, allow_nan=False).removesuffix("}")
    return head + ',\n"runs": {\n' + ",\n".join(kinds) + "\n}}\n"


if __name__ == "__main__":
    main()
