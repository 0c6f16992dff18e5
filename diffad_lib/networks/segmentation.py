"""The segmentation network of DRAEM and DiffusionAD; names as in both official state dicts."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_block(in_channels: int, out_channels: int) -> list[nn.Module]:
    """3x3 convolution, batch norm, ReLU; keeps the size."""
    return [
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def double_conv(in_channels: int, between: int, out_channels: int) -> nn.Sequential:
    """Two conv blocks: in_channels -> between -> out_channels."""
    return nn.Sequential(*conv_block(in_channels, between), *conv_block(between, out_channels))


def up_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Bilinear up-sampling by 2 with aligned corners, then a conv block."""
    upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    return nn.Sequential(upsample, *conv_block(in_channels, out_channels))


class Encoder(nn.Module):
    """Double-conv blocks block1, block2, … of the given widths, halving the size between them."""

    def __init__(self, in_channels: int, widths: list[int]) -> None:
        super().__init__()
        for index, width in enumerate(widths, start=1):
            self.add_module(f"block{index}", double_conv(in_channels, width, width))
            in_channels = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """x [B,C,H,W] -> the features of every block, from full size to the smallest."""
        features: list[Tensor] = []
        for block in self.children():
            features.append(x := block(F.max_pool2d(x, 2) if features else x))
        return features


class SegmentationDecoder(nn.Module):
    """Five times up, each joined with the encoder's features; then a 3x3 convolution."""

    def __init__(self, base_width: int, out_channels: int) -> None:
        super().__init__()
        w = base_width
        self.up_b, self.db_b = up_conv(8 * w, 8 * w), double_conv(16 * w, 8 * w, 8 * w)
        self.up1, self.db1 = up_conv(8 * w, 4 * w), double_conv(12 * w, 4 * w, 4 * w)
        self.up2, self.db2 = up_conv(4 * w, 2 * w), double_conv(6 * w, 2 * w, 2 * w)
        self.up3, self.db3 = up_conv(2 * w, w), double_conv(3 * w, w, w)
        self.up4, self.db4 = up_conv(w, w), double_conv(2 * w, w, w)
        self.fin_out = nn.Sequential(nn.Conv2d(w, out_channels, 3, padding=1))

    def forward(self, features: list[Tensor]) -> Tensor:
        """Six feature maps, from full size to 1/32 -> logits [B,out_channels,H,W]."""
        *skips, h = features
        ways_up = (
            (self.up_b, self.db_b),
            (self.up1, self.db1),
            (self.up2, self.db2),
            (self.up3, self.db3),
            (self.up4, self.db4),
        )
        for (up, join), skip in zip(ways_up, reversed(skips), strict=True):
            h = join(torch.cat([up(h), skip], dim=1))
        return self.fin_out(h)


class SegmentationNetwork(nn.Module):
    """[B,in_channels,H,W] -> logits [B,out_channels,H,W]; H and W multiples of 32.

    Source: DRAEM's DiscriminativeSubNetwork; in DiffusionAD's a sigmoid follows.
    """

    def __init__(self, in_channels: int, out_channels: int, base_width: int = 64) -> None:
        super().__init__()
        widths = [base_width * multiplier for multiplier in (1, 2, 4, 8, 8, 8)]
        self.encoder_segment = Encoder(in_channels, widths)
        self.decoder_segment = SegmentationDecoder(base_width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder_segment(self.encoder_segment(x))
