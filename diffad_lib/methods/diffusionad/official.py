"""Checkpoints of HuiZhang0812/DiffusionAD: params-last.pt or params-best.pt."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffad_lib.errors import DiffadError, short_repr
from diffad_lib.files import write_torch
from diffad_lib.methods.diffusionad.detector import DiffusionAD
from diffad_lib.methods.diffusionad.settings import DiffusionADSettings
from diffad_lib.methods.method import OfficialFiles
from diffad_lib.networks.states import (
    added,
    blamed_on,
    build_with,
    first_width,
    portable_state,
    read_pickle,
)

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
    "attention_resolutions": (32, 16, 8),
    "groups": 32,
    "signed_range": False,
    "prediction": "eps",
}


def load_diffusionad(
    paths: Sequence[Path], changes: Mapping[str, Any] | None = None
) -> DiffusionAD:
    """DiffusionAD from an official `params-last.pt` or `params-best.pt`.

    Size, width and times come from the file's `args`; an absent one is as in args1.json. changes:
    other settings. Raises DiffadError that names a file which is missing, damaged or another.
    """
    (path,) = paths
    checkpoint = read_pickle(path)
    missing = {"unet_model_state_dict", "seg_model_state_dict", "args"}.difference(checkpoint)
    if missing:
        raise DiffadError(f"{path}: not a DiffusionAD checkpoint, it lacks {sorted(missing)}")
    denoising, segmentation = (checkpoint[f"{name}_model_state_dict"] for name in ("unet", "seg"))
    width = first_width(segmentation, "encoder_segment.block1.0.weight", path)
    with blamed_on(path, "its args describe no network known here"):
        told = {"segmentation_width": width, **_settings_from_args(checkpoint["args"])}
        settings = _as_the_budget_says(DiffusionADSettings(**added(changes, told)))
    weights = {"denoising": (denoising, path), "segmentation": (segmentation, path)}
    return build_with(lambda: DiffusionAD(settings), weights)


def export_diffusionad(detector: DiffusionAD, paths: Sequence[Path]) -> None:
    """Write what HuiZhang0812/DiffusionAD's eval.py loads; DiffadError if it cannot build it.

    It reads size, widths, heads, times, schedule and guidance from its args1.json, never from
    these `args`.
    """
    (path,) = paths
    settings = detector.settings
    for name, value in _OFFICIAL_FIXED.items():
        if (ours := getattr(settings, name)) != value:
            raise DiffadError(f"{path}: the official code cannot build {name} {ours}, only {value}")
    args = defaultdict(str, {key: getattr(settings, ours) for ours, key in _OFFICIAL_ARGS.items()})
    args["img_size"] = [settings.image_size] * 2
    args["channel_mults"] = list(settings.channel_multipliers or ()) or ""
    checkpoint = {
        "n_epoch": 0,
        "unet_model_state_dict": portable_state(detector.denoising),
        "seg_model_state_dict": portable_state(detector.segmentation),
        "args": args,
    }
    write_torch(path, checkpoint)


def _as_the_budget_says(settings: DiffusionADSettings) -> DiffusionADSettings:
    """The same network, with norm_groups None where that means the same."""
    plain = settings.but(norm_groups=None) if settings.base_width // 4 >= 32 else settings
    return plain if plain.groups == settings.groups else settings


def _settings_from_args(args: dict[str, Any]) -> dict[str, Any]:
    height, width = args["img_size"]
    if height != width:
        raise ValueError(f"img_size {short_repr(args['img_size'])} is not square")
    if args.get("num_head_channels", -1) != -1:
        raise ValueError(f"num_head_channels {short_repr(args['num_head_channels'])} is not -1")
    settings = {ours: args[key] for ours, key in _OFFICIAL_ARGS.items() if key in args}
    return settings | {
        "image_size": height,
        "channel_multipliers": args.get("channel_mults") or None,
        "norm_groups": _OFFICIAL_FIXED["groups"],
    }


OFFICIAL = OfficialFiles(("params-last.pt",), load_diffusionad, export_diffusionad)
