"""What every encoder and decoder promises, checked on every member of the tables.

Shape letters: B batch, C channels, H height, W width.
"""

import pytest
import torch
from torch import nn

from pellucid.errors import PellucidError
from pellucid.models import load_weights, receptive_field, save_weights
from pellucid.nn import DECODERS, ENCODERS, head_reach

ENCODER_CASES = {
    "residual": [
        {"channels": 6, "stride": 4, "width": 16, "multipliers": (1, 2)},
        {"in_channels": 1, "channels": 5, "stride": 2, "width": 16, "multipliers": (1, 1)},
        {"channels": 6, "stride": 4, "width": 16, "multipliers": (1, 2), "attention": True},
        {"channels": 6, "stride": 4, "width": 16, "multipliers": (1, 2), "linear": True},
    ],
    "patch": [
        {"channels": 6, "patch": 8, "width": 8},
        {"in_channels": 1, "channels": 5, "patch": 7, "width": 8, "overlap": 2},
        {"channels": 6, "patch": 6, "width": 8, "overlap": 3},
    ],
    "seanet": [
        {"channels": 6, "strides": (2, 3), "width": 8},
        {"in_channels": 2, "channels": 5, "strides": (4,), "width": 8, "causal": False},
        {"channels": 6, "strides": (2, 2), "width": 8, "activation": "snake"},
        {"channels": 6, "strides": (3,), "width": 8, "weight_norm": False, "dilations": (2,)},
        {"channels": 6, "patch": 3, "strides": (2, 2), "width": 8},
    ],
}
DECODER_CASES = {
    "residual": [
        {"in_channels": 6, "stride": 4, "width": 16, "multipliers": (1, 2)},
        {"in_channels": 5, "out_channels": 1, "stride": 2, "width": 16, "multipliers": (1, 1)},
        {"in_channels": 6, "stride": 4, "width": 16, "multipliers": (1, 2), "attention": True},
        {"in_channels": 6, "stride": 6, "width": 16, "multipliers": (1, 2), "head": "tanh"},
        {"in_channels": 6, "stride": 8, "width": 16, "multipliers": (1, 2), "last": "subpixel"},
        {"in_channels": 6, "stride": 4, "width": 16, "multipliers": (1, 2), "linear": True},
    ],
    "patch": [
        {"in_channels": 6, "patch": 8, "hidden": 16},
        {"in_channels": 5, "out_channels": 1, "patch": 7, "hidden": 16, "overlap": 0},
        {"in_channels": 6, "patch": 6, "hidden": 16, "overlap": 3, "head": "sigmoid"},
    ],
    "seanet": [
        {"in_channels": 6, "strides": (2, 3), "width": 8},
        {"in_channels": 5, "out_channels": 2, "strides": (4,), "width": 8, "causal": False},
        {"in_channels": 6, "strides": (2, 2), "width": 8, "activation": "snake", "head": "tanh"},
        {"in_channels": 6, "strides": (3,), "width": 8, "weight_norm": False, "dilations": (2,)},
        {"in_channels": 6, "patch": 3, "strides": (2, 2), "width": 8},
        {"in_channels": 6, "patch": 2, "strides": (3,), "width": 8, "causal": False},
    ],
}
EVERY_ENCODER = [(name, kw) for name, cases in ENCODER_CASES.items() for kw in cases]
EVERY_DECODER = [(name, kw) for name, cases in DECODER_CASES.items() for kw in cases]
ONE_OF_EACH = [(ENCODERS, name, cases[0]) for name, cases in ENCODER_CASES.items()] + [
    (DECODERS, name, cases[0]) for name, cases in DECODER_CASES.items()
]
EVERYTHING = [(ENCODERS, *case) for case in EVERY_ENCODER] + [
    (DECODERS, *case) for case in EVERY_DECODER
]


def build(table: dict, name: str, keywords: dict) -> nn.Module:
    torch.manual_seed(0)
    return table[name](**keywords)


def batch_for(network: nn.Module, cells: int = 6, count: int = 2) -> torch.Tensor:
    side = cells * network.stride if hasattr(network, "channels") else cells
    torch.manual_seed(1)
    return torch.randn(count, network.in_channels, *[side] * network.axes)


def middle_of(x: torch.Tensor, network: nn.Module, *along: slice) -> torch.Tensor:
    """Return x cut by one slice per position axis; the last slice serves the last axis."""
    return x[(..., *([along[0]] * (network.axes - 1)), along[-1])]


def test_every_member_has_a_case():
    # graphs have tokens instead of a coarser grid: their laws are in test_graph_networks.py
    assert set(ENCODER_CASES) == set(ENCODERS) - {"graph", "timm"}
    # position embeddings know where they are: timm has a suite of its own
    assert set(DECODER_CASES) == set(DECODERS) - {"graph"}


@pytest.mark.parametrize(("name", "keywords"), EVERY_ENCODER)
def test_encoder_names_what_it_returns(name, keywords):
    encoder = build(ENCODERS, name, keywords)
    x_BCHW = batch_for(encoder)
    h = encoder(x_BCHW)
    assert h.shape == (2, encoder.channels, *[6] * encoder.axes)
    assert h.isfinite().all()
    features = encoder.features(x_BCHW)
    assert tuple(features) == encoder.intermediates
    assert torch.equal(features[encoder.intermediates[-1]], h)
    sides = [feature.shape[-1] for feature in features.values()]
    assert sides == sorted(sides, reverse=True)


@pytest.mark.parametrize(("name", "keywords"), EVERY_DECODER)
def test_decoder_fills_its_stride_within_the_reach_of_its_head(name, keywords):
    decoder = build(DECODERS, name, keywords)
    x_hat = decoder(batch_for(decoder) * 30)
    side = 6 * decoder.stride
    assert x_hat.shape == (2, decoder.out_channels, *[side] * decoder.axes)
    assert x_hat.dtype == torch.float32
    low, high = head_reach(decoder.head)
    assert x_hat.isfinite().all()
    assert low <= x_hat.min()
    assert x_hat.max() <= high
    assert any(decoder.last_layer is parameter for parameter in decoder.parameters())


@pytest.mark.parametrize(("table", "name", "keywords"), EVERYTHING)
def test_every_parameter_gets_a_gradient(table, name, keywords):
    network = build(table, name, keywords)
    network(batch_for(network)).square().mean().backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert silent == []


@pytest.mark.parametrize(("table", "name", "keywords"), EVERYTHING)
def test_weights_round_trip_through_a_file(table, name, keywords, tmp_path):
    network = build(table, name, keywords)
    save_weights(network, tmp_path / "model.safetensors")
    torch.manual_seed(99)
    other = table[name](**keywords)
    x = batch_for(network)
    assert not torch.equal(other(x), network(x))
    load_weights(other, tmp_path / "model.safetensors")
    assert torch.equal(other(x), network(x))


@pytest.mark.parametrize(("table", "name", "keywords"), EVERYTHING)
def test_channels_last_changes_nothing(table, name, keywords):
    network = build(table, name, keywords)
    x = batch_for(network)
    expected = network(x)
    if network.axes != 2:
        with pytest.raises(RuntimeError):  # the memory order exists for images only
            x.contiguous(memory_format=torch.channels_last)
        return
    network = network.to(memory_format=torch.channels_last)
    found = network(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("table", "name", "keywords"), EVERYTHING)
def test_bf16_stays_close_to_float32(table, name, keywords):
    network = build(table, name, keywords)
    x = batch_for(network)
    expected = network(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(x).float()
    error = (found - expected).square().mean() / expected.var()
    assert error < 1e-3  # 30 dB below the signal: eight bits through some ten layers


@pytest.mark.parametrize(("table", "name", "keywords"), EVERYTHING)
def test_moving_the_content_by_a_cell_moves_the_output(table, name, keywords):
    """Content on a constant ground, farther from the border than the network looks.

    This holds with GroupNorm and attention too: neither asks where a value stands.
    """
    network = build(table, name, keywords).double().eval()
    encodes = hasattr(network, "channels")
    cell, out = (network.stride, 1) if encodes else (1, network.stride)
    local = build(
        table, name, {**keywords, "attention": False} if "attention" in keywords else keywords
    )
    reach = -(-(receptive_field(local) or 0) // cell)
    cells = 4 * reach + 5
    axes = network.axes
    ground = torch.full((1, network.in_channels, *[cells * cell] * axes), 0.3).double()
    content = torch.randn(1, network.in_channels, *[cell] * axes).double()
    middle = cells // 2 * cell
    here, there = ground.clone(), ground.clone()
    one, next_one = slice(middle, middle + cell), slice(middle + cell, middle + 2 * cell)
    middle_of(here, network, one).copy_(content)
    middle_of(there, network, one, next_one).copy_(content)
    y_here, y_there = network(here), network(there)
    seen = slice((cells // 2 - reach) * out, (cells // 2 + reach + 1) * out)
    moved = slice(seen.start + out, seen.stop + out)
    found = middle_of(y_there, network, seen, moved)
    torch.testing.assert_close(found, middle_of(y_here, network, seen))
    assert middle_of(y_here, network, seen).std() > 1e-4


@pytest.mark.parametrize("last", ["resize", "subpixel"])
@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("stride", [2, 4, 6])
def test_residual_decoder_draws_no_checkerboard(stride, attention, last):
    """A constant latent gives a constant interior: no energy at the harmonics of the stride."""
    torch.manual_seed(0)
    decoder = DECODERS["residual"](
        in_channels=4, stride=stride, width=16, multipliers=(1, 2), attention=attention, last=last
    ).double()
    z_BCHW = torch.randn(1, 4, 1, 1).double().expand(1, 4, 24, 24)
    x_hat = decoder(z_BCHW)
    inner = x_hat[..., 9 * stride : 15 * stride, 9 * stride : 15 * stride]
    spectrum = torch.fft.fft2(inner).abs()
    energy_at_mean = spectrum[..., 0, 0].min()
    spectrum[..., 0, 0] = 0
    assert spectrum.max() < 1e-5 * energy_at_mean


@pytest.mark.parametrize(("name", "keywords"), EVERY_ENCODER)
def test_sides_that_do_not_fit_are_refused_with_the_nearest_that_do(name, keywords):
    encoder = build(ENCODERS, name, keywords)
    stride = encoder.stride
    sides = (3 * stride + 1, 2 * stride)[: encoder.axes]
    with pytest.raises(PellucidError) as caught:
        encoder(torch.zeros(1, encoder.in_channels, *sides))
    assert f"{3 * stride} or {4 * stride}" in str(caught.value)
    assert all(str(side) in str(caught.value) for side in sides)


@pytest.mark.parametrize(("table", "name", "keywords"), ONE_OF_EACH)
def test_another_number_of_channels_is_refused(table, name, keywords):
    network = build(table, name, keywords)
    wrong = batch_for(network)[:, :1].repeat(1, network.in_channels + 1, *[1] * network.axes)
    with pytest.raises(PellucidError, match=rf"expected: .*\b{network.in_channels}\b"):
        network(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(("table", "name", "keywords"), ONE_OF_EACH)
def test_compiled_equals_eager(table, name, keywords):
    network = build(table, name, keywords)
    x = batch_for(network)
    torch.testing.assert_close(torch.compile(network)(x), network(x), atol=1e-4, rtol=1e-4)
