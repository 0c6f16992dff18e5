"""Checkpoints of VitjanZ/DRAEM: the pair NAME.pckl and NAME_seg.pckl."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from diffad_lib.files import write_torch
from diffad_lib.methods.draem.detector import Draem
from diffad_lib.methods.draem.settings import DraemSettings
from diffad_lib.methods.method import OfficialFiles
from diffad_lib.networks.states import (
    added,
    blamed_on,
    build_with,
    first_width,
    portable_state,
    read_pickle,
)

# Names of the first convolutions of the two networks.
_FIRST, _HEAD_FIRST = "encoder.block1.0.weight", "encoder_segment.block1.0.weight"


def load_draem(paths: Sequence[Path], changes: Mapping[str, Any] | None = None) -> Draem:
    """DRAEM from its two official files; widths are read from the shapes, `changes` are the rest.

    The official networks expect BGR, because OpenCV read their images. The channels of their
    first and last convolutions are exchanged here, so that the detector takes and gives RGB like
    any other. Raises DiffadError that names a file which is missing, damaged or of another kind.
    """
    reconstructive, discriminative = paths
    states = read_pickle(reconstructive), read_pickle(discriminative)
    base = first_width(states[0], _FIRST, reconstructive)
    head = first_width(states[1], _HEAD_FIRST, discriminative)
    widths = {"base_width": base, "segmentation_width": head}
    with blamed_on(reconstructive, f"with {discriminative.name}, no network known here"):
        told = DraemSettings(**widths)
    settings = told.but(**added(changes, widths))
    weights = {
        "reconstruction": (states[0], reconstructive),
        "segmentation": (states[1], discriminative),
    }
    detector = build_with(lambda: Draem(settings), weights)
    for network in (detector.reconstruction, detector.segmentation):
        network.load_state_dict(_swapped(network.state_dict()))
    return detector


def export_draem(detector: Draem, paths: Sequence[Path]) -> None:
    """Write the pair of files that VitjanZ/DRAEM's test_DRAEM.py loads; they expect BGR again."""
    networks = detector.reconstruction, detector.segmentation
    for network, path in zip(networks, paths, strict=True):
        write_torch(path, _swapped(portable_state(network)))


def _swapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with red and blue exchanged; applied twice, the same weights again."""
    swapped = dict(state)
    for name, value in state.items():
        if name == _FIRST:
            swapped[name] = value.flip(1)  # [width,3,3,3]
        elif name == _HEAD_FIRST:
            swapped[name] = value.unflatten(1, (2, 3)).flip(2).flatten(1, 2)  # [width,6,3,3]
        elif name.startswith("decoder.fin_out."):
            swapped[name] = value.flip(0)  # [3,width,3,3] and [3]
    return swapped


OFFICIAL = OfficialFiles(("NAME.pckl", "NAME_seg.pckl"), load_draem, export_draem)
