"""The smallest detector of every method, and short runs."""

import torch

from diffad_lib.detector import Detector
from diffad_lib.methods.method import find_method
from diffad_lib.runs import experiment as ex
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.record import Record, read_record

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


def run_here(config: RunConfig) -> Record:
    """The cells of notebook 08 that compute, without a process of its own and without a break."""
    run = ex.prepare(config)
    training = ex.train_experiment(run)
    predictions, metrics = ex.evaluate_experiment(run)
    path = ex.finish(run, training, predictions, metrics, ex.swap_experiment(run), 1.0)
    return read_record(path)


def assert_same_weights(first: Detector, second: Detector) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
