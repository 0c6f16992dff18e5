"""Three trainings of DRAEM's head, with and without a reconstruction: a record for chapter 07.

    python tools/head_alone.py    # about a quarter of an hour on one core

Each seed and category is trained three ways, for the steps of the shipped DRAEM on the same
batches: the head on the image alone; the head beside the reconstruction network of the joint
training, finished and frozen; both networks jointly, as published. Nothing is chosen by the
figures. They go to notebooks/records/head_alone.json.
"""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from diffad_lib.course.lessons import mini_split
from diffad_lib.course.shipped import RECORDS, load_shipped
from diffad_lib.files import write_json
from diffad_lib.losses import softmax_focal_loss
from diffad_lib.methods.draem.detector import initialise
from diffad_lib.metrics import image_auroc, pixel_ap
from diffad_lib.networks.segmentation import SegmentationNetwork
from diffad_lib.plans import lr_factor
from diffad_lib.runs.experiment import Experiment, prepare
from diffad_lib.runs.facts import device_facts, package_versions
from diffad_lib.scores import smoothed_maximum
from diffad_lib.synthesis.foreground import automatic_masks
from diffad_lib.training import Trainer

CATEGORIES, SEEDS = ("bracket", "weave"), (0, 1, 2)
DRAWS = 4  # synthetic anomalies on each good test image
Input = Callable[[Tensor], Tensor]  # what a head sees of images [B,3,H,W]
Sets = dict[str, tuple[Tensor, Tensor]]  # images [N,3,H,W] and masks [N,1,H,W] by name


def experiment_with(category: str, seed: int) -> Experiment:
    """The run that trained the shipped DRAEM, with another seed."""
    return prepare(load_shipped(f"draem_{category}").config.but(seed=seed))


def trained_head(experiment: Experiment, see: Input, channels: int) -> nn.Module:
    """A head after the steps of the plan, with its learning rates, on what `see` makes."""
    plan, width = experiment.plan, experiment.detector.settings.segmentation_width
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.config.seed)
        head = SegmentationNetwork(channels, 2, width).apply(initialise)
    head.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(head.parameters(), fused=True)
    for step in range(plan.steps):
        factor = lr_factor(plan.lr_schedule, step, step / plan.steps, plan.warmup_fraction)
        optimizer.param_groups[0]["lr"] = plan.learning_rate * factor
        batch = experiment.batches(step)
        with torch.no_grad():
            seen = see(batch.image).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        softmax_focal_loss(head(seen), batch.mask).backward()
        optimizer.step()
    return head.eval()


def judged_sets(experiment: Experiment, category: str) -> Sets:
    """The drawn defects, and fresh synthetic anomalies on the good images among them."""
    images, masks = mini_split(category, "test", experiment.config.detector.image_size)
    good, foreground = images[~masks.flatten(1).any(dim=1)], None
    if experiment.batches.foregrounds is not None:
        foreground = torch.from_numpy(automatic_masks((good * 255).byte().numpy())).float()
    generator = torch.Generator().manual_seed(100)
    made = [experiment.batches.synthesizer(good, foreground, generator) for _ in range(DRAWS)]
    synthetic = torch.cat([part.image for part in made]), torch.cat([part.mask for part in made])
    return {"synthetic": synthetic, "defects": (images, masks)}


def figures(head: nn.Module, see: Input, sets: Sets, window: int) -> Iterator[dict]:
    """Image AUROC and pixel AP of a head on each set."""
    for name, (images, masks) in sets.items():
        with torch.inference_mode():
            maps = head(see(images)).softmax(dim=1)[:, 1:]
        scores, labels = smoothed_maximum(maps, window), masks.flatten(1).any(dim=1)
        yield {
            "set": name,
            "image_auroc": image_auroc(scores.numpy(), labels.numpy()),
            "pixel_ap": pixel_ap(maps[:, 0].numpy(), masks[:, 0].numpy()),
        }


def rows(category: str, seed: int) -> Iterator[dict]:
    """The figures of the three heads of one category and seed."""
    experiment = experiment_with(category, seed)
    plan = experiment.plan, experiment.fabric
    joint = Trainer(experiment.detector, experiment.batches, *plan, report=lambda _: None).train()
    rebuild = joint.detector.eval().reconstruction.requires_grad_(False)

    def both(images: Tensor) -> Tensor:
        return torch.cat([rebuild(images), images], dim=1)

    heads = {
        "image alone": (trained_head(experiment, lambda images: images, 3), lambda images: images),
        "beside a finished reconstruction": (trained_head(experiment, both, 6), both),
        "joint": (joint.detector.segmentation, both),
    }
    sets, window = judged_sets(experiment, category), experiment.config.detector.score_window
    for name, (head, see) in heads.items():
        for found in figures(head, see, sets, window):
            yield {"category": category, "seed": seed, "head": name, **found}


def main() -> None:
    started = time.monotonic()
    record = {
        "made_by": "python tools/head_alone.py",
        "steps": {c: load_shipped(f"draem_{c}").config.training.steps for c in CATEGORIES},
        "versions": package_versions(),
        "device": device_facts(torch.device("cpu")),
        "rows": [],
    }
    for category in CATEGORIES:
        for seed in SEEDS:
            record["rows"] += rows(category, seed)
            record["seconds"] = round(time.monotonic() - started)
            write_json(RECORDS / "head_alone.json", record)
            print(f"{category}, seed {seed}: {record['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
