"""Autoencoder: joins parts that fit, evaluates without touching anything.

Shape letters: B batch, C channels, D code dimension, P positions.
"""

import pytest
import torch
from torch import Tensor

from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.errors import PellucidError, RecipeError
from pellucid.models import Autoencoder
from pellucid.nn import PatchDecoder, PatchEncoder, ResidualDecoder, ResidualEncoder
from pellucid.records import Latent, Penalty


class Rounding(Bottleneck):
    """A stand-in quantiser: noise and a running count in train mode, integers as codes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = self.out_channels = channels
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        if self.training:
            self.seen += 1
            h_BCP = h_BCP + torch.randn_like(h_BCP)
        codes = h_BCP.round()
        z = h_BCP + (codes - h_BCP).detach()
        latent = Latent(mean=h_BCP, codes=codes.long().movedim(1, -1), quantized=z)
        commitment = Penalty((h_BCP - codes.detach()).square().mean(), 0.25, "mean squared latent")
        return BottleneckOutput(z, latent, {"commitment": commitment}, {})

    def decode_codes(self, codes: Tensor) -> Tensor:
        return codes.movedim(-1, 1).float()

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        return gradient_BCP

    def code_space(self, h_BCP: Tensor) -> Tensor:
        return h_BCP

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        return self(z_BDP).z


@pytest.fixture
def autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(
        PatchEncoder(channels=6, patch=4, width=8),
        Rounding(6),
        PatchDecoder(in_channels=6, patch=4, hidden=16, overlap=1),
    )


def test_forward_returns_every_part(autoencoder):
    x = torch.randn(2, 3, 12, 8)
    out = autoencoder(x)
    assert out.x_hat.shape == x.shape
    assert out.h.shape == out.z.shape == (2, 6, 3, 2)
    assert torch.equal(out.h, autoencoder.encoder(x))
    torch.testing.assert_close(out.x_hat, autoencoder.decoder(out.z))
    assert set(out.penalties) == {"commitment"}
    with pytest.raises(AttributeError):
        out.x_hat = x  # frozen


@pytest.mark.parametrize("training", [True, False])
def test_encode_is_the_evaluated_path_in_either_mode_and_changes_nothing(autoencoder, training):
    autoencoder.train(training)
    autoencoder.decoder.eval()  # a mixed mode must survive, too
    x = torch.randn(2, 3, 8, 8)
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    modes = [module.training for module in autoencoder.modules()]
    latent = autoencoder.encode(x)
    assert latent.quantized is not None
    assert torch.equal(latent.quantized.round(), autoencoder.encoder(x).round())
    assert torch.equal(autoencoder.encode(x).mean, latent.mean)
    assert [module.training for module in autoencoder.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in autoencoder.state_dict().items())


def test_modes_come_back_when_a_part_fails(autoencoder):
    autoencoder.train()
    with pytest.raises(PellucidError):
        autoencoder.encode(torch.zeros(1, 3, 7, 8))
    assert all(module.training for module in autoencoder.modules())


def test_decode_takes_a_latent_a_tensor_or_codes(autoencoder):
    autoencoder.eval()
    x = torch.randn(2, 3, 8, 8)
    out = autoencoder(x)
    latent = autoencoder.encode(x)
    torch.testing.assert_close(autoencoder.decode(latent), out.x_hat)
    torch.testing.assert_close(autoencoder.decode(out.z), out.x_hat)
    torch.testing.assert_close(autoencoder.decode_codes(latent.codes), out.x_hat)
    continuous = Latent(mean=latent.mean)
    torch.testing.assert_close(autoencoder.decode(continuous), autoencoder.decoder(latent.mean))


def test_gradients_flow_through_encode(autoencoder):
    autoencoder.decode(autoencoder.encode(torch.randn(1, 3, 8, 8))).square().mean().backward()
    assert autoencoder.encoder.out.weight.grad.abs().sum() > 0


def test_parameter_count_leaves_buffers_out(autoencoder):
    parts = [autoencoder.encoder, autoencoder.decoder]
    expected = sum(p.numel() for part in parts for p in part.parameters())
    assert autoencoder.parameter_count() == expected


@pytest.mark.parametrize(
    ("encoder", "bottleneck", "decoder", "message"),
    [
        ({"channels": 5}, 6, {}, "encoder.channels = 5, bottleneck.channels = 6"),
        ({}, 6, {"in_channels": 7}, "bottleneck.out_channels = 6, decoder.in_channels = 7"),
        ({}, 6, {"stride": 8}, "encoder.stride = 4, decoder.stride = 8"),
    ],
)
def test_parts_that_do_not_fit_are_refused(encoder, bottleneck, decoder, message):
    usual = {"stride": 4, "width": 16, "multipliers": (1, 1)}
    with pytest.raises(RecipeError, match=message):
        Autoencoder(
            ResidualEncoder(**{"channels": 6, **usual, **encoder}),
            Rounding(bottleneck),
            ResidualDecoder(**{"in_channels": 6, **usual, **decoder}),
        )


def test_a_part_that_does_not_say_its_size_is_refused():
    with pytest.raises(PellucidError, match="Conv2d does not say its channels"):
        Autoencoder(torch.nn.Conv2d(3, 6, 4, 4), Rounding(6), PatchDecoder(in_channels=6))
