"""A trained detector on new pictures: scores and maps as its own run would have given them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from diffad_lib.datasets.decode import decode_image
from diffad_lib.datasets.images import ImageStack, image_digests, load_split, reading_threads
from diffad_lib.datasets.inventory import copies, grey_line, take_inventory, unread_line
from diffad_lib.datasets.samples import Sample, Scan, images_below
from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import SetPrediction, predict_all
from diffad_lib.runs import facts
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.data import available_device, which_are_grey
from diffad_lib.runs.experiment import flushes_denormals, make_fabric, precision_of
from diffad_lib.runs.folder import CONFIG_NAME
from diffad_lib.runs.record import RECORD_NAME, Record, read_record
from diffad_lib.weights import DETECTOR_NAME, load_detector, read_saved

_NAMED = 3  # files, in an error


@dataclass(frozen=True)
class Trained:
    """A finished run, ready to predict as it did."""

    folder: Path
    record: Record
    config: RunConfig  # the run's, but for where it computes
    detector: Detector
    fabric: Fabric
    notes: list[str]  # what is another than in the run

    def training_files(self) -> dict[str, str]:
        """A digest of each training image; {} where the record lacks them: old, or thousands."""
        files = self.record.data.train.files if self.record.data else {}
        return {} if any(path.endswith("/") for path in files) else files


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder, at the size of a detector."""

    folder: Path
    stack: ImageStack
    notes: list[str]  # what is doubtful

    @property
    def names(self) -> list[str]:
        """The path of each file below the folder."""
        return [sample.image.relative_to(self.folder).as_posix() for sample in self.stack.samples]

    def digests(self) -> dict[str, str]:
        """A digest of each file, by its name."""
        found = image_digests(self.stack.samples, self.stack.files)
        return dict(zip(self.names, found.values(), strict=True))


def load_trained(folder: Path) -> Trained:
    """The detector of a run folder, as the run evaluated it, on the device that is here.

    DiffadError for a folder without a finished run, and for weights that are missing, damaged or
    not those of the record.
    """
    record = read_record(_record_path(folder))
    config, saved = record.run_config(), read_saved(folder)
    if (saved.method, saved.settings) != (config.method, config.detector):
        told = f"is not the detector of {RECORD_NAME}; copy the folder of the run again"
        raise DiffadError(f"{folder / DETECTOR_NAME}: {told}")
    plan = config.training
    precision = str(record.device.get("precision", plan.precision)).removesuffix("-true")
    where = {"device": available_device(plan.device), "devices": 1, "num_nodes": 1}
    config = config.but(training=plan.but(precision=precision, **where))
    fabric = make_fabric(config)
    detector = load_detector(folder).to(fabric.device)
    before = {**record.device, "device": record.device.get("name", record.device.get("type"))}
    now = facts.conditions(fabric.device, precision_of(fabric))
    changed = "; ".join(facts.differences(before | record.git | record.versions, now))
    notes = [f"computed otherwise than in the run, last digits may differ: {changed}"]
    return Trained(folder, record, config, detector, fabric, notes if changed else [])


def _record_path(folder: Path) -> Path:
    path = folder / RECORD_NAME
    if not path.exists():
        told = "holds no run; name the folder that `diffad run` tells at its end"
        if (folder / CONFIG_NAME).exists():
            told = "its run is not finished; start the same `diffad run` again, and it goes on"
        elif (folder / DETECTOR_NAME).exists():
            told = "holds weights without a run; evaluate them first, with `diffad run --weights`"
        raise DiffadError(f"{folder}: {told}")
    return path


def read_pictures(trained: Trained, folder: Path) -> Pictures:
    """The pictures in a folder and its sub-folders, in natural order, read as in the run.

    DiffadError for no picture, and one that names those which cannot be read.
    """
    samples = [Sample(path, None, 0, "", "test") for path in images_below(folder)]
    size, rule = trained.config.detector.image_size, trained.config.evaluation.image_rule
    try:
        stack = load_split(samples, size, image_rule=rule)
    except DiffadError as error:
        raise _with_others(samples, error) from error
    notes = unread_line(take_inventory(folder, Scan(samples)), hint="")
    train = trained.record.data.train if trained.record.data else None
    if train is not None and train.grey is not None:
        grey = sum(is_grey for _, is_grey in which_are_grey(stack))
        known = train.grey, train.images
        notes += grey_line({"training images": known, "pictures": (grey, len(samples))})
    return Pictures(folder, stack, [f"{folder}: {note}" for note in notes])


def _with_others(samples: list[Sample], error: DiffadError) -> DiffadError:
    """The error on the first file, with the names of the others that cannot be read either."""

    def is_bad(sample: Sample) -> bool:
        try:
            decode_image(sample.image)
        except DiffadError:
            return True
        return False

    with reading_threads() as threads:
        found = zip(samples, threads.map(is_bad, samples), strict=True)
        names = [str(sample.image) for sample, bad in found if bad]
    others = [name for name in names if not str(error).startswith(name)]
    told = ", ".join(others[:_NAMED]) + (" …" if len(others) > _NAMED else "")
    return DiffadError(f"{error} (and {len(others)} more: {told})") if others else error


def check_apart(trained: Trained, good: Pictures, pictures: Pictures) -> None:
    """DiffadError if good pictures that give a threshold are training images, or are judged."""
    known = {"training images": trained.training_files(), str(pictures.folder): pictures.digests()}
    for place, digests in known.items():
        if found := copies(digests, good.digests()):
            (one, other), count = found[0], len(found)
            raise DiffadError(
                f"{good.folder / one}: is {other} of {place} ({count} such); a threshold needs "
                "good pictures that neither train nor are judged"
            )


def predict(trained: Trained, pictures: Pictures) -> SetPrediction:
    """Scores and maps, in the order of `pictures.names`; DiffadError if one is not finite."""
    size = trained.config.evaluation.eval_batch_size
    with _denormals_flushed():
        found = _predict(trained, pictures.stack.images, size)
    if not (np.isfinite(found.image_scores).all() and np.isfinite(found.anomaly_maps).all()):
        raise DiffadError(f"{trained.folder}: gives scores that are no numbers; train it anew")
    return found


def _predict(trained: Trained, images: np.ndarray, size: int) -> SetPrediction:
    """`size` images at a time, or fewer where memory runs out: scores do not depend on it."""
    try:
        return predict_all(trained.detector, images, trained.fabric, size, trained.config.seed)
    except torch.OutOfMemoryError:
        if size == 1:
            raise DiffadError("the device's memory ran out with a single picture") from None
    print(f"the device's memory ran out; goes on with {size // 2} pictures at a time")
    return _predict(trained, images, size // 2)


@contextlib.contextmanager
def _denormals_flushed() -> Iterator[None]:
    """As `experiment.prepare` has it: denormal numbers are 0."""
    before = flushes_denormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
