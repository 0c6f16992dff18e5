"""Weights of networks, and files from strangers that hold them."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffad_lib.errors import DiffadError

StateDict = dict[str, Tensor]


def portable_state(network: nn.Module) -> StateDict:
    """The state dict in the default memory format on the CPU, as every reader expects it."""
    return {name: value.cpu().contiguous() for name, value in network.state_dict().items()}


def load_state(network: nn.Module, state: StateDict, path: Path) -> None:
    """Put weights that were read from `path` into a network; DiffadError if they do not fit."""
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        problem = str(error).strip().splitlines()[-1].strip()
        raise DiffadError(f"{path}: does not fit the network: {problem}") from error


def read_pickle(path: Path) -> dict[str, Any]:
    """A dict that `torch.save` wrote, such as a state dict of an official repository.

    PyTorch's restricted unpickler builds tensors and plain containers only, so that a file from a
    stranger cannot run code. Raises DiffadError that names a file which is missing or damaged.
    """
    # The unpickler fills plain dicts only, so the name of the official defaultdict(str) stands
    # for a function that gives one.
    allowed: list[Any] = [(lambda factory: {}, "collections.defaultdict"), (str, "builtins.str")]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DiffadError(f"{path}: not found; check the path of the checkpoint") from None
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise DiffadError(
            f"{path}: damaged or not a plain PyTorch checkpoint; download or copy it again"
        ) from error
    if not isinstance(content, dict):
        raise DiffadError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def added(changes: Mapping[str, Any] | None, told: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a file told and others; DiffadError for one that would contradict the file."""
    if both := [key for key, value in (changes or {}).items() if told.get(key, value) != value]:
        raise DiffadError(f"{both[0]} is {told[both[0]]} in the file and cannot be set")
    return {**(changes or {}), **told}


def first_width(state: StateDict, key: str, path: Path) -> int:
    """Output channels of a layer of a state dict; DiffadError if the layer is not in it."""
    if key not in state:
        raise DiffadError(f"{path}: not the expected network, it lacks {key}")
    return len(state[key])
