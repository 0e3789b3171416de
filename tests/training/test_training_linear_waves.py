"""A waveform model with linear paths starts as a transform coder of its data."""

import pytest
import torch

from pellucid.bottlenecks import RVQ
from pellucid.bottlenecks.identity import Identity
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn import SEANetDecoder, SEANetEncoder
from pellucid.nn.streaming_conv import Conv1d
from pellucid.training import linear_start
from pellucid.training.data_start import start_from_data

FRAME, DIM = 12, 4
NETWORK = {"patch": 3, "strides": (4,), "width": 6, "linear": True}


class Humming:
    """Crops of low-passed noise: neighbouring samples are alike, as in sound."""

    def __init__(self, count: int = 48, length: int = 20 * FRAME) -> None:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(count, 1, length + 15, generator=generator)
        self.waves = torch.nn.functional.avg_pool1d(noise, 16, stride=1)

    def __len__(self) -> int:
        return len(self.waves)

    def __getitem__(self, address):
        wave = self.waves[address[0]]
        return {"x": wave, "target": wave}


def started(bottleneck, monkeypatch) -> tuple[Autoencoder, torch.Tensor]:
    monkeypatch.setattr(linear_start, "SAMPLES", 96)
    torch.manual_seed(0)
    autoencoder = Autoencoder(
        SEANetEncoder(1, channels=DIM, **NETWORK),
        bottleneck,
        SEANetDecoder(DIM, 1, **NETWORK),
    ).eval()
    data = Humming()
    start_from_data(autoencoder, data)
    return autoencoder, data.waves


@torch.no_grad()
def test_the_error_is_at_most_that_of_pca_of_frames(monkeypatch):
    autoencoder, x = started(Identity(DIM), monkeypatch)
    rows = x.unfold(-1, FRAME, FRAME).flatten(0, 2).double()
    values = torch.linalg.eigvalsh(rows.T @ rows / len(rows))
    left_out = float(values[:-DIM].sum()) / FRAME
    error = float((autoencoder(x).x_hat - x).square().mean())
    assert error <= left_out * (1 + 1e-3)  # the frame before can only help
    assert error > 0.2 * left_out


@torch.no_grad()
def test_the_networks_start_silent_and_can_learn(monkeypatch):
    autoencoder, x = started(Identity(DIM), monkeypatch)
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    assert isinstance(encoder, SEANetEncoder)
    assert isinstance(decoder, SEANetDecoder)
    assert encoder.linear is not None
    torch.testing.assert_close(encoder(x), encoder.linear(x))
    with torch.enable_grad():
        autoencoder(x).x_hat.square().mean().backward()
    for network in (encoder.end, decoder.final):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@torch.no_grad()
def test_latents_have_unit_power_and_half_the_spread_of_the_spectrum(monkeypatch):
    autoencoder, x = started(Identity(DIM), monkeypatch)
    rows = x.unfold(-1, FRAME, FRAME).flatten(0, 2).double()
    values = torch.linalg.eigvalsh(rows.T @ rows / len(rows)).flip(0)[:DIM]
    power = autoencoder.encode(x).mean.square().mean((0, 2)).double()
    assert float(power.mean()) == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(power / power[0], (values / values[0]).sqrt(), atol=0.02, rtol=0)


def test_it_starts_with_codes_too(monkeypatch):
    autoencoder, x = started(RVQ(DIM, levels=2, codes=16), monkeypatch)
    assert torch.isfinite(autoencoder(x).x_hat).all()


@torch.no_grad()
def test_every_layer_starts_with_unit_power(monkeypatch):
    """Without linear paths the frames have unit variance and the output the target's power."""
    monkeypatch.setattr(linear_start, "SAMPLES", 96)
    network = {**NETWORK, "linear": False}
    torch.manual_seed(0)
    autoencoder = Autoencoder(
        SEANetEncoder(1, channels=DIM, **network), Identity(DIM), SEANetDecoder(DIM, 1, **network)
    ).eval()
    data = Humming()
    data.waves = 0.03 * data.waves
    before = autoencoder.encode(data.waves).mean.std()
    start_from_data(autoencoder, data)
    h = autoencoder.encode(data.waves).mean
    torch.testing.assert_close(h.std((0, 2)), torch.ones(DIM), atol=0.15, rtol=0)
    assert before < 0.3
    x_hat = autoencoder(data.waves).x_hat
    assert float(x_hat.std() / data.waves.std()) == pytest.approx(1.0, abs=0.2)
    seen: list[float] = []
    for layer in [m for m in autoencoder.encoder.modules() if isinstance(m, Conv1d)]:
        layer.register_forward_hook(lambda _m, _x, y: seen.append(float(y.std())))
    autoencoder.encoder(data.waves)
    assert seen == pytest.approx([1.0] * len(seen), abs=0.15)
