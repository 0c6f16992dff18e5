"""A detector on disk in our own format: its method, its settings and its weights."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError, shown
from diffad_lib.files import json_object, require_file, sha256_of, write_atomically, write_json
from diffad_lib.methods.method import find_method, method_of
from diffad_lib.networks.states import blamed_on, build_with, portable_state
from diffad_lib.settings import DetectorSettings

DETECTOR_NAME, WEIGHTS_NAME = "detector.json", "detector.safetensors"
_RETIRED = {"noise_draws": 1}  # settings of earlier versions, with the value that is built now
_ADVICE = "name a folder with a saved run"


@dataclass(frozen=True)
class Saved:
    """What detector.json tells of the weights beside it."""

    method: str
    settings: DetectorSettings
    sha256: str | None  # of the weights; earlier versions did not write it
    official: Mapping[str, str] = field(default_factory=dict)  # sha256 of imported files, by name


def save_detector(
    detector: Detector, folder: Path, official: Mapping[str, str] | None = None
) -> None:
    """Write detector.safetensors and detector.json (method, settings, sha256 of the weights).

    official: sha256 of the files of the official code that the weights are from, by their names.
    """
    weights = save(portable_state(detector))
    told = {
        "method": method_of(detector),
        "settings": detector.settings.model_dump(mode="json"),
        "sha256": hashlib.sha256(weights).hexdigest(),
        **({"official": dict(official)} if official else {}),
    }
    write_atomically(folder / WEIGHTS_NAME, lambda temporary: temporary.write_bytes(weights))
    write_json(folder / DETECTOR_NAME, told)


def load_detector(folder: Path) -> Detector:
    """What `save_detector` wrote, on the CPU, for evaluation; DiffadError names an unfit file.

    Its memory format is channels-last, in which convolutions are faster. Also as `check_weights`.
    """
    path, saved = folder / WEIGHTS_NAME, read_saved(folder)
    check_weights(folder)
    with blamed_on(path, "damaged", "train or copy it again"):
        state = load_file(path)
    build = find_method(saved.method).detector
    detector = build_with(lambda: build(saved.settings), {"": (state, path)})
    # PyTorch documents this form, but its overloads lack it.
    return detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def read_saved(folder: Path) -> Saved:
    """What `save_detector` told of the weights in a folder; DiffadError if it is not there."""
    path = folder / DETECTOR_NAME
    told = json_object(path, _ADVICE)
    with blamed_on(path, "not a saved detector", "run again"):
        method, kept = find_method(told["method"]), told["settings"].items()
        settings = method.settings(**{k: v for k, v in kept if _RETIRED.get(k, ...) != v})
        official = {str(name): str(digest) for name, digest in told.get("official", {}).items()}
        return Saved(told["method"], settings, told.get("sha256"), official)


def check_weights(folder: Path) -> None:
    """DiffadError if the weights are not those that detector.json was saved with.

    An earlier version wrote no sha256 into it. Then nothing can be compared, which a line on stderr
    tells, as a damaged file would pass for a whole one.
    """
    told_path, path = folder / DETECTOR_NAME, folder / WEIGHTS_NAME
    told = json_object(told_path, _ADVICE)
    require_file(path, _ADVICE)
    if "sha256" not in told:
        problem = "lacks the sha256 of the weights, so whether they are damaged is not known"
        print(shown(f"{told_path}: {problem}"), file=sys.stderr)
        return
    with blamed_on(path, "cannot be read", "train or copy it again"):
        digest = sha256_of(path)
    if told["sha256"] != digest:
        raise DiffadError(
            f"{path}: damaged, or not the weights that {DETECTOR_NAME} was saved with (another "
            "sha256); train or copy both again"
        )
