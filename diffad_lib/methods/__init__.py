"""Networks and the three detectors behind one interface."""

from collections.abc import Mapping
from typing import Any

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.methods.autoencoder import Autoencoder
from diffad_lib.methods.diffusionad.detector import DiffusionAD
from diffad_lib.methods.draem.detector import Draem

DETECTORS: dict[str, type[Autoencoder] | type[Draem] | type[DiffusionAD]] = {
    "autoencoder": Autoencoder,
    "draem": Draem,
    "diffusionad": DiffusionAD,
}
"""The detectors by the name of their method."""


def build_detector(method: str, settings: Mapping[str, Any]) -> Detector:
    """A detector with fresh weights: the method's class called with `settings`.

    The weights come from PyTorch's global generator: call `torch.manual_seed` first.
    Raises DiffadError for an unknown method or setting.
    """
    if method not in DETECTORS:
        raise DiffadError(f'method "{method}" is not known; use one of {", ".join(DETECTORS)}')
    try:
        return DETECTORS[method](**settings)
    except TypeError as error:
        raise DiffadError(f'settings of method "{method}" do not fit: {error}') from None
