"""A waveform model with linear paths starts as a transform coder of its data."""

import pytest
import torch

from pellucid.bottlenecks import RVQ
from pellucid.bottlenecks.identity import Identity
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn import SEANetDecoder, SEANetEncoder
from pellucid.nn.streaming_conv import Conv1d
from pellucid.training import linear_start, linear_waves
from pellucid.training.data_start import start_from_data
from pellucid.training.unit_start import start_unit_activations

FRAME, DIM = 12, 4
NETWORK = {"patch": 3, "strides": (4,), "width": 6, "rms": 0.3, "linear": True}


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


def started(bottleneck, monkeypatch, soft=None) -> tuple[Autoencoder, torch.Tensor]:
    monkeypatch.setattr(linear_start, "SAMPLES", 96)
    if soft is not None:
        monkeypatch.setattr(linear_waves, "_SOFT", soft)
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
    autoencoder, x = started(Identity(DIM), monkeypatch, soft=0.0)
    rows = x.unfold(-1, FRAME, FRAME).flatten(0, 2).double()
    values = torch.linalg.eigvalsh(rows.T @ rows / len(rows))
    left_out = float(values[:-DIM].sum()) / FRAME
    error = float((autoencoder(x).x_hat - x).square().mean())
    assert error <= left_out * (1 + 1e-3)  # the frame before can only help
    assert error > 0.2 * left_out


def test_the_networks_start_softly_and_learn(monkeypatch):
    autoencoder, x = started(Identity(DIM), monkeypatch)
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    assert isinstance(encoder, SEANetEncoder)
    assert isinstance(decoder, SEANetDecoder)
    assert encoder.linear is not None
    assert decoder.linear is not None

    def shares() -> list[float]:
        h, x_hat = encoder(x), decoder(encoder(x))
        straight = decoder.rms * decoder.linear(h)  # type: ignore[misc]
        beside = [h - encoder.linear(x / encoder.rms), x_hat - straight]  # type: ignore[misc]
        pairs = zip(beside, (h, x_hat), strict=True)
        return [float(n.square().mean() / y.square().mean()) for n, y in pairs]

    with torch.no_grad():
        before = shares()
        error = (autoencoder(x).x_hat - x).square().mean()
    assert all(1e-4 < share < 0.03 for share in before)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = (autoencoder(x).x_hat - x).square().mean()
        loss.backward()
        optimizer.step()
    networks = [encoder.end[-1].conv, decoder.final.conv]
    for layer in networks:  # directions turned, not lengths alone
        assert layer.parametrizations.weight.original1.grad.abs().max() > 0
    assert float(loss) < 0.9 * float(error)


@torch.no_grad()
def test_latents_have_unit_power_and_half_the_spread_of_the_spectrum(monkeypatch):
    autoencoder, x = started(Identity(DIM), monkeypatch, soft=0.0)
    rows = x.unfold(-1, FRAME, FRAME).flatten(0, 2).double()
    values = torch.linalg.eigvalsh(rows.T @ rows / len(rows)).flip(0)[:DIM]
    power = autoencoder.encode(x).mean.square().mean((0, 2)).double()
    assert float(power.mean()) == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(power / power[0], (values / values[0]).sqrt(), atol=0.02, rtol=0)


def test_it_starts_with_codes_too(monkeypatch):
    autoencoder, x = started(RVQ(DIM, levels=2, codes=16), monkeypatch)
    assert torch.isfinite(autoencoder(x).x_hat).all()


@torch.no_grad()
def test_every_layer_can_start_with_unit_power():
    """The frames have unit variance and the output the target's power."""
    network = {**NETWORK, "linear": False}
    torch.manual_seed(0)
    autoencoder = Autoencoder(
        SEANetEncoder(1, channels=DIM, **network), Identity(DIM), SEANetDecoder(DIM, 1, **network)
    ).eval()
    data = Humming()
    data.waves = 0.03 * data.waves
    before = autoencoder.encode(data.waves).mean.std()
    start_unit_activations(autoencoder, data.waves, data.waves)
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
