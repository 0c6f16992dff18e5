"""What a run was computed with: code, packages, device, memory."""

import contextlib
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_NEW_MODULES = ("ls-files", "--others", "--exclude-standard", "--", "diffad_lib/*.py")
_PACKAGES = "lightning-fabric kornia numpy opencv-python-headless safetensors papermill"


def project_root() -> Path:
    """The checkout: the folder that holds diffad_lib/ and notebooks/."""
    return Path(__file__).resolve().parents[2]


def import_path() -> str:
    """PYTHONPATH of a process that this one starts: it imports this checkout and no other one."""
    given = os.environ.get("PYTHONPATH")
    place = Path(__file__).absolute().parents[2]  # links are left as they are: so it was imported
    return os.pathsep.join([str(place), *([given] if given else [])])


def git_state() -> dict[str, Any]:
    """Commit of the checkout and whether files differ from it; None where there is no git.

    Of files that git does not know only the modules of diffad_lib count.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no") or _git(*_NEW_MODULES))
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": dirty}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(project_root()), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def package_versions() -> dict[str, str]:
    """Versions of Python and of those packages that decide the numbers and are installed."""
    # PyTorch's own word: the CUDA build of PyPI has no "+cu130" in its metadata.
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for name in _PACKAGES.split():
        with contextlib.suppress(PackageNotFoundError):  # a GPU machine may lack papermill
            versions[name] = version(name)
    return versions


def device_facts(device: torch.device) -> dict[str, Any]:
    """Name and size of what the run was computed on."""
    facts: dict[str, Any] = {
        "type": device.type,
        "platform": platform.platform(terse=True),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {"name": properties.name, "memory_bytes": properties.total_memory}
    return facts


def conditions(device: torch.device, precision: str) -> dict[str, Any]:
    """All that may change the last digits of what a configuration gives on the same data."""
    told = device_facts(device)
    machine = {key: told[key] for key in ("threads", "instructions")}
    machine |= {"device": told.get("name", device.type), "precision": precision}
    return machine | git_state() | package_versions()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What both tell and tell otherwise, each for a person: `threads 2, now 1`."""
    return [
        f"{key} {before[key]}, now {value}"
        for key, value in now.items()
        if key in before and before[key] != value
    ]


def peak_memory(device: torch.device) -> dict[str, int | None]:
    """Peak resident bytes of this process or of the largest that it started, and peak bytes that
    this process allocated on a CUDA device."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    host = max(resource.getrusage(who).ru_maxrss for who in whose) * unit
    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"host_bytes": host, "device_bytes": on_device}


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware computes in bf16, so that mixed precision is faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    queries = (getattr(torch.cpu, name, None) for name in _CPU_HAS_BF16)
    return device.type == "cpu" and any(query() for query in queries if query)


# PyTorch has no public name for these two; without them a CPU is taken for one without bf16.
_CPU_HAS_BF16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
