"""Working on rows is the network itself, whatever the chunks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.errors import PellucidError
from pellucid.nn import SEANetDecoder, SEANetEncoder
from pellucid.nn.row_stream import RowStream
from pellucid.nn.streaming_conv import ConvTranspose1d

SMALL = {"strides": (2, 3), "width": 6, "dilations": (1, 3)}


def pair(**changes) -> tuple[SEANetEncoder, SEANetDecoder]:
    torch.manual_seed(0)
    keywords = {**SMALL, **changes}
    encoder = SEANetEncoder(2, channels=5, **keywords).double().eval()
    decoder = SEANetDecoder(5, 2, **keywords).double().eval()
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)  # biases and Snake's α must matter
    return encoder, decoder


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=6),
    st.sampled_from(["elu", "snake"]),
    st.sampled_from([1, 4]),
    st.sampled_from(["none", "tanh"]),
)
@torch.no_grad()
def test_any_chunks_give_what_the_network_gives(
    frames: list[int], activation: str, patch: int, head: str
) -> None:
    encoder, decoder = pair(activation=activation, patch=patch)
    decoder.head = head  # type: ignore[assignment]
    x = torch.randn(1, 2, sum(frames) * encoder.stride).double()
    h = encoder(x)
    rows_in, rows_out = RowStream(encoder), RowStream(decoder)
    chunks = x[0].T.split([n * encoder.stride for n in frames])
    h_FC = torch.cat([rows_in.push(chunk) for chunk in chunks])
    torch.testing.assert_close(h_FC.T, h[0], atol=1e-12, rtol=1e-10)
    x_TC = torch.cat([rows_out.push(chunk) for chunk in h[0].T.split(frames)])
    torch.testing.assert_close(x_TC.T, decoder(h)[0], atol=1e-6, rtol=1e-6)  # float32 samples


def test_weights_are_those_of_the_beginning() -> None:
    _, decoder = pair()
    z = torch.randn(3, 5).double()
    stream, expected = RowStream(decoder), RowStream(decoder).push(z)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(1.0)
    assert torch.equal(stream.push(z), expected)


def test_what_cannot_work_on_rows_is_refused() -> None:
    encoder, decoder = pair(causal=False)
    for network in (encoder, decoder):
        with pytest.raises(PellucidError, match="causal"):
            RowStream(network)
    _, decoder = pair()
    first = decoder.stages[0]
    assert isinstance(first, torch.nn.Sequential)
    first[1] = ConvTranspose1d(24, 12, 5, stride=3)
    with pytest.raises(PellucidError, match="multiple of its stride"):
        RowStream(decoder)
    first[1] = torch.nn.Tanh()
    with pytest.raises(PellucidError, match="Tanh"):
        RowStream(decoder)
