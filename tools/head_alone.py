"""Three trainings of DRAEM's head, with and without a reconstruction: a record for chapter 07.

    python tools/head_alone.py    # forty minutes on a busy core

Each seed and category is trained three ways, for the steps of the shipped DRAEM on the same
batches: the head on the image alone; the head beside the reconstruction network of the joint
training, finished and frozen; both networks jointly, as published. Nothing is chosen by the
figures. They go to notebooks/records/head_alone.json.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from diffad_lib.course.lessons import mini_split
from diffad_lib.course.shipped import RECORDS, load_shipped
from diffad_lib.detector import Detector
from diffad_lib.files import write_json
from diffad_lib.losses import softmax_focal_loss
from diffad_lib.methods.draem.detector import initialise
from diffad_lib.methods.draem.settings import DraemSettings
from diffad_lib.metrics import image_auroc, pixel_ap
from diffad_lib.networks.segmentation import SegmentationNetwork
from diffad_lib.runs.experiment import Experiment, prepare
from diffad_lib.runs.facts import device_facts, package_versions
from diffad_lib.scores import smoothed_maximum
from diffad_lib.synthesis.foreground import automatic_masks
from diffad_lib.training import Trainer
from diffad_lib.types import Prediction, TrainingBatch

CATEGORIES, SEEDS = ("bracket", "weave"), (0, 1, 2)
AnyDetector = TypeVar("AnyDetector", bound=Detector)
DRAWS = 4  # synthetic anomalies on each good test image
Input = Callable[[Tensor], Tensor]  # what a head sees of images [B,3,H,W]
Sets = dict[str, tuple[Tensor, Tensor]]  # images [N,3,H,W] and masks [N,1,H,W] by name


def experiment_with(category: str, seed: int, **changes: Any) -> Experiment:
    """The run that trained the shipped DRAEM, with another seed and other settings."""
    config = load_shipped(f"draem_{category}").config.but(seed=seed)
    return prepare(config.with_settings(changes))


class Head(Detector):
    """A segmentation network on what `see` makes of images; only the network is trained."""

    def __init__(self, settings: DraemSettings, network: nn.Module, see: Input) -> None:
        super().__init__(settings)
        self.network = network
        # As a member, a network in it would be of this module, and would be trained with it.
        self.see: Input = lambda images: see(images)

    def training_losses(self, batch: TrainingBatch) -> dict[str, Tensor]:
        with torch.no_grad():
            seen = self.see(batch.image).contiguous(memory_format=torch.channels_last)
        return {"total": softmax_focal_loss(self.network(seen), batch.mask)}

    def predict(self, images: Tensor, generator: torch.Generator | None = None) -> Prediction:
        maps = self.network(self.see(images)).softmax(dim=1)[:, 1:]
        return Prediction(smoothed_maximum(maps, self.settings.score_window), maps, None)


def trained_head(experiment: Experiment, see: Input, channels: int) -> Head:
    """A head after the steps of the plan, with its learning rates, on what `see` makes."""
    settings = experiment.detector.settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.config.seed)
        network = SegmentationNetwork(channels, 2, settings.segmentation_width).apply(initialise)
    return trained(Head(settings, network, see), experiment)


def trained(detector: AnyDetector, experiment: Experiment) -> AnyDetector:
    """The detector after the training of the experiment."""
    how = experiment.batches, experiment.plan, experiment.fabric
    return Trainer(detector, *how, report=lambda _: None).train().detector


def judged_sets(experiment: Experiment, category: str) -> tuple[Sets, Tensor]:
    """The drawn defects, and fresh synthetic anomalies on the good images among them.

    Also, of each of the latter, the image as it was before an anomaly was pasted.
    """
    images, masks = mini_split(category, "test", experiment.config.detector.image_size)
    good, foreground = images[~masks.flatten(1).any(dim=1)], None
    if experiment.batches.foregrounds is not None:
        foreground = torch.from_numpy(automatic_masks((good * 255).byte().numpy())).float()
    generator = torch.Generator().manual_seed(100)
    made = [experiment.batches.synthesizer(good, foreground, generator) for _ in range(DRAWS)]
    synthetic = torch.cat([part.image for part in made]), torch.cat([part.mask for part in made])
    normal = torch.cat([part.normal for part in made])
    return {"synthetic": synthetic, "defects": (images, masks)}, normal


def figures(head: Head, sets: Sets) -> Iterator[dict]:
    """Image AUROC and pixel AP of a head on each set."""
    for name, (images, masks) in sets.items():
        with torch.inference_mode():
            found = head.predict(images)
        labels = masks.flatten(1).any(dim=1)
        yield {
            "set": name,
            "image_auroc": image_auroc(found.image_score.numpy(), labels.numpy()),
            "pixel_ap": pixel_ap(found.anomaly_map[:, 0].numpy(), masks[:, 0].numpy()),
        }


def rows(category: str, seed: int) -> Iterator[dict]:
    """The figures of the three heads of one category and seed."""
    experiment = experiment_with(category, seed)
    joint = trained(experiment.detector, experiment)
    rebuild = joint.reconstruction.requires_grad_(False)

    def both(images: Tensor) -> Tensor:
        return torch.cat([rebuild(images), images], dim=1)

    heads = {
        "image alone": trained_head(experiment, lambda images: images, 3),
        "beside a finished reconstruction": trained_head(experiment, both, 6),
        "joint": Head(joint.settings, joint.segmentation, both),
    }
    sets, _ = judged_sets(experiment, category)
    for name, head in heads.items():
        for found in figures(head, sets):
            yield {"category": category, "seed": seed, "head": name, **found}


def write_record(
    name: str, rows_of: Callable[[str, int], Iterator[dict]], steps: dict[str, int]
) -> None:
    """The rows of every category and seed, to notebooks/records/NAME.json at the end.

    steps: of each training, by category.
    """
    torch.set_num_threads(1)
    started, found = time.monotonic(), []
    for category in CATEGORIES:
        for seed in SEEDS:
            found += rows_of(category, seed)
            print(f"{category}, seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
    record = {
        "made_by": f"python tools/{name}.py",
        "steps": steps,
        "versions": package_versions(),
        "device": device_facts(torch.device("cpu")),
        "rows": found,
        "seconds": round(time.monotonic() - started),
    }
    write_json(RECORDS / f"{name}.json", record)


if __name__ == "__main__":
    shipped = {c: load_shipped(f"draem_{c}").config.training.steps for c in CATEGORIES}
    write_record("head_alone", rows, shipped)
