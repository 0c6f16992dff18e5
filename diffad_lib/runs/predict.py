"""A trained detector on new pictures: scores and maps as its own run would have given them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric

from diffad_lib.datasets.doubts import grey_line, looks_of
from diffad_lib.datasets.folders import images_below
from diffad_lib.datasets.images import ImageStack, image_digests, load_split
from diffad_lib.datasets.inventory import copies, take_inventory, unread_line
from diffad_lib.datasets.samples import Sample, Scan
from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import SetPrediction, predict_all
from diffad_lib.runs import facts
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.device import denormals_as_zero
from diffad_lib.runs.experiment import make_fabric, precision_of
from diffad_lib.runs.folder import CONFIG_NAME
from diffad_lib.runs.record import RECORD_NAME, Record, read_record
from diffad_lib.weights import DETECTOR_NAME, load_detector, read_saved


@dataclass(frozen=True)
class Trained:
    """A finished run, ready to predict as it did."""

    folder: Path
    record: Record
    config: RunConfig  # the run's, but for where it computes
    detector: Detector
    fabric: Fabric
    notes: list[str]  # what is another than in the run


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder, at the size of a detector."""

    folder: Path
    stack: ImageStack
    digests: dict[str, str]  # of each file, by its path below the folder, in the order of the stack
    notes: list[str]  # what is doubtful


def load_trained(folder: Path) -> Trained:
    """The detector of a run folder, as the run evaluated it, on the device that is here.

    DiffadError for a folder without a finished run, and for weights that are missing, damaged or
    of another method or other settings than the record.
    """
    record = read_record(_record_path(folder))
    config, saved = record.run_config(), read_saved(folder)
    if (saved.method, saved.settings) != (config.method, config.detector):
        told = f"is not the detector of {RECORD_NAME}; copy the folder of the run again"
        raise DiffadError(f"{folder / DETECTOR_NAME}: {told}")
    plan = config.training
    precision = str(record.device.get("precision", plan.precision)).removesuffix("-true")
    device = "cpu" if plan.device == "cpu" else "auto"
    plan = plan.but(precision=precision, device=device, devices=1, num_nodes=1)
    config = config.but(training=plan)
    fabric = make_fabric(config)
    before = {**record.device, "device": record.device.get("name", record.device.get("type"))}
    now = facts.conditions(fabric.device, precision_of(fabric))
    changed = "; ".join(facts.differences(before | record.git | record.versions, now))
    notes = [f"computed otherwise than in the run, last digits may differ: {changed}"]
    detector = load_detector(folder).to(fabric.device)
    return Trained(folder, record, config, detector, fabric, notes if changed else [])


def _record_path(folder: Path) -> Path:
    path = folder / RECORD_NAME
    if path.exists():
        return path
    told = "holds no run; name the folder that `diffad run` tells at its end"
    if (folder / CONFIG_NAME).exists():
        told = "its run is not finished; start the same `diffad run` again, and it goes on"
    elif (folder / DETECTOR_NAME).exists():
        told = "holds weights without a run; evaluate them first, with `diffad run --weights`"
    raise DiffadError(f"{folder}: {told}")


def read_pictures(trained: Trained, folder: Path) -> Pictures:
    """The pictures in a folder and its sub-folders, in natural order, read as in the run.

    DiffadError for no picture, and for the first that cannot be read.
    """
    samples = [Sample(path, None, 0, "", "test") for path in images_below(folder)]
    size, rule = trained.config.detector.image_size, trained.config.evaluation.image_rule
    stack = load_split(samples, size, image_rule=rule)
    notes = unread_line(take_inventory(folder, Scan(samples)), hint="")
    data = trained.record.data
    if data is not None and data.train.grey is not None:
        grey = sum(look.is_grey for _, look in looks_of(stack))
        known = data.train.grey, data.train.images
        notes += grey_line({"training images": known, "pictures": (grey, len(samples))})
    names = [sample.image.relative_to(folder).as_posix() for sample in samples]
    digests = image_digests(samples, stack.files).values()
    told = [f"{folder}: {note}" for note in notes]
    return Pictures(folder, stack, dict(zip(names, digests, strict=True)), told)


def check_apart(trained: Trained, good: Pictures, pictures: Pictures) -> list[str]:
    """DiffadError if good pictures that give a threshold are training images, or are judged.

    Returns a line if the record does not tell the files of the training: an old one, or thousands.
    """
    trained_on = trained.record.data.train.files if trained.record.data else {}
    known = {"the training images": trained_on, str(pictures.folder): pictures.digests}
    for place, digests in known.items():
        if found := copies(digests, good.digests):
            one, other = found[0]
            raise DiffadError(
                f"{good.folder / one}: is {other} of {place} ({len(found)} such); a threshold "
                "needs good pictures that neither train nor are judged"
            )
    is_told = trained_on and not any(path.endswith("/") for path in trained_on)
    return [] if is_told else ["whether good pictures are training images the record cannot tell"]


def predict(trained: Trained, pictures: Pictures) -> SetPrediction:
    """Scores and maps, in the order of the pictures; DiffadError if one is not finite.

    As in a run, denormal numbers are 0 meanwhile.
    """
    detector, fabric, seed = trained.detector, trained.fabric, trained.config.seed
    size = trained.config.evaluation.eval_batch_size
    with denormals_as_zero():
        found = predict_all(detector, pictures.stack.images, fabric, size, seed)
    if not (np.isfinite(found.image_scores).all() and np.isfinite(found.anomaly_maps).all()):
        raise DiffadError(f"{trained.folder}: gives scores that are no numbers; train it anew")
    return found
