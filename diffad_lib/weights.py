"""A detector on disk in our own format: its method, its settings and its weights."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.files import write_atomically, write_json
from diffad_lib.methods.method import find_method, method_of
from diffad_lib.networks.states import load_state, portable_state

DETECTOR_NAME, WEIGHTS_NAME = "detector.json", "detector.safetensors"
_RETIRED = {"noise_draws": 1}  # settings of earlier versions, with the value that is built now


def save_detector(detector: Detector, folder: Path) -> None:
    """Write detector.safetensors (weights) and detector.json (method, settings) atomically."""
    told = {"method": method_of(detector), "settings": detector.settings.model_dump(mode="json")}
    state = portable_state(detector)
    write_atomically(folder / WEIGHTS_NAME, lambda temporary: temporary.write_bytes(save(state)))
    write_json(folder / DETECTOR_NAME, told)


def load_detector(folder: Path) -> Detector:
    """What `save_detector` wrote, on the CPU, for evaluation; DiffadError names an unfit file."""
    told_path, weights_path = folder / DETECTOR_NAME, folder / WEIGHTS_NAME
    try:
        told = json.loads(told_path.read_text(encoding="utf-8"))
        method = find_method(told["method"])
        settings = told["settings"].items()
        kept = {key: value for key, value in settings if _RETIRED.get(key, ...) != value}
        detector = method.detector(method.settings(**kept))
    except FileNotFoundError:
        raise DiffadError(f"{told_path}: not found; name a folder with a saved run") from None
    except (ValueError, KeyError, TypeError, AttributeError, DiffadError) as error:
        raise DiffadError(f"{told_path}: not a saved detector ({error}); run again") from error
    try:
        state = load_file(weights_path)
    except FileNotFoundError:
        raise DiffadError(f"{weights_path}: not found; name a folder with a saved run") from None
    except SafetensorError as error:
        raise DiffadError(f"{weights_path}: damaged ({error}); train or copy it again") from error
    load_state(detector, state, weights_path)
    return detector.eval()
