"""Detectors on disk: the official repositories' checkpoints, and our own format.

Official files are pickles. They are read with PyTorch's restricted unpickler, which builds
tensors and plain containers only, so that a file from a stranger cannot run code.
"""

import json
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from diffad_lib.detector import Detector
from diffad_lib.errors import DiffadError
from diffad_lib.files import write_atomically, write_json, write_torch
from diffad_lib.methods import DETECTORS, build_detector
from diffad_lib.methods.diffusionad.detector import DiffusionAD
from diffad_lib.methods.draem.detector import Draem

CONFIG_NAME, WEIGHTS_NAME = "detector.json", "detector.safetensors"

StateDict = dict[str, Tensor]

# Our setting -> the official key in `args`; an absent key has the value of args1.json.
_OFFICIAL_ARGS = {
    "base_width": "base_channels",
    "heads": "num_heads",
    "timesteps": "T",
    "beta_schedule": "beta_schedule",
    "less_t_range": "less_t_range",
    "test_normal_t": "eval_normal_t",
    "test_noisier_t": "eval_noisier_t",
    "guidance_weight": "condition_w",
}
# What the official code builds whatever its `args` say.
_OFFICIAL_FIXED = {
    "residual_blocks": 2,
    "attention_resolutions": [32, 16, 8],
    "norm_groups": 32,
    "signed_range": False,
    "prediction": "eps",
}


def load_draem(reconstructive: Path, discriminative: Path, image_size: int = 256) -> Draem:
    """DRAEM from the pair `NAME.pckl` and `NAME_seg.pckl`; widths are read from the shapes.

    The official networks expect BGR, because OpenCV read their images. The channels of their
    first and last convolutions are exchanged here, so that the detector takes and gives RGB like
    any other. Raises DiffadError that names a file which is missing, damaged or of another kind.
    """
    reconstruction_state, segmentation_state = _read(reconstructive), _read(discriminative)
    detector = Draem(
        image_size,
        base_width=_width(reconstruction_state, "encoder.block1.0.weight", reconstructive),
        segmentation_width=_width(
            segmentation_state, "encoder_segment.block1.0.weight", discriminative
        ),
    )
    for network, state, path in (
        (detector.reconstruction, reconstruction_state, reconstructive),
        (detector.segmentation, segmentation_state, discriminative),
    ):
        _load_into(network, state, path)
        network.load_state_dict(_swapped(network.state_dict()))
    return detector.eval()


def export_draem(detector: Draem, reconstructive: Path, discriminative: Path) -> None:
    """Write the pair of files that VitjanZ/DRAEM's test_DRAEM.py loads; they expect BGR again."""
    write_torch(reconstructive, _swapped(_portable_state(detector.reconstruction)))
    write_torch(discriminative, _swapped(_portable_state(detector.segmentation)))


def load_diffusionad(path: Path) -> DiffusionAD:
    """DiffusionAD from an official `params-last.pt` or `params-best.pt`.

    Size, width and times come from the file's `args`; an absent one is as in args1.json.
    Raises DiffadError that names a file which is missing, damaged or of another kind.
    """
    checkpoint = _read(path)
    missing = {"unet_model_state_dict", "seg_model_state_dict", "args"} - checkpoint.keys()
    if missing:
        raise DiffadError(f"{path}: not a DiffusionAD checkpoint, it lacks {sorted(missing)}")
    segmentation_state = checkpoint["seg_model_state_dict"]
    width = _width(segmentation_state, "encoder_segment.block1.0.weight", path)
    try:
        settings = _settings_from_args(checkpoint["args"])
        detector = DiffusionAD(segmentation_width=width, **settings)
    except (DiffadError, KeyError, TypeError, ValueError) as error:
        raise DiffadError(f"{path}: its args describe no network known here: {error}") from error
    _load_into(detector.denoising, checkpoint["unet_model_state_dict"], path)
    _load_into(detector.segmentation, segmentation_state, path)
    return detector.eval()


def export_diffusionad(detector: DiffusionAD, path: Path, epoch: int = 0) -> None:
    """Write the checkpoint that HuiZhang0812/DiffusionAD's eval.py loads.

    Raises DiffadError if the official code cannot build such a network.
    """
    settings = detector.settings
    actual = settings | {"norm_groups": detector.denoising.norm_groups}
    for name, value in _OFFICIAL_FIXED.items():
        if actual[name] != value:
            raise DiffadError(
                f"{path}: the official code cannot build {name} {actual[name]}, only {value}"
            )
    args = defaultdict(str, {key: settings[ours] for ours, key in _OFFICIAL_ARGS.items()})
    args["img_size"] = [settings["image_size"]] * 2
    args["channel_mults"] = settings["channel_multipliers"] or ""
    checkpoint = {
        "n_epoch": epoch,
        "unet_model_state_dict": _portable_state(detector.denoising),
        "seg_model_state_dict": _portable_state(detector.segmentation),
        "args": args,
    }
    write_torch(path, checkpoint)


def save_detector(detector: Detector, folder: Path) -> None:
    """Write detector.safetensors (weights) and detector.json (method and settings) atomically."""
    method = next(name for name, kind in DETECTORS.items() if type(detector) is kind)
    state = _portable_state(detector)
    write_atomically(folder / WEIGHTS_NAME, lambda temporary: temporary.write_bytes(save(state)))
    write_json(folder / CONFIG_NAME, {"method": method, "settings": detector.settings})


def load_detector(folder: Path) -> Detector:
    """A detector that `save_detector` wrote, on the CPU, in evaluation mode.

    Raises DiffadError that names the file which is missing, damaged or does not fit.
    """
    config_path, weights_path = folder / CONFIG_NAME, folder / WEIGHTS_NAME
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        detector = build_detector(config["method"], config["settings"])
    except FileNotFoundError:
        raise DiffadError(f"{config_path}: not found; name a folder with a saved run") from None
    except (ValueError, KeyError, TypeError, DiffadError) as error:
        raise DiffadError(f"{config_path}: not a saved detector ({error}); run again") from error
    try:
        state = load_file(weights_path)
    except FileNotFoundError:
        raise DiffadError(f"{weights_path}: not found; name a folder with a saved run") from None
    except SafetensorError as error:
        raise DiffadError(f"{weights_path}: damaged ({error}); train or copy it again") from error
    _load_into(detector, state, weights_path)
    return detector.eval()


def _read(path: Path) -> dict[str, Any]:
    # The official `args` is a defaultdict(str). The restricted unpickler fills plain dicts only,
    # so the name stands for a function that gives one.
    allowed = [(lambda factory: {}, "collections.defaultdict"), (str, "builtins.str")]
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


def _settings_from_args(args: dict[str, Any]) -> dict[str, Any]:
    height, width = args["img_size"]
    if height != width:
        raise ValueError(f"img_size {args['img_size']} is not square")
    if args.get("num_head_channels", -1) != -1:
        raise ValueError(f"num_head_channels {args['num_head_channels']} is not -1")
    settings = {ours: args[key] for ours, key in _OFFICIAL_ARGS.items() if key in args}
    return settings | {
        "image_size": height,
        "channel_multipliers": args.get("channel_mults") or None,
        "norm_groups": _OFFICIAL_FIXED["norm_groups"],
    }


def _width(state: StateDict, key: str, path: Path) -> int:
    if key not in state:
        raise DiffadError(f"{path}: not the expected network, it lacks {key}")
    return len(state[key])


def _load_into(network: nn.Module, state: StateDict, path: Path) -> None:
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        problem = str(error).strip().splitlines()[-1].strip()
        raise DiffadError(f"{path}: does not fit the network: {problem}") from error


def _portable_state(network: nn.Module) -> StateDict:
    """The state dict in the default memory format on the CPU, as every reader expects it."""
    return {name: value.cpu().contiguous() for name, value in network.state_dict().items()}


def _swapped(state: StateDict) -> StateDict:
    """DRAEM weights with red and blue exchanged; applied twice, the same weights again."""
    swapped = dict(state)
    for name, value in state.items():
        if name == "encoder.block1.0.weight":
            swapped[name] = value.flip(1)  # [width,3,3,3]
        elif name == "encoder_segment.block1.0.weight":
            swapped[name] = value.unflatten(1, (2, 3)).flip(2).flatten(1, 2)  # [width,6,3,3]
        elif name.startswith("decoder.fin_out."):
            swapped[name] = value.flip(0)  # [3,width,3,3] and [3]
    return swapped
