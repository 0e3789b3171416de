"""Fast parts against their slow, plain versions.

Shape letters: B batch, C channels, H height, W width, N positions.
"""

import pytest
import torch
import torch.nn.functional as F

from pellucid.errors import RecipeError
from pellucid.nn import (
    PatchDecoder,
    PatchEncoder,
    ResidualDecoder,
    ResidualEncoder,
    SelfAttention,
    apply_head,
    head_reach,
)
from pellucid.nn.blocks import ResizeConv, SubpixelConv, group_norm


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_resize_conv_is_nearest_then_convolution(scale):
    conv = ResizeConv(5, 3, scale).double()
    x = torch.randn(2, 5, 4, 6).double().requires_grad_()
    plain = F.conv2d(F.interpolate(x, scale_factor=scale), conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(x), plain)
    weights = torch.randn_like(plain)
    fast = torch.autograd.grad((conv(x) * weights).sum(), [x, conv.weight])
    slow = torch.autograd.grad((plain * weights).sum(), [x, conv.weight])
    torch.testing.assert_close(fast, slow)


def test_subpixel_conv_starts_flat_and_can_write_any_pixel():
    torch.manual_seed(0)
    conv = SubpixelConv(5, 3, 4)
    x = torch.randn(2, 5, 4, 6)
    start = conv(x)
    torch.testing.assert_close(start, F.interpolate(start[..., ::4, ::4], scale_factor=4))
    target = torch.randn_like(start[:1])
    columns = F.unfold(x[:1], 3, padding=1)[0].T
    rows = F.pixel_unshuffle(target, 4)[0].flatten(1).T
    fitted = torch.linalg.lstsq(columns, rows).solution
    with torch.no_grad():
        conv.weight.copy_(fitted.T.reshape(conv.weight.shape))
        conv.bias.zero_()
    torch.testing.assert_close(conv(x[:1]), target, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (16, 1), (32, 2), (128, 8), (40, 2)])
def test_groups_hold_about_sixteen_channels(channels, groups):
    assert group_norm(channels).num_groups == groups


def test_attention_is_softmax_of_scores():
    torch.manual_seed(0)
    attention = SelfAttention(8, heads=2).double()
    x_BCHW = torch.randn(2, 8, 3, 5).double()
    qkv = attention.to_qkv(attention.norm(x_BCHW)).reshape(2, 3, 2, 4, 15)
    q, k, v = qkv.unbind(1)
    scores = torch.einsum("bhdn,bhdm->bhnm", q, k) / 4**0.5
    mixed = torch.einsum("bhnm,bhdm->bhdn", scores.softmax(-1), v).reshape(2, 8, 3, 5)
    torch.testing.assert_close(attention(x_BCHW), x_BCHW + attention.out(mixed))


def test_attention_heads_must_divide_channels():
    with pytest.raises(RecipeError, match="divisor of 6"):
        SelfAttention(6, heads=4)


def test_patch_encoder_sees_its_patch_and_rim_only():
    torch.manual_seed(0)
    encoder = PatchEncoder(channels=4, patch=8, width=8, overlap=2).double()
    x = torch.randn(1, 3, 24, 24).double().requires_grad_()
    (gradient,) = torch.autograd.grad(encoder(x)[0, :, 1, 1].square().sum(), x)
    touched = gradient.abs().sum((0, 1)) > 0
    expected = torch.zeros(24, 24, dtype=torch.bool)
    expected[6:18, 6:18] = True
    assert torch.equal(touched, expected)


def test_patch_decoder_without_overlap_lays_tiles():
    torch.manual_seed(0)
    decoder = PatchDecoder(in_channels=4, patch=4, hidden=8, overlap=0)
    z = torch.randn(1, 4, 2, 3)
    x_hat = decoder(z)
    for row in range(2):
        for column in range(3):
            alone = decoder(z[:, :, row : row + 1, column : column + 1])
            tile = x_hat[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            torch.testing.assert_close(tile, alone)


@pytest.mark.parametrize("head", ["none", "clamp", "tanh", "sigmoid"])
def test_head_reaches_what_it_says(head):
    low, high = head_reach(head)
    x = torch.linspace(-60, 60, 1001)
    y = apply_head(x, head)
    assert low <= y.min()
    assert y.max() <= high
    if high < float("inf"):
        assert y.max() == pytest.approx(high)
        assert y.min() == pytest.approx(low)
    else:
        assert torch.equal(y, x)


def test_head_works_in_float32():
    x = torch.full((1,), 4.0, dtype=torch.bfloat16)
    assert apply_head(x, "tanh").item() == pytest.approx(torch.tensor(4.0).tanh().item(), abs=1e-7)


def test_clamp_lets_a_value_back_in_but_not_further_out():
    x = torch.tensor([1.5, 1.5, -1.5, -1.5, 0.5], requires_grad=True)
    # descent moves against the gradient: + pulls down, − pushes up
    apply_head(x, "clamp").backward(torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0, 0.0, -1.0, 2.0]


def test_unknown_head_is_refused_with_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'sigmoid'"):
        ResidualDecoder(head="sigmod")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("network", [ResidualEncoder, ResidualDecoder])
def test_stride_must_fit_the_stages(network):
    with pytest.raises(RecipeError, match="a multiple of 4"):
        network(stride=6, multipliers=(1, 2, 4))
    with pytest.raises(RecipeError, match="blocks must be positive"):
        network(blocks=0)
    with pytest.raises(RecipeError, match="at least one stage"):
        network(multipliers=())


def test_overlap_must_fit_the_patch():
    with pytest.raises(RecipeError, match=r"0 … 4 for patch 8"):
        PatchDecoder(patch=8, overlap=5)
    with pytest.raises(RecipeError, match=r"0 … 8 for patch 8"):
        PatchEncoder(patch=8, overlap=-1)
    with pytest.raises(RecipeError, match="a patch needs a side"):
        PatchEncoder(patch=0)
