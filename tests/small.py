"""The smallest detector of every method."""

import torch

from diffad_lib.detector import Detector
from diffad_lib.methods.method import find_method

SMALL = {
    "autoencoder": {"image_size": 32, "base_width": 4, "bottleneck": 3},
    "draem": {"image_size": 32, "base_width": 4, "segmentation_width": 4},
    "diffusionad": {
        "image_size": 32,
        "base_width": 8,
        "segmentation_width": 4,
        "channel_multipliers": (1, 2),
        "residual_blocks": 1,
        "attention_resolutions": (8,),
    },
}


# Settings of a short run; with KILLABLE_STEPS it can be killed in between.
SHORT_RUN = {
    "image_size": 32,
    "base_width": 8,
    "batch_size": 2,
    "bootstrap_samples": 20,
    "checkpoint_seconds": 0,
    "device": "cpu",
    "precision": "32",
}
KILLABLE_STEPS = 200  # of the autoencoder


def small_detector(name: str, **settings) -> Detector:
    torch.manual_seed(0)
    method = find_method(name)
    return method.detector(method.settings(**SMALL.get(name, {"image_size": 32}) | settings)).eval()


def assert_same_weights(first: Detector, second: Detector) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
