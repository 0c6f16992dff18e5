"""What a run may compute on: which devices are here and can be used, and how many cores."""

import contextlib
import os
from collections.abc import Iterator

import torch

from diffad_lib.errors import DiffadError
from diffad_lib.runs.config import RunConfig


def check_device(config: RunConfig) -> str:
    """The kind of device of a run: "cuda", "mps" or "cpu".

    DiffadError if the machine lacks the devices that the configuration names.
    """
    plan = config.training
    gpus = usable_gpus() if plan.device in ("auto", "cuda") else 0
    count = {"cuda": gpus, "mps": int(torch.backends.mps.is_available())}
    if not count.get(plan.device, True):
        raise DiffadError(f"device: PyTorch finds no {plan.device} here; set device=auto")
    best = next((name for name in count if count[name]), "cpu")
    device = best if plan.device == "auto" else plan.device
    if plan.devices > count.get(device, plan.devices):
        raise DiffadError(
            f"devices: PyTorch finds {count[device]} {device} here, not {plan.devices}; give "
            f"--devices {count[device]}, or set device=cpu"
        )
    return device


@contextlib.contextmanager
def denormals_as_zero() -> Iterator[None]:
    """This thread takes denormal numbers for 0, and so do those that it starts meanwhile.

    With them a CPU computes many times slower.
    """
    before = flushes_denormals()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def flushes_denormals() -> bool:
    """Whether this thread takes denormal numbers for 0; PyTorch sets that, but does not tell it."""
    return (torch.tensor(1e-39) * 2).item() == 0


def cores() -> int:
    """Those that this process may use: fewer than the machine has in a SLURM job."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_gpus() -> int:
    """GPUs that CUDA can use; none where the driver is too old for this PyTorch.

    From then on PyTorch asks CUDA in this process, and not NVML, which counts the cards whatever
    CUDA can do with them; Fabric, when it is imported, says the opposite.
    """
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
