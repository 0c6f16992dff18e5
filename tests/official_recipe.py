"""Weights and inputs by formula: the same numbers wherever they are made, and no byte to store.

tests/reference/README.md tells what the official code computed from them.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor, nn

GAIN = 0.5
"""Standard deviation of a weight, in units of 1/√fan_in. Small, so that the norms' eps counts."""


def numbers(name: str, *shape: int) -> Tensor:
    """float32 numbers in [-1, 1), spread evenly, that depend on `name` and position alone.

    The mix of bits is SplitMix64 (Steele, Lea and Flood 2014) of crc32(name) 2^32 + index.
    """
    index = np.arange(math.prod(shape), dtype=np.uint64)
    x = index + np.uint64(zlib.crc32(name.encode()) << 32)
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2^64, as all below
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    values = (x >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)
    return torch.from_numpy(values).reshape(shape)


def noise(name: str, *shape: int) -> Tensor:
    """Like `numbers`, with variance 1."""
    return math.sqrt(3) * numbers(name, *shape)


def images(name: str, *shape: int) -> Tensor:
    """Like `numbers`, in [0, 1)."""
    return (numbers(name, *shape) + 1) / 2


def fill(network: nn.Module, prefix: str) -> None:
    """Give every entry of the state dict its numbers, by `prefix` and name; then evaluation mode.

    Weights of norms 1 ± 0.3, biases and running means ± 0.2, running variances 0.13 ± 0.1.
    """
    for name, value in network.state_dict().items():
        if not value.is_floating_point():  # num_batches_tracked
            continue
        filling = numbers(f"{prefix}.{name}", *value.shape)
        if name.endswith("running_var"):
            filling = 0.13 + 0.1 * filling
        elif name.endswith("bias") or name.endswith("running_mean"):
            filling = 0.2 * filling
        elif value.ndim == 1:
            filling = 1 + 0.3 * filling
        else:
            filling = GAIN * math.sqrt(3 / math.prod(value.shape[1:])) * filling
        value.copy_(filling)
    network.eval()
