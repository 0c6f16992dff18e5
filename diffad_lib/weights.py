"""A detector on disk in our own format: its method, its settings and its weights."""

import hashlib
from pathlib import Path

from safetensors.torch import load_file, save

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.files import json_object, require_file, write_atomically, write_json
from diffad_lib.methods.method import find_method, method_of
from diffad_lib.networks.states import blamed_on, build_with, portable_state

DETECTOR_NAME, WEIGHTS_NAME = "detector.json", "detector.safetensors"
_RETIRED = {"noise_draws": 1}  # settings of earlier versions, with the value that is built now
_ADVICE = "name a folder with a saved run"


def save_detector(detector: Detector, folder: Path) -> None:
    """Write detector.safetensors and detector.json (method, settings, sha256 of the weights)."""
    weights = save(portable_state(detector))
    told = {
        "method": method_of(detector),
        "settings": detector.settings.model_dump(mode="json"),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_atomically(folder / WEIGHTS_NAME, lambda temporary: temporary.write_bytes(weights))
    write_json(folder / DETECTOR_NAME, told)


def load_detector(folder: Path) -> Detector:
    """What `save_detector` wrote, on the CPU, for evaluation; DiffadError names an unfit file.

    The sha256 is not compared if detector.json lacks it, as earlier versions wrote it.
    """
    told_path, path = folder / DETECTOR_NAME, folder / WEIGHTS_NAME
    told = json_object(told_path, _ADVICE)
    with blamed_on(told_path, "not a saved detector", "run again"):
        method, kept = find_method(told["method"]), told["settings"].items()
        settings = method.settings(**{k: v for k, v in kept if _RETIRED.get(k, ...) != v})
    require_file(path, _ADVICE)
    with blamed_on(path, "damaged", "train or copy it again"):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        state = load_file(path)
    if told.get("sha256", digest) != digest:
        raise DiffadError(
            f"{path}: damaged, or not the weights that {DETECTOR_NAME} was saved with (another "
            "sha256); train or copy both again"
        )
    return build_with(lambda: method.detector(settings), {"": (state, path)})
