"""The record of a run: what ran, with what, and what came out."""

import json
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from diffad_lib.errors import DiffadError
from diffad_lib.runs.config import RunConfig

RECORD_NAME = "record.json"
CONFIG_NAME = "config.json"  # beside the checkpoint of a run that is not finished
METRICS = {  # in the tables of runs: name in the record, heading
    "image_auroc": "image AUROC",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
}
_NEEDED = {  # by the tables of runs
    "config": ("dataset", "category", "method"),
    "metrics": tuple(METRICS),
    "seconds": ("train", "total"),
}
_PACKAGES = (
    "torch",
    "lightning-fabric",
    "kornia",
    "numpy",
    "opencv-python-headless",
    "safetensors",
    "papermill",
)


def read_record(path: Path) -> dict[str, Any]:
    """A run's record; raises DiffadError when the file is missing or damaged."""
    record = _read_json(path)
    parts = {part: record.get(part) for part in _NEEDED}
    absent = [part for part, content in parts.items() if not isinstance(content, dict)] or [
        f"{part}.{key}" for part, keys in _NEEDED.items() for key in keys if key not in parts[part]
    ]
    if absent:
        raise DiffadError(f"{path}: lacks {absent[0]}; delete it to run again")
    return record


def settings(config: RunConfig) -> dict[str, Any]:
    """Every effective parameter, as JSON; folders are absolute, as they tell one run's from
    another's wherever it is started."""
    folders = {
        name: str(path.absolute()) if (path := getattr(config, name)) is not None else None
        for name in ("data_root", "textures", "runs_dir")
    }
    return config.model_dump(mode="json") | folders


def check_same_settings(config: RunConfig) -> None:
    """Raise DiffadError that names the key if the run folder holds a run with other settings.

    The folder's name tells most settings, but not where the data lie or the preset's numbers.
    """
    folder = config.run_folder
    if (folder / RECORD_NAME).exists():
        held = read_record(folder / RECORD_NAME)["config"]
    elif (folder / CONFIG_NAME).exists():
        held = _read_json(folder / CONFIG_NAME)
    else:
        return
    for key, value in settings(config).items():
        if key != "runs_dir" and held.get(key) != value:
            raise DiffadError(
                f"{folder}: holds a run with another {key} ({held.get(key)!r}, now {value!r}); "
                "move it away or choose another --runs-dir"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DiffadError(f"{path}: cannot be read ({error}); delete it to run again") from None
    if not isinstance(content, dict):
        raise DiffadError(f"{path}: holds no JSON object; delete it to run again")
    return content


def project_root() -> Path:
    """The checkout: the folder that holds diffad_lib/ and notebooks/."""
    return Path(__file__).resolve().parents[2]


def git_state() -> dict[str, Any]:
    """Commit of the checkout and whether files differ from it; None where there is no git."""
    try:
        commit = _git("rev-parse", "HEAD")
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": dirty}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(project_root()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def device_facts(device: torch.device) -> dict[str, Any]:
    """Name and size of what the run was computed on."""
    facts: dict[str, Any] = {
        "type": device.type,
        "platform": platform.platform(terse=True),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {"name": properties.name, "memory_bytes": properties.total_memory}
    return facts


def peak_memory(device: torch.device) -> dict[str, int | None]:
    """Peak resident bytes of this process, and peak bytes allocated on a CUDA device."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"host_bytes": host, "device_bytes": on_device}
