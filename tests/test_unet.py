import pytest
import torch
from torch import nn

from diffad_lib.errors import DiffadError
from diffad_lib.methods.diffusionad.official import load_diffusionad
from diffad_lib.networks import group_norm
from diffad_lib.networks.group_norm import GroupNorm
from diffad_lib.networks.unet import AttentionBlock, UNet, UNetSettings
from reference import (
    DIFFUSIONAD_CHECKPOINT,
    assert_matches,
    needs_reference,
    reference_json,
    reference_tensors,
    shapes,
)


@needs_reference
def test_full_size_state_dict_equals_the_official_one():
    with torch.device("meta"):
        unet = UNet(UNetSettings())
    expected = reference_json("diffusionad_full_state_dict_shapes.json")
    assert shapes(unet) == expected["unet(img_size=256,base_channels=128)"]
    assert sum(parameter.numel() for parameter in unet.parameters()) == 131_654_403


@needs_reference
def test_noise_prediction_equals_the_official_one():
    unet = load_diffusionad([DIFFUSIONAD_CHECKPOINT]).denoising
    io = reference_tensors("diffusionad_small_io.safetensors")
    with torch.inference_mode():
        assert_matches(unet(io["in.x_t"], io["in.t"]), io["out.eps(xt,[0,999])"])


def small_unet(seed=0, **settings):
    torch.manual_seed(seed)
    settings = {"image_size": 16, "base_width": 16, "channel_multipliers": (1, 2)} | settings
    return UNet(UNetSettings(**settings))


def without_zero_initialisation(unet):
    for parameter in unet.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return unet


def test_untrained_network_predicts_no_noise():
    x = torch.randn(2, 3, 16, 16)
    assert not small_unet()(x, torch.tensor([0, 500])).any()


def test_every_parameter_is_used():
    unet = without_zero_initialisation(small_unet())
    unet(torch.randn(2, 3, 16, 16), torch.tensor([0, 500])).square().mean().backward()
    unused = [name for name, value in unet.named_parameters() if not value.grad.any()]
    assert unused == []


def test_time_reaches_even_a_narrow_single_level():
    x, t = torch.randn(1, 3, 16, 16).expand(2, -1, -1, -1), torch.tensor([5, 900])
    settings = {"channel_multipliers": (1,), "attention_resolutions": ()}
    early, late = without_zero_initialisation(small_unet(**settings))(x, t)
    assert (early - late).abs().max() > 1e-2
    # The reason for the narrow default: one channel a group takes the time out again.
    early, late = without_zero_initialisation(small_unet(norm_groups=16, **settings))(x, t)
    assert (early - late).abs().max() < 1e-4


@pytest.mark.parametrize(("width", "groups"), [(4, 1), (16, 4), (32, 8), (128, 32), (256, 32)])
def test_default_groups_keep_four_channels_up_to_the_published_32(width, groups):
    assert UNetSettings(base_width=width).groups == groups


@pytest.mark.parametrize(("resolutions", "count"), [((), 1), ((16,), 6), ((8,), 6), ((16, 8), 11)])
def test_attention_sits_where_the_feature_map_has_the_named_width(resolutions, count):
    # Two blocks on the way down and three on the way up per level; the middle always has one.
    unet = small_unet(attention_resolutions=resolutions)
    assert sum(isinstance(module, AttentionBlock) for module in unet.modules()) == count


def test_attention_equals_its_definition():
    torch.manual_seed(0)
    attention = AttentionBlock(8, heads=2, groups=2)
    nn.init.normal_(attention.proj_out.weight)
    x = torch.randn(1, 8, 3, 3)
    qkv = attention.to_qkv(attention.norm(x).flatten(2))[0]  # [24, 9]
    heads = []
    for head in qkv.chunk(2):
        query, key, value = head.chunk(3)  # 3 x [4, 9]
        weights = torch.softmax(query.T @ key / 2, dim=1)  # √4 = 2
        heads.append(value @ weights.T)
    expected = x + attention.proj_out(torch.cat(heads)[None]).reshape(x.shape)
    torch.testing.assert_close(attention(x), expected)


def test_more_residual_blocks_make_a_deeper_network():
    assert len(small_unet(residual_blocks=1).down) == 4
    assert len(small_unet(residual_blocks=3).down) == 8


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("bf16", [False, True])
def test_recomputed_levels_change_no_gradient(levels, bf16):
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([5, 900])
    found = []
    for recompute_levels in (0, levels):
        unet = without_zero_initialisation(small_unet(recompute_levels=recompute_levels))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = unet(x, t).float().square().mean()
        loss.backward()
        found.append([loss, *(weight.grad for weight in unet.parameters())])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-6, atol=1e-6)


def test_levels_are_computed_again_in_training_only():
    unet, seen = small_unet(recompute_levels=1), []
    for stage in [*unet.down, unet.middle, *unet.up, unet.out]:
        again = stage.recomputes  # those of level 0
        stage[0].register_forward_pre_hook(lambda *_, again=again: seen.append(again))
    x, t = torch.randn(1, 3, 16, 16), torch.tensor([5])
    unet(x, t).sum().backward()
    assert (seen.count(True), seen.count(False)) == (2 * 9, 5)
    seen.clear()
    unet.eval()(x, t).sum().backward()
    assert (seen.count(True), seen.count(False)) == (9, 5)


def test_group_norm_leaves_autocast_which_would_take_float32_on_a_gpu(monkeypatch):
    seen, plain = [], torch.nn.functional.group_norm

    def watched(x, *rest):
        seen.append((x.dtype, torch.is_autocast_enabled("cpu")))
        return plain(x, *rest)

    monkeypatch.setattr(torch.nn.functional, "group_norm", watched)
    unet = small_unet(recompute_levels=2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = unet(torch.randn(1, 3, 16, 16), torch.tensor([5])).sum()
    loss.backward()
    assert set(seen) == {(torch.bfloat16, False)}


def test_group_norm_keeps_the_dtype_under_autocast_and_changes_nothing_without():
    torch.manual_seed(0)
    ours, theirs = GroupNorm(4, 16), nn.GroupNorm(4, 16)
    for norm in (ours, theirs):
        norm.weight.data = torch.linspace(0.5, 2, 16)
    x = 3 * torch.randn(2, 16, 8, 8) + 1
    assert torch.equal(ours(x), theirs(x))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = ours(x.bfloat16())
        assert rounded.dtype == torch.bfloat16 and ours(x).dtype == torch.float32
    torch.testing.assert_close(rounded.float(), theirs(x), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("at_a_time", [1, 40, 10**6])
def test_group_norm_in_channels_last_has_the_gradients_of_its_values(
    groups, at_a_time, monkeypatch
):
    monkeypatch.setattr(group_norm, "_AT_A_TIME", at_a_time)
    monkeypatch.setattr(group_norm, "_MANY", 1)
    torch.manual_seed(0)
    norm = GroupNorm(groups, 6).double()
    norm.weight.data, norm.bias.data = torch.rand(6).double() + 0.5, torch.randn(6).double()
    x = (2 * torch.randn(2, 6, 5, 3).double() + 1).contiguous(memory_format=torch.channels_last)
    inputs = (x.requires_grad_(), *norm.parameters())
    assert type(norm(x).grad_fn).__name__ == "_ByPixelsBackward"
    assert torch.autograd.gradcheck(lambda *_: norm(x), inputs)


def test_group_norm_in_bfloat16_rounds_its_gradients_once():
    torch.manual_seed(0)
    norm = GroupNorm(4, 16)
    x = (torch.randn(2, 16, 64, 64) + 3).bfloat16()
    assert x.numel() >= group_norm._MANY
    fast = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = x.double().requires_grad_()
    weights = torch.randn(x.shape).bfloat16()
    found = torch.autograd.grad(norm(fast), [fast, norm.weight, norm.bias], weights)
    norm.double()
    right = torch.autograd.grad(norm(exact), [exact, norm.weight, norm.bias], weights.double())
    for one, other in zip(found, right, strict=True):
        assert (one - other).abs().max() < 2**-8 * other.abs().max()
    assert found[0].dtype == torch.bfloat16 and found[1].dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 104, "channel_multipliers": None}, "image_size 104"),
        ({"image_size": 24, "channel_multipliers": (1, 2, 2, 2, 2)}, "multiple of 16"),
        ({"channel_multipliers": ()}, "channel_multipliers"),
        ({"channel_multipliers": (1, 0)}, "channel_multipliers"),
        ({"base_width": 18}, r"base_width: .*multiple of 4 \(got 18\)"),
        ({"base_width": 0}, r"base_width: .*\(got 0\)"),
        ({"norm_groups": 3}, "norm_groups 3"),
        ({"heads": 3}, "3 attention heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(DiffadError, match=message):
        small_unet(**settings)
