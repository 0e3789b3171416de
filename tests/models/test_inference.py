"""Images of any size; tiles that equal the whole where they can, and by how much they differ.

Shape letters: B batch, C channels, H height, W width.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_autoencoder import Rounding
from torch import nn

from pellucid.errors import PellucidError, RecipeError
from pellucid.models import (
    Autoencoder,
    autocast_for,
    receptive_field,
    reconstruct,
    resolve_precision,
)
from pellucid.models.inference import plan_tiles
from pellucid.nn import PatchDecoder, PatchEncoder, ResidualDecoder, ResidualEncoder
from pellucid.nn.postfilter import Postfilter


class Straight(Rounding):
    """The identity, so that a hair's breadth in h is not turned into another code."""

    def forward(self, h_BCP):
        out = super().forward(h_BCP)
        return type(out)(h_BCP, type(out.latent)(mean=h_BCP), {}, {})


def patch_autoencoder(**decoder) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(
        PatchEncoder(channels=6, patch=4, width=8, overlap=1),
        Straight(6),
        PatchDecoder(in_channels=6, patch=4, hidden=16, overlap=2, **decoder),
    )


def residual_autoencoder(norm: bool, attention: bool = False) -> Autoencoder:
    torch.manual_seed(0)
    size = {"stride": 4, "width": 16, "multipliers": (1, 2), "attention": attention}
    encoder = ResidualEncoder(channels=6, **size)
    decoder = ResidualDecoder(in_channels=6, **size)
    if not norm:
        for network in (encoder, decoder):
            for module in list(network.modules()):
                for name, child in module.named_children():
                    if isinstance(child, nn.GroupNorm):
                        setattr(module, name, nn.Identity())
    return Autoencoder(encoder, Straight(6), decoder)


def whole(autoencoder: Autoencoder, x: torch.Tensor) -> torch.Tensor:
    return reconstruct(autoencoder, x, tile=None)


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (4, 4), (21, 8), (64, 50)])
def test_any_size_comes_back_in_its_size(size):
    autoencoder = patch_autoencoder()
    x = torch.randn(3, 3, *size)
    x_hat = reconstruct(autoencoder, x, batch=2)
    assert x_hat.shape == x.shape
    assert x_hat.isfinite().all()
    assert autoencoder.training  # left in its mode
    one = reconstruct(autoencoder, x[1:2])
    torch.testing.assert_close(one, x_hat[1:2])


def test_sizes_that_fit_are_the_plain_path():
    autoencoder = patch_autoencoder().eval()
    x = torch.randn(2, 3, 16, 24)
    torch.testing.assert_close(reconstruct(autoencoder, x), autoencoder(x).x_hat)


@pytest.mark.parametrize("size", [(300, 33), (190, 203)])
def test_tiles_equal_the_whole_without_global_statistics(size):
    x = torch.randn(2, 3, *size)
    for autoencoder, tile in ((patch_autoencoder(), 64), (residual_autoencoder(norm=False), 176)):
        tiled = reconstruct(autoencoder, x, tile=tile, batch=3)
        torch.testing.assert_close(tiled, whole(autoencoder, x), atol=1e-5, rtol=1e-4)


def test_tiles_equal_the_whole_behind_a_postfilter():
    autoencoder = patch_autoencoder()
    autoencoder.postfilter = Postfilter(3, taps=5)
    kernel = autoencoder.postfilter.kernel_CCKK
    kernel += 0.02 * torch.randn(kernel.shape)
    x = torch.randn(2, 3, 200, 40)
    tiled = reconstruct(autoencoder, x, tile=64, batch=3)
    torch.testing.assert_close(tiled, whole(autoencoder, x), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(tiled, whole(patch_autoencoder(), x), atol=1e-2)


def test_too_little_overlap_shows():
    """The law above can fail: below twice the reach, tiles meet false borders."""
    autoencoder = residual_autoencoder(norm=False)
    x = torch.randn(1, 3, 200, 32)
    tiled = reconstruct(autoencoder, x, tile=112, overlap=4)
    assert (tiled - whole(autoencoder, x)).abs().max() > 1e-3


@pytest.mark.parametrize("attention", [False, True])
def test_tiles_differ_little_with_group_norm_and_attention(attention):
    """Statistics of a tile stand in for those of the image: some 25 dB below the signal here."""
    autoencoder = residual_autoencoder(norm=True, attention=attention)
    x = torch.randn(1, 3, 192, 192)
    expected = whole(autoencoder, x)
    tiled = reconstruct(autoencoder, x, tile=128)
    share = (tiled - expected).square().mean() / expected.var()
    assert 0 < share < 10 ** (-20 / 10)


def test_a_very_wide_image_is_worked_on_in_small_pieces():
    autoencoder = patch_autoencoder()
    pixels = []
    autoencoder.encoder.register_forward_pre_hook(
        lambda _, inputs: pixels.append(inputs[0].numel())
    )
    x = torch.rand(1, 3, 6, 30_000)
    x_hat = reconstruct(autoencoder, x, tile=256, batch=4)
    assert x_hat.shape == x.shape
    assert max(pixels) <= 4 * 3 * 8 * 256
    around = slice(14_000, 14_100)
    near = reconstruct(autoencoder, x[..., 13_952:14_152], tile=None)
    torch.testing.assert_close(x_hat[..., around], near[..., 48:148])


@settings(deadline=None, max_examples=60)
@given(
    cells=st.integers(1, 60),
    stride=st.integers(1, 8),
    tile=st.integers(1, 30),
    shared=st.integers(0, 29),
    reach=st.integers(0, 40),
)
def test_weights_of_tiles_sum_to_one(cells, stride, tile, shared, reach):
    length = cells * stride
    shared = min(shared, tile - 1)
    plan = plan_tiles(
        length, tile=tile * stride, overlap=shared * stride, stride=stride, reach=reach
    )
    total = torch.zeros(length)
    for start, weight in zip(plan.starts, plan.weights, strict=True):
        assert start % stride == 0
        total[start : start + len(weight)] += weight
    torch.testing.assert_close(total, torch.ones(length))
    assert plan.weights.min() >= 0


def test_tiles_that_do_not_advance_are_refused():
    with pytest.raises(PellucidError, match="do not advance"):
        reconstruct(patch_autoencoder(), torch.zeros(1, 3, 64, 64), tile=16, overlap=14)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 3, 0, 8), (0, 3, 8, 8)])
def test_nothing_to_reconstruct_is_said(shape):
    with pytest.raises(PellucidError, match="nothing to reconstruct"):
        reconstruct(patch_autoencoder(), torch.zeros(shape))


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_receptive_field_of_patches_is_their_rim(overlap):
    assert receptive_field(PatchEncoder(channels=4, patch=8, width=8, overlap=overlap)) == overlap
    assert receptive_field(PatchDecoder(in_channels=4, patch=8, hidden=8, overlap=overlap)) == (
        1 if overlap else 0
    )


def test_receptive_field_of_stacked_convolutions_is_their_sum():
    """stem 1, two 3×3 at stride 2, a strided 3×3, two 3×3 at stride 4; right of a cell less."""
    encoder = ResidualEncoder(channels=4, stride=4, width=16, multipliers=(1, 2))
    assert receptive_field(encoder) == 1 + 2 * 2 + 2 + 2 * 4


def test_receptive_field_agrees_with_perturbation():
    autoencoder = residual_autoencoder(norm=False)
    reach = receptive_field(autoencoder.encoder)
    assert reach is not None
    x = torch.randn(1, 3, 80, 80)
    h = autoencoder.encoder(x)[..., 10, 10]  # its cell is pixels 40 … 43
    outside, edge = x.clone(), x.clone()
    outside[..., : 40 - reach, :] += 5
    edge[..., 40 - reach, :] += 5
    assert torch.equal(autoencoder.encoder(outside)[..., 10, 10], h)
    assert not torch.equal(autoencoder.encoder(edge)[..., 10, 10], h)


def test_receptive_field_of_attention_has_no_end():
    assert receptive_field(residual_autoencoder(norm=True, attention=True).encoder) is None


def test_receptive_field_refuses_a_network_off_its_stride():
    encoder = PatchEncoder(channels=4, patch=4, width=8)
    encoder.out = nn.Conv2d(16, 4, 2, stride=2)
    with pytest.raises(PellucidError, match="does not keep to its stride 4"):
        receptive_field(encoder)


def test_precision_is_decided_once_and_named():
    assert resolve_precision("cpu", "float32") == "float32"
    assert resolve_precision("cpu", "bf16") == "bf16"
    able = torch.cpu.get_capabilities()
    fast = able.get("amx_bf16") or able.get("avx512_bf16")
    assert resolve_precision("cpu") == ("bf16" if fast else "float32")
    with pytest.raises(RecipeError, match="did you mean 'bf16'"):
        resolve_precision("cpu", "fp16")  # pyright: ignore[reportArgumentType]
    layer = nn.Linear(4, 4)
    for precision, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast_for("cpu", precision):
            assert layer(torch.zeros(1, 4)).dtype == dtype


def test_bf16_reconstruction_stays_close():
    autoencoder = patch_autoencoder(head="tanh")
    x = torch.randn(1, 3, 32, 32)
    fast, exact = reconstruct(autoencoder, x, precision="bf16"), reconstruct(autoencoder, x)
    assert fast.dtype == torch.float32
    assert (fast - exact).square().mean() < 1e-3 * exact.var()
