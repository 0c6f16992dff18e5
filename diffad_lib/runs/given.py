"""Runs that evaluate given weights, such as official checkpoints, and train nothing."""

import json
import shlex
from pathlib import Path

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.files import sha256_of
from diffad_lib.methods.method import find_method
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.record import GivenWeights, Record
from diffad_lib.weights import WEIGHTS_NAME, check_weights, load_detector, read_saved

_USED = {"device", "precision"}  # of the training section, by an evaluation too


def check_given(config: RunConfig) -> None:
    """DiffadError unless the weights of a configuration, if it has any, are of its detector.

    Also for a setting of the training that was changed: it would have no effect.
    """
    if config.weights is not None:
        _check_settings(config, config.weights)
        check_weights(config.weights)


def _check_settings(config: RunConfig, folder: Path) -> None:
    saved = read_saved(folder)
    if saved.method != config.method:
        told = f"holds weights of method {saved.method}"
        raise DiffadError(f"{folder}: {told}; give --method {saved.method}")
    fields = type(config.detector).model_fields
    pairs = {key: (getattr(saved.settings, key), getattr(config.detector, key)) for key in fields}
    differ = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if differ:
        told = ", ".join(f"{key} {theirs} (not {ours})" for key, (theirs, ours) in differ.items())
        mended = " ".join(f"--set {key}={_literal(theirs)}" for key, (theirs, _) in differ.items())
        raise DiffadError(f"{folder}: is a detector with {told}; add {mended}")
    planned = find_method(config.method).budget(config.budget).training
    for key, value in config.training:
        if key not in _USED and value != getattr(planned, key):
            raise DiffadError(f"{key} has no effect on weights that are not trained; leave it out")


def given_detector(config: RunConfig, folder: Path) -> Detector:
    """The detector in a folder; DiffadError as `check_given`."""
    _check_settings(config, folder)
    return load_detector(folder)  # which compares the weights with their digest


def given_weights(config: RunConfig) -> GivenWeights | None:
    """What a record tells of the weights of a configuration; None if it trains its own."""
    if config.weights is None:
        return None
    saved = read_saved(config.weights)
    digest = saved.sha256 or sha256_of(config.weights / WEIGHTS_NAME)
    return GivenWeights(sha256=digest, official=dict(saved.official))


def check_same_weights(config: RunConfig, record: Record) -> None:
    """DiffadError if the weights of a configuration are others than those that a run evaluated."""
    now, held = given_weights(config), record.weights
    if now != held:
        raise DiffadError(
            f"{config.weights}: holds other weights than the finished run evaluated; run it anew "
            "with --again"
        )


def _literal(value: object) -> str:
    """A value as a shell passes it to `--set`."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return shlex.quote(text)
