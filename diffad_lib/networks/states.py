"""Weights of networks, and files from strangers that hold them."""

import contextlib
import io
import mmap
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch
from torch import Tensor, nn

from diffad_lib.errors import DiffadError, one_line, short_repr
from diffad_lib.files import require_file

StateDict = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)

# What a checkpoint names: plain containers and tensors. PyTorch's own list has more on it, such as
# bytearray, Tensor and hex codes, which take as much memory as a number in the file says.
_NAMES = re.compile(
    r"collections (OrderedDict|defaultdict)|(__builtin__|builtins) (str|unicode)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter)|torch \w+Storage"
)


def portable_state(network: nn.Module) -> StateDict:
    """The state dict in the default memory format on the CPU, as every reader expects it."""
    return {name: value.cpu().contiguous() for name, value in network.state_dict().items()}


def build_with(
    build: Callable[[], Network], weights: Mapping[str, tuple[StateDict, Path]]
) -> Network:
    """A network whose parts hold weights that were read from files, in evaluation mode.

    weights: by the attribute that is the part; "" is the whole. Names and shapes are compared on
    the meta device before the network is built, so it is never larger than the files that were
    read. DiffadError names a file that does not fit.
    """
    with torch.device("meta"):
        plan = build()
    for part, (state, path) in weights.items():
        _check_fit(plan.get_submodule(part), state, path)
    network = build()
    for part, (state, path) in weights.items():
        with blamed_on(path, "does not fit the network"):
            network.get_submodule(part).load_state_dict(state)
    return network.eval()


def _check_fit(plan: nn.Module, state: StateDict, path: Path) -> None:
    """DiffadError unless a state dict is that of a network on the meta device, which it changes."""
    own = plan.state_dict()
    with blamed_on(path, "does not fit the network"):
        plan.load_state_dict(state, assign=True)
        for name, value in plan.state_dict().items():
            if value.is_floating_point() != own[name].is_floating_point():
                raise ValueError(f"{name} is {value.dtype}")
        if sum(value.nbytes for value in plan.state_dict().values()) > path.stat().st_size:
            raise ValueError("its weights are repeated from fewer numbers")


def read_pickle(path: Path) -> dict[str, Any]:
    """A dict that `torch.save` wrote, such as a state dict of an official repository.

    Raises DiffadError that names a file which is missing, damaged or no dict; else `load_pickle`.
    """
    require_file(path, "check the path of the checkpoint")
    try:
        content = load_pickle(path)
    except (DiffadError, MemoryError):
        raise
    except Exception as error:  # what torch says here advises to run the code in the file
        raise DiffadError(
            f"{path}: damaged or not a plain PyTorch checkpoint; download or copy it again"
        ) from error
    if not isinstance(content, dict):
        raise DiffadError(f"{path}: holds a {type(content).__name__}, not a checkpoint")
    return content


def load_pickle(path: Path, device: torch.device | str = "cpu") -> Any:
    """What `torch.save` wrote, its tensors on `device`; many types of error if it is damaged.

    PyTorch's restricted unpickler builds tensors and plain containers only, so that a file from a
    stranger cannot run code. A changed byte, which PyTorch would take, is refused first, and what
    would need more memory than the file has bytes: packed members of a zip, and (DiffadError) a
    name that a checkpoint does without. A file in the format before PyTorch 1.6 has no checksum;
    if it lies about its length, PyTorch reserves that much, but does not use it.
    """
    with path.open("rb") as file:
        _check_content(file, path)
    # The unpickler fills plain dicts only, so the name of the official defaultdict(str) stands
    # for a function that gives one.
    allowed: list[Any] = [(lambda *_: {}, "collections.defaultdict"), (_nothing, "builtins.str")]
    with torch.serialization.safe_globals(allowed):
        return torch.load(path, map_location=device, weights_only=True)


def _check_content(file: BinaryIO, path: Path) -> None:
    if file.read(4) == b"PK\x03\x04":  # as torch.load tells the two formats apart
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > path.stat().st_size:
                raise zipfile.BadZipFile("its members are larger than the file")
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(damaged)
            for member in members:
                if member.filename.endswith(".pkl"):
                    _check_names(io.BytesIO(archive.read(member)), path)
    else:  # magic number, version, system, content, keys; then numbers
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pickles:
            for _ in range(5):
                _check_names(pickles, path)


def _check_names(pickle: Any, path: Path) -> None:
    for opcode, name, _ in pickletools.genops(pickle):
        if opcode.name == "GLOBAL" and not _NAMES.fullmatch(str(name)):
            raise DiffadError(
                f"{path}: damaged or not a plain PyTorch checkpoint, as it names "
                f"{short_repr(name)}; download or copy it again"
            )


def _nothing(*_: object) -> str:
    """Stands for str, which could be told to spell out something endless."""
    return ""


@contextlib.contextmanager
def blamed_on(
    path: Path, problem: str, advice: str = "name another file or copy it again"
) -> Iterator[None]:
    """Tell whatever goes wrong in the block, by what a file holds, as one line on that file."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # a stranger's file can hold anything in the place of anything
        raise DiffadError(f"{path}: {problem} ({one_line(error)}); {advice}") from error


def added(changes: Mapping[str, Any] | None, told: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that a file told and others; DiffadError for one that would contradict the file."""
    if both := [key for key, value in (changes or {}).items() if told.get(key, value) != value]:
        raise DiffadError(f"{both[0]} is {short_repr(told[both[0]])} in the file and cannot be set")
    return {**(changes or {}), **told}


def first_width(state: Any, key: str, path: Path) -> int:
    """Output channels of a convolution of a state dict; DiffadError if it is not in it."""
    weight = state[key] if isinstance(state, dict) and key in state else None
    if not isinstance(weight, Tensor) or weight.ndim != 4:
        raise DiffadError(f"{path}: not the expected network, it lacks {key}")
    return len(weight)
