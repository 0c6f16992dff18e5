"""A detector on disk in our own format: its method, its settings and its weights."""

import hashlib
import sys
from pathlib import Path

from safetensors.torch import load_file, save

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError, shown
from diffad_lib.files import json_object, require_file, sha256_of, write_atomically, write_json
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

    Also as `check_weights`.
    """
    told_path, path = folder / DETECTOR_NAME, folder / WEIGHTS_NAME
    told = json_object(told_path, _ADVICE)
    with blamed_on(told_path, "not a saved detector", "run again"):
        method, kept = find_method(told["method"]), told["settings"].items()
        settings = method.settings(**{k: v for k, v in kept if _RETIRED.get(k, ...) != v})
    check_weights(folder)
    with blamed_on(path, "damaged", "train or copy it again"):
        state = load_file(path)
    return build_with(lambda: method.detector(settings), {"": (state, path)})


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
