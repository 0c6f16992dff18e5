import pytest
import torch

from diffad_lib.networks.segmentation import SegmentationNetwork
from reference import needs_reference, reference_json, shapes


@needs_reference
@pytest.mark.parametrize(
    ("file", "key", "out_channels"),
    [
        ("draem_full_state_dict_shapes.json", "discriminative(base_channels=64)", 2),
        ("diffusionad_full_state_dict_shapes.json", "segmentation(base_channels=64)", 1),
    ],
)
def test_full_size_state_dict_equals_both_official_ones(file, key, out_channels):
    with torch.device("meta"):
        network = SegmentationNetwork(6, out_channels)
    assert shapes(network) == reference_json(file)[key]


def test_logits_have_the_size_of_the_input_and_any_sign():
    torch.manual_seed(0)
    logits = SegmentationNetwork(5, 3, base_width=4)(torch.randn(2, 5, 32, 64))
    assert logits.shape == (2, 3, 32, 64)
    assert logits.min() < 0 < logits.max()


def test_every_parameter_is_used():
    torch.manual_seed(0)
    network = SegmentationNetwork(6, 1, base_width=4)
    network(torch.randn(2, 6, 64, 64)).square().mean().backward()
    weights = {name: p for name, p in network.named_parameters() if name.endswith("weight")}
    assert [name for name, value in weights.items() if not value.grad.any()] == []


def test_full_resolution_detail_reaches_the_output_through_the_first_skip():
    torch.manual_seed(0)
    network = SegmentationNetwork(1, 1, base_width=4).eval()
    image = torch.zeros(1, 1, 64, 64)
    dotted = image.clone()
    dotted[..., 20, 20] = 5
    change = (network(dotted) - network(image)).abs()[0, 0]
    assert change[16:25, 16:25].max() > 3 * change[40:, 40:].max()
