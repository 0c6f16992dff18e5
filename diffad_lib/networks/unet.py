"""DiffusionAD's U-Net (guided-diffusion style; Recon_subnetwork.py); names as in its state dict."""

import math
from functools import partial
from typing import Annotated, Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from diffad_lib.errors import DiffadError, short_repr
from diffad_lib.networks.group_norm import GroupNorm
from diffad_lib.settings import DetectorSettings, setting

CHANNEL_MULTIPLIERS: dict[int, tuple[int, ...]] = {
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
    32: (1, 2, 3, 4),
}
"""Published widths of the levels, in units of base_width, by image size."""


class UNetSettings(DetectorSettings):
    """Sizes of the U-Net; the defaults are the published ones.

    With one channel a group, as in the first level of an official network of base width 32, the
    norm would cancel the time embedding there. So norm_groups None means at most 32 groups, and 4
    channels a group at the first level, which is the published ratio.
    """

    base_width: int = setting(
        128, "first-level channels of the U-Net", ge=4, le=1024, multiple_of=4
    )
    channel_multipliers: tuple[int, ...] | None = setting(
        None, "widths of the levels in units of base_width; none: as published for the size"
    )
    residual_blocks: int = setting(2, "blocks of a level, one more on the way up", ge=1, le=16)
    attention_resolutions: tuple[Annotated[int, Field(ge=1)], ...] = setting(
        (32, 16, 8), "widths of the feature maps that get attention, pixels"
    )
    heads: int = setting(4, "attention heads", ge=1)
    norm_groups: int | None = setting(None, "groups of each GroupNorm", ge=1)
    recompute_levels: int = setting(
        0, "levels of the U-Net, from the largest on, whose activations are computed again in the "
        "backward pass: less memory, a quarter more FLOP, the same gradients", ge=0, le=10,
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_unet(self) -> Self:
        multipliers, groups = self.multipliers, self.groups
        if not 1 <= len(multipliers) <= 10 or not 1 <= min(multipliers) <= max(multipliers) <= 64:
            told = f"channel_multipliers {short_repr(multipliers)}"
            raise DiffadError(f"{told} must be at most 10 whole numbers from 1 to 64")
        factor = 2 ** (len(multipliers) - 1)
        if self.image_size % factor:
            raise DiffadError(
                f"image_size {self.image_size} must be a multiple of {factor} for "
                f"{len(multipliers)} channel_multipliers"
            )
        if self.base_width % groups or self.base_width % self.heads:
            raise DiffadError(
                f"base_width {self.base_width} must be a multiple of 4, of norm_groups {groups} "
                f"and of the {self.heads} attention heads"
            )
        return self

    @property
    def multipliers(self) -> tuple[int, ...]:
        """Widths of the levels in units of base_width."""
        if self.channel_multipliers is not None:
            return self.channel_multipliers
        if self.image_size not in CHANNEL_MULTIPLIERS:
            raise DiffadError(
                f"image_size {self.image_size} has no published channel multipliers; "
                f"use one of {sorted(CHANNEL_MULTIPLIERS)} or set channel_multipliers"
            )
        return CHANNEL_MULTIPLIERS[self.image_size]

    @property
    def groups(self) -> int:
        """Groups of each GroupNorm."""
        return min(32, self.base_width // 4) if self.norm_groups is None else self.norm_groups

    def with_least_memory(self) -> Self:
        return self.but(recompute_levels=len(self.multipliers))


class TimestepEmbedding(nn.Module):
    """t int64 [B] -> [B, width]: sines, then cosines, of geometrically spaced frequencies."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, t: Tensor) -> Tensor:
        half = self.width // 2
        exponents = torch.arange(half, device=t.device, dtype=torch.float32) / half
        angles = t.float()[:, None] * torch.exp(-math.log(10000) * exponents)  # [B, width/2]
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
    """Two convolutions with the time embedding added between; `resample` acts on both branches."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_width: int,
        groups: int,
        resample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.resample = resample or nn.Identity()
        self.in_layers = nn.Sequential(
            GroupNorm(groups, in_channels),
            nn.SiLU(),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
        )
        self.embed_layers = nn.Sequential(nn.SiLU(), nn.Linear(time_width, out_channels))
        self.out_layers = nn.Sequential(
            GroupNorm(groups, out_channels),
            nn.SiLU(),
            nn.Identity(),  # holds the place of the official dropout, which is 0
            _zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        same = in_channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x [B,C,H,W], time [B,time_width] -> [B,out_channels,H',W']."""
        norm, activation, convolution = self.in_layers
        h = convolution(self.resample(activation(norm(x))))
        h = self.out_layers(h + self.embed_layers(time)[:, :, None, None])
        return self.skip_connection(self.resample(x)) + h


class AttentionBlock(nn.Module):
    """Multi-head self-attention over the pixels, added to the input."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(groups, channels)
        self.to_qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = _zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C,H,W]."""
        batch, channels = x.shape[:2]
        qkv = self.to_qkv(self.norm(x).flatten(2))  # [B, 3C, HW]
        # The official weights order the channels by head first, then query, key and value.
        qkv = qkv.reshape(batch, self.heads, 3, channels // self.heads, -1).transpose(3, 4)
        # Contiguous, because only then does PyTorch take its memory-saving kernel on the CPU.
        query, key, value = qkv.contiguous().unbind(dim=2)  # 3 x [B, heads, HW, C/heads]
        mixed = F.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(2, 3).reshape(batch, channels, -1)  # [B, C, HW]
        return x + self.proj_out(mixed).reshape(x.shape)


class Stage(nn.Sequential):
    """Layers in sequence; the residual blocks among them also get the time embedding.

    recomputes: keep the inputs alone for the backward pass (Chen et al. 2016, arXiv 1604.06174).
    """

    def __init__(self, *layers: nn.Module, recomputes: bool = False) -> None:
        super().__init__(*layers)
        self.recomputes = recomputes

    @property
    def takes_time(self) -> bool:
        """Whether the time embedding, which every stage is given, changes its output."""
        return any(isinstance(layer, ResidualBlock) for layer in self)

    def forward(self, time: Tensor, *inputs: Tensor) -> Tensor:
        """time [B,time_width]; inputs [B,C_i,H,W], joined along the channels -> [B,C,H',W']."""
        if not (self.recomputes and self.training and torch.is_grad_enabled()):
            return self._computed(time, *inputs)
        # Nothing here draws random numbers, so their state need not be kept.
        again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        return cast(Tensor, again(self._computed, time, *inputs))

    def _computed(self, time: Tensor, *inputs: Tensor) -> Tensor:
        x = torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0]
        for layer in self:
            x = layer(x, time) if isinstance(layer, ResidualBlock) else layer(x)
        return x


class UNet(nn.Module):
    """eps = unet(x_t, t): the noise in x_t [B,C,S,S] at t int64 [B]."""

    def __init__(self, settings: UNetSettings, channels: int = 3) -> None:
        super().__init__()
        multipliers, groups = settings.multipliers, settings.groups
        base_width, heads = settings.base_width, settings.heads
        time_width = 4 * base_width
        self.time_embedding = nn.Sequential(
            TimestepEmbedding(base_width),
            nn.Linear(base_width, time_width),
            nn.SiLU(),
            nn.Linear(time_width, time_width),
        )

        def block(inputs: int, outputs: int, resample: nn.Module | None = None) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, time_width, groups, resample)

        def stage(level: int, *layers: nn.Module) -> Stage:
            """level: that of its largest feature map, 0 at full size."""
            return Stage(*layers, recomputes=level < settings.recompute_levels)

        def attention_at(size: int, width: int) -> list[nn.Module]:
            wanted = size in settings.attention_resolutions
            return [AttentionBlock(width, heads, groups)] if wanted else []

        width, size = base_width, settings.image_size
        self.down = nn.ModuleList([stage(0, nn.Conv2d(channels, width, 3, padding=1))])
        skips = [width]
        for level, multiplier in enumerate(multipliers):
            if level > 0:
                self.down.append(stage(level - 1, block(width, width, nn.AvgPool2d(2))))
                skips.append(width)
                size //= 2
            for _ in range(settings.residual_blocks):
                outputs = base_width * multiplier
                self.down.append(stage(level, block(width, outputs), *attention_at(size, outputs)))
                skips.append(width := outputs)

        middle_attention = AttentionBlock(width, heads, groups)
        self.middle = stage(level, block(width, width), middle_attention, block(width, width))

        self.up = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for index in range(settings.residual_blocks + 1):
                outputs = base_width * multiplier
                layers = [block(width + skips.pop(), outputs), *attention_at(size, outputs)]
                grows = level > 0 and index == settings.residual_blocks
                if grows:
                    layers.append(block(outputs, outputs, nn.Upsample(scale_factor=2)))
                    size *= 2
                self.up.append(stage(level - grows, *layers))
                width = outputs

        self.out = stage(
            0,
            GroupNorm(groups, width),
            nn.SiLU(),
            _zeroed(nn.Conv2d(width, channels, 3, padding=1)),
        )

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        time = self.time_embedding(t)  # [B, 4 base_width]
        skips, h = [], x_t
        for stage in self.down:
            skips.append(h := stage(time, h))
        h = self.middle(time, h)
        for stage in self.up:
            h = stage(time, h, skips.pop())
        return self.out(time, h)


def _zeroed(layer: nn.Conv1d | nn.Conv2d) -> nn.Conv1d | nn.Conv2d:
    """The layer with all parameters 0, so that its block starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
