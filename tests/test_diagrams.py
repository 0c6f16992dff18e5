"""Drawings of networks: what is drawn is what ran."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffad_lib.course.diagrams import Part, parts_of, unet_diagram
from diffad_lib.networks.unet import UNet, UNetSettings

X_T, T = torch.zeros(2, 3, 16, 16), torch.tensor([5, 7])


class Block(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, time):
        return self.convolution(x) + time.mean()


class Network(nn.Module):
    """One block down, one in the middle, one up; its child "unused" never runs."""

    def __init__(self):
        super().__init__()
        self.time = nn.Linear(1, 4)
        self.start = nn.Conv2d(3, 5, 1)
        self.down = nn.ModuleList([Block(5, 6)])
        self.middle = Block(6, 7)
        self.up = nn.ModuleList([Block(7 + 6, 5)])
        self.out = nn.Conv2d(5, 3, 1)
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, x_t, t):
        time, h = self.time(t[:, None].float()), self.start(x_t)
        skip = self.down[0](h, time)
        h = F.interpolate(self.middle(F.avg_pool2d(skip, 2), time), scale_factor=2)
        return self.out(self.up[0](torch.cat([h, skip], dim=1), time))


def test_the_parts_are_those_that_ran_with_their_outputs():
    assert parts_of(Network(), X_T, T) == [
        Part("start", 5, 16, takes_time=False),
        Part("down", 6, 16, takes_time=True),
        Part("middle", 7, 8, takes_time=True),
        Part("up", 5, 16, takes_time=True),
        Part("out", 3, 16, takes_time=False),
    ]


def test_the_network_is_as_before():
    network = Network()
    parts_of(network, X_T, T)
    with pytest.raises(RuntimeError):  # a call that fails half way
        parts_of(network, X_T[:, :, :15, :15], T)
    assert not [module for module in network.modules() if module._forward_hooks]
    assert all(weight.grad is None for weight in network.parameters())


def drawn(network):
    """Numbers in the boxes, sizes of the rows, arrows along, arrows across, dots."""
    (axis,) = unet_diagram(network, X_T, T).axes
    texts = [text.get_text() for text in axis.texts]
    arrows = [text.arrow_patch for text in axis.texts if getattr(text, "arrow_patch", None)]
    across = sum(arrow.get_linestyle() == "--" for arrow in arrows)
    return (
        [int(text) for text in texts if text.isdigit()],
        [text for text in texts if "×" in text],
        len(arrows) - across,
        across,
        len(axis.lines),
    )


def test_a_box_a_row_a_skip_and_a_dot_for_each():
    assert drawn(Network()) == ([5, 6, 7, 5, 3], ["16 × 16", "8 × 8"], 4, 1, 3)


def test_the_network_of_a_detector_is_drawn_too():
    settings = UNetSettings(image_size=16, base_width=8, channel_multipliers=(1, 2))
    parts = parts_of(UNet(settings), X_T, T)
    down, up = ([part for part in parts if part.place == place] for place in ("down", "up"))
    assert len(down) == len(up) == 6
    channels, _, _, across, dots = drawn(UNet(settings))
    assert across == 6 and channels == [part.channels for part in parts]
    # All but the first and the last, which are convolutions.
    assert [part.takes_time for part in parts] == [False, *[True] * (len(parts) - 2), False]
    assert dots == len(parts) - 2


def test_a_stage_that_takes_time_is_one_whose_output_depends_on_it():
    network = UNet(UNetSettings(image_size=16, base_width=8, channel_multipliers=(1, 2)))
    changed = []
    for stage in [*network.down, network.middle, network.out]:
        inputs = next(layer for layer in stage.modules() if isinstance(layer, nn.Conv2d))
        x = torch.randn(1, inputs.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
        for weight in stage.parameters():
            nn.init.normal_(weight, std=0.1)
        early, late = (stage(torch.full((1, 32), value), x) for value in (0.1, 0.9))
        changed.append(not torch.equal(early, late))
        assert stage.takes_time == changed[-1]
    assert not all(changed) and any(changed)


def test_the_last_block_down_is_the_first_to_be_taken_on_the_way_up():
    settings = UNetSettings(image_size=16, base_width=8, channel_multipliers=(1, 2))
    (axis,) = unet_diagram(UNet(settings), X_T, T).axes
    arrows = [text for text in axis.texts if getattr(text, "arrow_patch", None)]
    across = [arrow for arrow in arrows if arrow.arrow_patch.get_linestyle() == "--"]
    starts = [arrow.xyann[0] for arrow in sorted(across, key=lambda arrow: arrow.xy[0])]
    assert starts == sorted(starts, reverse=True) and len(set(starts)) == 6
