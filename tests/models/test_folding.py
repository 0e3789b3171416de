"""A folded copy gives the same numbers, has no parametrisations, and leaves the original alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils import parametrize

from pellucid.bottlenecks import RVQ
from pellucid.models.folding import folded
from pellucid.nn import SEANetDecoder, SEANetEncoder


@pytest.mark.parametrize("activation", ["elu", "snake"])
def test_the_same_numbers_without_parametrisations(activation) -> None:
    torch.manual_seed(0)
    encoder = SEANetEncoder(1, channels=8, strides=(2, 5), width=6, activation=activation)
    decoder = SEANetDecoder(8, 1, strides=(2, 5), width=6, activation=activation)
    x = torch.randn(2, 1, 40)
    for network, signal in ((encoder, x), (decoder, encoder(x))):
        plain = folded(network)
        assert torch.equal(plain(signal), network(signal))
        assert not any(parametrize.is_parametrized(part) for part in plain.modules())
        assert not any(p.requires_grad for p in plain.parameters())
        assert all(p.requires_grad for p in network.parameters())
        assert parametrize.is_parametrized(network.stem.conv)
        assert network.training
        assert not plain.training


def test_codes_alone_are_the_codes_of_the_whole_forward() -> None:
    torch.manual_seed(0)
    for options in ({"dim": 4, "cosine": True}, {}, {"dropout": 0.5}):
        quantizer = RVQ(8, levels=3, codes=16, init="normal", **options)
        h = torch.randn(2, 8, 7)
        codes = quantizer.encode_codes(h)  # in train mode too
        assert torch.equal(codes, quantizer.eval()(h).latent.codes)
        assert torch.equal(quantizer.encode_codes(h, levels=2), codes[..., :2])


def test_folding_twice_changes_nothing_more() -> None:
    network = SEANetEncoder(1, channels=4, strides=(2,), width=4)
    once = folded(network)
    twice = folded(once)
    assert once.state_dict().keys() == twice.state_dict().keys()
    assert torch.equal(once(torch.ones(1, 1, 8)), twice(torch.ones(1, 1, 8)))
