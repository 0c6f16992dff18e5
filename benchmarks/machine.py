"""The machine that something is measured on."""

import platform
from pathlib import Path
from typing import Any

import torch

from diffad_lib.errors import DiffadError
from diffad_lib.runs.device import usable_gpus
from diffad_lib.runs.facts import computes_bf16, device_facts, git_state, package_versions


def machine(device: torch.device) -> dict[str, Any]:
    """All that times depend on: processor, device, threads, versions of code and packages."""
    return {
        "processor": _processor_name(),
        "bf16": computes_bf16(device),
        **device_facts(device),
        **git_state(),
        **package_versions(),
    }


def chosen_device(name: str) -> torch.device:
    """The device of this name, `auto` a GPU; DiffadError that says why there is no GPU."""
    if name != "auto":
        return torch.device(name)
    if usable_gpus():
        return torch.device("cuda")
    if torch.version.cuda is None and torch.version.hip is None:
        raise DiffadError(
            f"PyTorch {torch.__version__} is a build for the CPU; install the one for CUDA, as "
            "the section GPU of README.md says (--device cpu does without)"
        )
    raise DiffadError(
        f"PyTorch {torch.__version__} for CUDA {torch.version.cuda} finds no GPU: look whether "
        "nvidia-smi shows one, whether its driver is new enough, and at CUDA_VISIBLE_DEVICES"
    )


def _processor_name() -> str:
    """As Linux tells it, else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
