"""Train and measure what chapter 10 shows: notebooks/records/traps.json.

    python tools/traps.py  # trains and measures what runs/traps lacks, then writes the record

DRAEM on the bracket of the mini data, three seeds each, on one thread: 12 trainings. One that was
interrupted begins again; delete its folder in runs/traps to repeat it.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffad_lib.course import traps
from diffad_lib.course.shipped import RECORDS, load_shipped
from diffad_lib.datasets.decode import decode_mask
from diffad_lib.datasets.regions import whole_regions
from diffad_lib.detector import Detector
from diffad_lib.evaluation import predict_all
from diffad_lib.files import write_json, write_text
from diffad_lib.metrics import compute_metrics, image_auroc, pixel_ap, pixel_auroc
from diffad_lib.runs.config import RunConfig, build_config
from diffad_lib.runs.experiment import Experiment, labels, prepare
from diffad_lib.runs.facts import device_facts, git_state, package_versions
from diffad_lib.scores import highest_mean, smoothed_maximum
from diffad_lib.training import Callback, Trainer
from diffad_lib.types import Prediction, TrainingBatch
from diffad_lib.weights import WEIGHTS_NAME, load_detector, save_detector

RUNS, RECORD = Path("runs") / "traps", RECORDS / "traps.json"
DATASET, CATEGORY = "mpdd", "bracket"
SEEDS = (0, 1, 2)
LOOK_STEPS = 20  # steps between two looks at the test set
DRAWS = 5  # of the noise of a test
LATE = (1, 10, 50)  # by how much t is wrong
SHIPPED = f"diffusionad_{CATEGORY}_repair"
BATCH = 20
# The size of the shipped network, and at the mini budget everything else.
FULL = {"base_width": 12, "segmentation_width": 8}
KINDS: dict[str, tuple[dict[str, Any], Callable[..., TrainingBatch] | None]] = {
    "draem": (FULL, None),  # overrides, and what replaces the synthesizer
    "no_anomalies": (FULL | {"anomaly_probability": 0.0}, None),
    "normalise_then_paste": (FULL, traps.normalise_then_paste),
    "paste_then_normalise": (FULL, traps.paste_then_normalise),
}


class Looks(Callback):
    """Looks at the test set while a training runs, and changes nothing."""

    every = LOOK_STEPS

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.found: list[dict[str, Any]] = []

    def __call__(self, step: int, detector: Detector) -> None:
        test = self.experiment.test
        given = predict_all(detector, test.images, self.experiment.fabric)
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


def as_list(scores: NDArray) -> list[float]:
    """Scores with so many digits that no two float32 numbers above 0.1 become equal."""
    return [round(score, 8) for score in scores.tolist()]


def configuration(kind: str, seed: int) -> RunConfig:
    return build_config(DATASET, CATEGORY, "draem", overrides=KINDS[kind][0], seed=seed)


def folder_of(kind: str, seed: int) -> Path:
    return RUNS / kind / f"seed{seed}"


def train(kind: str, seed: int) -> None:
    """Train a detector into its folder, unless it lies there."""
    folder = folder_of(kind, seed)
    if (folder / WEIGHTS_NAME).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    experiment, synthesis = prepare(configuration(kind, seed)), KINDS[kind][1]
    batches, looks = experiment.batches, [Looks(experiment)] if kind == "draem" else []
    if synthesis is not None:
        batches = replace(batches, synthesizer=partial(synthesis, batches.synthesizer))
    parts = experiment.detector, batches, experiment.plan, experiment.fabric
    result = Trainer(*parts, callbacks=looks).train()
    for look in looks:
        write_json(folder / "looks.json", look.found)
    write_json(folder / "training.json", {"seconds": result.seconds, "last": result.last})
    save_detector(result.detector, folder)
    print(f"{kind} seed {seed}: {result.seconds:.0f} s", flush=True)


def predicted(predict: Callable[[Tensor], Prediction], images: Tensor) -> tuple[NDArray, NDArray]:
    """Image scores [N] and maps [N,H,W] of images [N,3,H,W] in [0,1]."""
    with torch.inference_mode():
        found = [predict(part) for part in images.split(BATCH)]
    maps = torch.cat([one.anomaly_map[:, 0] for one in found])
    return torch.cat([one.image_score for one in found]).numpy(), maps.numpy()


def normalised(detector: Detector) -> Callable[[Tensor], Prediction]:
    """How a detector predicts that was trained on ImageNet-normalised images."""

    def predict(images: Tensor) -> Prediction:
        given = traps.imagenet_normalised(images)
        return detector.judge(given, detector.reconstruction(given))

    return predict


def figures(found: tuple[NDArray, NDArray], test: dict[str, Any]) -> dict[str, Any]:
    """Scores and metrics of a prediction."""
    scores, maps = found
    measured = compute_metrics(scores, test["labels"], maps, test["regions"], bootstrap_samples=200)
    metrics = {name: [one.value, one.low, one.high] for name, one in measured.items()}
    return {"image_scores": as_list(scores), "metrics": metrics}


def measure(kind: str, seed: int) -> dict[str, Any]:
    """All that the chapter shows of one training."""
    test, train_images = data()
    folder, images = folder_of(kind, seed), test["images"]
    detector = load_detector(folder).eval()
    told = {"seed": seed, **json.loads((folder / "training.json").read_text())}
    predict = normalised(detector) if KINDS[kind][1] else detector.predict
    found = predicted(predict, images)
    told |= figures(found, test)
    if kind == "draem":
        told["looks"] = json.loads((folder / "looks.json").read_text())
        told["train_scores"] = as_list(predicted(predict, train_images)[0])
        told["swapped"] = figures(predicted(predict, images.flip(1)), test)
        told |= protocol_figures(found[1], test)
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


def protocol_figures(maps: NDArray, test: dict[str, Any]) -> dict[str, Any]:
    """What follows from the maps alone: other masks, other protocols, other image scores."""
    label, native = test["labels"], test["native"]
    masks = (test["regions"] > 0).astype(np.uint8)
    whole = np.stack([whole_regions(mask, maps.shape[-1]) for mask in native]) > 0
    every = np.arange(len(label))
    ways = traps.protocols(maps, test["regions"], native)
    whole_maps = torch.from_numpy(maps)[:, None]
    scores = {
        "maximum": whole_maps.flatten(1).amax(dim=1),
        "mean of 50 pixels": highest_mean(whole_maps, 50),
        "21 × 21 window": smoothed_maximum(whole_maps, 21),
        "5 × 5 window": smoothed_maximum(whole_maps, 5),
    }
    return {
        "cast": {"pixel_ap": pixel_ap(maps, whole), "pixel_auroc": pixel_auroc(maps, whole)},
        "protocols": {name: way(every) for name, way in ways.items()},
        "way_aurocs": {name: image_auroc(one.numpy(), label) for name, one in scores.items()},
        "rounded_maps": {str(n): pixel_ap(np.round(maps, n), masks) for n in (3, 2, 1)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    torch.set_num_threads(1)
    runs: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for seed in SEEDS:
            train(kind, seed)
            path = folder_of(kind, seed) / "measured.json"
            runs[kind].append(kept(path, partial(measure, kind, seed)))
    test, _ = data()
    told = {
        "command": "python tools/traps.py",
        "dataset": DATASET,
        "category": CATEGORY,
        "method": "draem",
        "budget": "mini",
        "kinds": {kind: overrides for kind, (overrides, _) in KINDS.items()},
        "git": git_state(),
        "versions": package_versions(),
        "device": device_facts(torch.device("cpu")),
        "labels": test["labels"].tolist(),
        "noise": kept(RUNS / "noise.json", partial(measure_noise, test)),
    }
    write_text(RECORD, as_json(told, runs))
    print(RECORD)


@cache
def data() -> tuple[dict[str, Any], Tensor]:
    """The test set, and the training images [N,3,H,W] in [0,1]."""
    experiment = prepare(configuration("draem", 0))
    stack = experiment.test
    blank = np.zeros(decode_mask(stack.samples[-1].mask).shape, np.uint8)
    test = {
        "images": torch.tensor(stack.images) / 255,
        "labels": labels(stack),
        "regions": stack.regions[:, 0],
        "native": [decode_mask(one.mask) if one.mask else blank for one in stack.samples],
    }
    return test, torch.tensor(experiment.train.images) / 255


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
