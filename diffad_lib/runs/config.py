"""The strict configuration of a run: three budgets, named variants, `key=value` overrides."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from diffad_lib.errors import DiffadError, nearest
from diffad_lib.files import is_utf8
from diffad_lib.runs.presets import PRESETS, variant_overrides

Dataset = Literal["mvtec", "visa", "dagm", "mpdd", "custom"]
Method = Literal["autoencoder", "draem", "diffusionad"]
Budget = Literal["mini", "laptop", "paper"]
Precision = Literal["auto", "32", "bf16-mixed", "16-mixed"]  # auto: bf16 where it is fast
LrSchedule = Literal["constant", "paper-steps", "code-steps", "cosine", "cosine-10"]
Foreground = Literal["none", "auto", "rembg"]
_NAME_BYTES = 200  # of a folder; file systems take 255


class RunConfig(BaseModel):
    """Everything that decides what a run computes; an unknown key or wrong type is an error.

    Lengths are in pixels, times in seconds, learning rates per optimiser step. `data_root` None
    means the mini data; `textures` None means the built-in texture bank.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    # What runs
    dataset: Dataset
    category: str
    method: Method
    budget: Budget = "mini"
    seed: int = Field(0, ge=0, lt=2**63)
    data_root: Path | None = None
    textures: Path | None = None
    runs_dir: Path = Path("runs")
    variants: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()  # `key=value` departures from the preset, for the folder name

    # Networks
    image_size: int = Field(256, ge=16, le=4096)
    base_width: int = Field(128, ge=4)
    segmentation_width: int = Field(64, ge=2)
    bottleneck: int = Field(128, ge=1)  # channels of the autoencoder's code
    channel_multipliers: tuple[int, ...] | None = None  # None: by image size, as published
    residual_blocks: int = Field(2, ge=1)
    attention_resolutions: tuple[int, ...] = (32, 16, 8)

    # Diffusion
    less_t_range: int = Field(300, ge=1, le=999)
    test_normal_t: int = Field(200, ge=0, le=999)
    test_noisier_t: int = Field(400, ge=0, le=999)
    guidance_weight: float = 1.0
    signed_range: bool = False  # feed images in [-1,1] instead of [0,1]
    prediction: Literal["eps", "x0"] = "eps"  # what the denoising network puts out
    noise_draws: int = Field(1, ge=1)  # noise draws averaged at test time

    # Synthesis
    beta_min: float = Field(0.0, ge=0, le=1)
    beta_max: float = Field(0.8, ge=0, le=1)
    anomaly_probability: float = Field(0.5, ge=0, le=1)
    foreground: Foreground = "none"
    foreground_folder: Path | None = None  # precomputed masks in the DISthresh layout
    self_augmentation_probability: float = Field(0.0, ge=0, le=1)  # objects only
    rotation_degrees: float = Field(0.0, ge=0, le=180)  # of normal training images
    rotation_probability: float = Field(0.0, ge=0, le=1)
    lighting: float = Field(0.0, ge=0, le=1)  # unevenness of the light on normal images

    # Training
    batch_size: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1)  # micro-batches per optimiser step
    steps: int | None = Field(None, ge=1)  # optimiser steps; None: from `epochs`
    epochs: int | None = Field(None, ge=1)
    max_train_seconds: float | None = Field(None, gt=0)
    learning_rate: float = Field(1e-4, gt=0)
    segmentation_learning_rate: float | None = Field(None, gt=0)  # None: learning_rate
    lr_schedule: LrSchedule = "constant"
    segmentation_lr_schedule: LrSchedule | None = None  # None: lr_schedule
    warmup_fraction: float = Field(0.0, ge=0, lt=1)
    ema_decay: float = Field(0.0, ge=0, lt=1)  # 0: off
    precision: Precision = "32"
    channels_last: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    checkpoint_seconds: float = Field(60.0, ge=0)
    select_on_test_epochs: int | None = Field(None, ge=1)  # a leak; see the variant

    # Evaluation
    score_window: int = Field(21, ge=1)  # pixels a side, odd, averaged for the image score
    score_pixels: int = Field(50, ge=1)  # highest pixels averaged for DiffusionAD's image score
    eval_batch_size: int = Field(16, ge=1)
    fpr_limit: float = Field(0.3, gt=0, le=1)
    bootstrap_samples: int = Field(1000, ge=0)

    @field_validator("*", mode="before")
    @classmethod
    def _check_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses what Pydantic would take: true as 1, and text that no JSON file can hold."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise PydanticCustomError("truth_value", "Input should not be true or false")
        if isinstance(value, str | Path) and not is_utf8(value):
            raise PydanticCustomError("not_utf8", "Input should be UTF-8; rename the folder")
        return value

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("set exactly one of steps and epochs")
        if self.beta_min > self.beta_max:
            raise ValueError("beta_min must not exceed beta_max")
        return self

    @property
    def run_folder(self) -> Path:
        """runs_dir/dataset/category/method/budget[+variant][+key=value]/seed<k>."""
        name = "+".join((self.budget, *self.variants, *self.overrides))
        name = re.sub(r"[^\w.=,+-]+", "_", name)
        if len(encoded := name.encode()) > _NAME_BYTES:
            digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
            name = f"{encoded[:_NAME_BYTES].decode(errors='ignore')}+{digest}"
        folder = self.runs_dir / self.dataset / self.category / self.method / name
        return folder / f"seed{self.seed}"


# A key that only some methods read; setting it for another method is an error, not a no-op.
_METHOD_KEYS: dict[str, tuple[Method, ...]] = {
    "bottleneck": ("autoencoder",),
    "score_window": ("autoencoder", "draem"),
    "segmentation_width": ("draem", "diffusionad"),
    "segmentation_learning_rate": ("draem", "diffusionad"),
    "segmentation_lr_schedule": ("draem", "diffusionad"),
    "channel_multipliers": ("diffusionad",),
    "residual_blocks": ("diffusionad",),
    "attention_resolutions": ("diffusionad",),
    "less_t_range": ("diffusionad",),
    "test_normal_t": ("diffusionad",),
    "test_noisier_t": ("diffusionad",),
    "guidance_weight": ("diffusionad",),
    "signed_range": ("diffusionad",),
    "prediction": ("diffusionad",),
    "noise_draws": ("diffusionad",),
    "score_pixels": ("diffusionad",),
    "select_on_test_epochs": ("diffusionad",),
}
# Keys that have an option of their own and so cannot come through `--set`.
_OPTION_KEYS = (
    "dataset",
    "category",
    "method",
    "budget",
    "seed",
    "data_root",
    "textures",
    "runs_dir",
    "variants",
    "overrides",
    "max_train_seconds",
)


def build_config(
    dataset: str,
    category: str,
    method: str,
    budget: str = "mini",
    variants: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> RunConfig:
    """A checked configuration: preset of (method, budget), then variants, then overrides.

    `options` are the remaining fields that have a command-line option (seed, data_root, ...).
    Raises DiffadError that names the key and the nearest valid one.
    """
    variants, overrides = tuple(variants), dict(overrides or {})
    for number, name in enumerate(variants):
        if name in variants[:number]:
            raise DiffadError(f'--variant "{name}" is given twice; keep one')
    for name, value, valid in (
        ("method", method, get_args(Method)),
        ("budget", budget, get_args(Budget)),
        ("dataset", dataset, get_args(Dataset)),
    ):
        if value not in valid:
            raise DiffadError(f'--{name} "{value}" is not known; {nearest(str(value), valid)}')
    for key in overrides:
        _check_override(key, method)
    values = PRESETS[budget][method] | variant_overrides(variants, method) | overrides
    # A length given one way replaces the preset's length given the other way.
    if "steps" in overrides and "epochs" not in overrides:
        values["epochs"] = None
    if "epochs" in overrides and "steps" not in overrides:
        values["steps"] = None
    try:
        return RunConfig(
            dataset=dataset,
            category=category,
            method=method,
            budget=budget,
            variants=variants,
            overrides=tuple(_pair(key, value) for key, value in sorted(overrides.items())),
            **values,
            **options,
        )
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "configuration"
        raise DiffadError(
            f"{key}: {first['msg']} (got {first['input']!r})"
            if first["loc"]
            else first["msg"].removeprefix("Value error, ")
        ) from None


def _check_override(key: str, method: str) -> None:
    settable = [name for name in RunConfig.model_fields if name not in _OPTION_KEYS]
    if key in _OPTION_KEYS:
        option = {"variants": "variant"}.get(key, key).replace("_", "-")
        raise DiffadError(f'"{key}" cannot be set with --set; use --{option}')
    if key not in settable:
        raise DiffadError(f'"{key}" is not a setting; {nearest(key, settable)}')
    methods = _METHOD_KEYS.get(key)
    if methods and method not in methods:
        raise DiffadError(
            f'"{key}" has no effect on method {method}; only {" and ".join(methods)} use it'
        )


def _pair(key: str, value: Any) -> str:
    """The inverse of `parse_overrides` for one pair."""
    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """`["steps=200", "precision=bf16-mixed"]` → {"steps": 200, "precision": "bf16-mixed"}.

    Values are read as JSON where they parse as JSON, else as plain text. A key whose type is
    text keeps the text, so that precision=32 is "32".
    """
    overrides: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise DiffadError(f'--set "{pair}" must have the form key=value')
        if key in overrides:
            raise DiffadError(f'--set gives "{key}" twice; keep one')
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        overrides[key] = text if key == "precision" else value
    return overrides
