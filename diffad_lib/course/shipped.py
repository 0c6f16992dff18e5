"""What comes with the course: small detectors, and figures of trainings too long for a chapter."""

from dataclasses import dataclass
from typing import Any

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError, nearest, one_line
from diffad_lib.files import json_object
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.facts import project_root
from diffad_lib.runs.record import RECORD_NAME, Record, read_record
from diffad_lib.weights import DETECTOR_NAME, WEIGHTS_NAME, load_detector

CHECKPOINTS = project_root() / "notebooks" / "checkpoints"
RECORDS = project_root() / "notebooks" / "records"  # one file for each tool that makes them
SHIPPED = (
    "diffusionad_bracket",
    "diffusionad_weave",
    "diffusionad_bracket_repair",
    "diffusionad_weave_repair",
    "draem_bracket",
    "draem_weave",
    "autoencoder_bracket",
    "autoencoder_weave",
)
FILES = (WEIGHTS_NAME, DETECTOR_NAME, RECORD_NAME)


@dataclass(frozen=True)
class Shipped:
    """A detector that was trained on mini data, and the run that trained it."""

    detector: Detector  # on the CPU, in evaluation mode
    config: RunConfig
    record: Record


def load_shipped(name: str) -> Shipped:
    """A detector of `SHIPPED` by its name.

    Raises DiffadError for an unknown name, and for a file that is missing or damaged.
    """
    if name not in SHIPPED:
        raise DiffadError(f'checkpoint "{name}" does not exist; {nearest(name, SHIPPED)}')
    folder = CHECKPOINTS / name
    for file in FILES:
        if not (folder / file).exists():
            raise DiffadError(f"{folder / file}: missing; check it out again or make checkpoints")
    record = read_record(folder / RECORD_NAME)
    try:
        config = record.run_config()
    except DiffadError as error:
        raise DiffadError(
            f"{folder / RECORD_NAME}: {one_line(error)}; check it out again"
        ) from None
    return Shipped(load_detector(folder), config, record)


def shipped_record(name: str) -> dict[str, Any]:
    """The figures in notebooks/records/NAME.json, of trainings too long for a cell.

    Raises DiffadError for a file that is missing or damaged.
    """
    return json_object(RECORDS / f"{name}.json", "check it out again")


def shipped_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a `shipped_record` that has some, a dict each."""
    rows: list[dict[str, Any]] = shipped_record(name)["rows"]
    return rows
