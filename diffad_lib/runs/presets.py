"""The numbers of the three budgets, and the named departures from them (variants)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from diffad_lib.errors import DiffadError, nearest

# `paper`: methods.md of the project brief, DRAEM section 4 and DiffusionAD section 4 (papers).
# `laptop`, `mini`: chosen on held-out normal images with synthetic anomalies (docs/recipes.md).
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {
        "autoencoder": {
            "epochs": 700,
            "base_width": 64,
            "anomaly_probability": 0.0,  # it reads the normal images only
            "channels_last": True,
        },
        "draem": {
            "epochs": 700,
            "lr_schedule": "paper-steps",
            "rotation_degrees": 45,
            "rotation_probability": 1.0,
            "channels_last": True,
        },
        "diffusionad": {
            "epochs": 3000,
            "batch_size": 16,
            "segmentation_learning_rate": 1e-5,
            "segmentation_lr_schedule": "cosine-10",
            "beta_min": 0.2,
            "foreground": "auto",
            "self_augmentation_probability": 0.5,
            "channels_last": True,
        },
    },
    "laptop": {
        "autoencoder": {
            "steps": 1500,
            "image_size": 128,
            "base_width": 32,
            "learning_rate": 1e-3,
            "lr_schedule": "cosine",
            "precision": "auto",
            "channels_last": True,
            "anomaly_probability": 0.0,
            "lighting": 0.1,
            "score_window": 11,
        },
        "draem": {
            "steps": 3000,
            "batch_size": 4,
            "image_size": 128,
            "base_width": 16,
            "segmentation_width": 16,
            "learning_rate": 1e-3,
            "lr_schedule": "cosine",
            "warmup_fraction": 0.05,
            "foreground": "auto",
            "lighting": 0.2,
            "score_window": 7,
            "precision": "auto",
            "channels_last": True,
        },
        "diffusionad": {
            "steps": 3000,
            "batch_size": 4,
            "image_size": 64,
            "base_width": 8,
            "segmentation_width": 16,
            "channel_multipliers": (1, 2, 4, 8),
            "residual_blocks": 1,
            "attention_resolutions": (8,),
            "learning_rate": 2e-3,
            "segmentation_learning_rate": 3e-3,
            "lr_schedule": "cosine",
            "warmup_fraction": 0.05,
            "signed_range": True,
            "prediction": "x0",
            "score_pixels": 3,
            "beta_min": 0.2,
            "foreground": "auto",
            "self_augmentation_probability": 0.5,
            "lighting": 0.1,
            "precision": "auto",
            "channels_last": True,
        },
    },
}
# The mini budget is the laptop budget, smaller; 32-bit, so that figures repeat on other CPUs.
_MINI = {"image_size": 64, "precision": "32", "bootstrap_samples": 200}
PRESETS["mini"] = {
    "autoencoder": PRESETS["laptop"]["autoencoder"] | _MINI | {"steps": 150, "score_window": 5},
    "draem": PRESETS["laptop"]["draem"]
    | _MINI
    | {
        "steps": 400,
        "batch_size": 8,
        "lighting": 0.1,
        "score_window": 5,
        "anomaly_probability": 1.0,
    },
    "diffusionad": PRESETS["laptop"]["diffusionad"] | _MINI | {"steps": 500},
}


@dataclass(frozen=True)
class Variant:
    """A named departure: one sentence, its source, and the settings it changes by method."""

    sentence: str
    source: str
    settings: dict[str, dict[str, Any]]


VARIANTS: dict[str, Variant] = {
    "code-rotation": Variant(
        "Rotate normal training images by up to ±90° with probability 0.3.",
        "VitjanZ/DRAEM data_loader.py; paper section 4: ±45°",
        {"draem": {"rotation_degrees": 90, "rotation_probability": 0.3}},
    ),
    "code-lr": Variant(
        "Multiply the learning rate by 0.2 after 80 % and 90 % of the epochs.",
        "VitjanZ/DRAEM train_DRAEM.py; paper section 4: ×0.1 after epochs 400 and 600",
        {"draem": {"lr_schedule": "code-steps"}},
    ),
    "select-on-test": Variant(
        "Keep the weights with the best test image + pixel AUROC, looked at every 50 epochs. "
        "This leaks the test set: only for comparison with published figures.",
        "HuiZhang0812/DiffusionAD train.py",
        {"diffusionad": {"select_on_test_epochs": 50}},
    ),
    "signed-range": Variant(
        "Feed images in [-1, 1], the range to which x̂_0 is clamped.",
        "Ho et al. 2020; the official DiffusionAD code feeds [0, 1]",
        {"diffusionad": {"signed_range": True}},
    ),
    "with-foreground": Variant(
        "Keep DRAEM's synthetic anomalies on the foreground of the object.",
        "DiffusionAD section 3.3, applied to DRAEM",
        {"draem": {"foreground": "auto"}},
    ),
}
# The bundle: every departure of the official code from the paper, for the method that runs.
_OFFICIAL_CODE = {"draem": ("code-rotation", "code-lr"), "diffusionad": ("select-on-test",)}


def variant_overrides(variants: Iterable[str], method: str) -> dict[str, Any]:
    """Settings that the named variants change for a method.

    Raises DiffadError for an unknown variant or one that does not concern the method.
    """
    settings: dict[str, Any] = {}
    for name in variants:
        if name == "official-code":
            if method not in _OFFICIAL_CODE:
                raise DiffadError(f'--variant "official-code": no official code of {method} exists')
            settings |= variant_overrides(_OFFICIAL_CODE[method], method)
            continue
        if name not in VARIANTS:
            raise DiffadError(
                f'--variant "{name}" is not known; {nearest(name, [*VARIANTS, "official-code"])}'
            )
        if method not in VARIANTS[name].settings:
            raise DiffadError(f'--variant "{name}" does not concern method {method}')
        settings |= VARIANTS[name].settings[method]
    return settings
