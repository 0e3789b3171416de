"""The whole autoencoder with every real bottleneck."""

import pytest
import torch

from pellucid.bottlenecks import BOTTLENECKS
from pellucid.errors import PellucidError
from pellucid.models import Autoencoder, autocast_for, load_weights, reconstruct, save_weights
from pellucid.nn import PatchDecoder, ResidualDecoder, ResidualEncoder

CASES = {
    "identity": {},
    "gaussian": {"dim": 4},
    "vq": {"codes": 16, "dim": 4},
    "rvq": {"levels": 3, "codes": 16},
    "factorised-rvq": {"levels": 3, "codes": 16, "dim": 3, "kmeans_iterations": 1},
    "fsq": {"levels": (5, 5, 3)},
    "lfq": {"bits": 5},
    "bsq": {"bits": 5},
    "simvq": {"codes": 16, "dim": 4},
}


def build(kind: str, *, seed: int = 0, patches: bool = False) -> Autoencoder:
    torch.manual_seed(seed)
    size = {"stride": 4, "width": 16, "multipliers": (1, 2)}
    bottleneck = BOTTLENECKS[kind](8, **CASES[kind])
    channels = bottleneck.out_channels
    if patches:
        decoder = PatchDecoder(in_channels=channels, patch=4, hidden=16, overlap=2)
    else:
        decoder = ResidualDecoder(in_channels=channels, **size)
    return Autoencoder(ResidualEncoder(channels=8, **size), bottleneck, decoder)


def step(autoencoder: Autoencoder, precision: str = "float32") -> torch.Tensor:
    """Run one training batch and return its loss, after backward."""
    torch.manual_seed(1)
    x = torch.randn(4, 3, 16, 24)
    with autocast_for("cpu", precision):  # pyright: ignore[reportArgumentType]
        out = autoencoder(x)
    loss = (out.x_hat - x).square().mean()
    for penalty in out.penalties.values():
        loss = loss + penalty.weight * penalty.value
    loss.backward()
    return loss


def test_every_bottleneck_has_a_case():
    assert set(CASES) == set(BOTTLENECKS)


@pytest.mark.parametrize("patches", [False, True])
@pytest.mark.parametrize("kind", CASES)
def test_one_step_reaches_every_parameter(kind, patches):
    autoencoder = build(kind, patches=patches)
    loss = step(autoencoder)
    assert loss.isfinite()
    silent = [
        name
        for name, parameter in autoencoder.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert silent == []


@pytest.mark.parametrize("kind", CASES)
def test_a_bf16_step_costs_about_what_a_float32_step_costs(kind):
    assert step(build(kind), "bf16").item() == pytest.approx(step(build(kind)).item(), rel=0.03)


@pytest.mark.parametrize("kind", CASES)
def test_encoding_in_train_mode_touches_nothing_and_repeats(kind):
    autoencoder = build(kind)
    step(autoencoder)
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    x = torch.randn(2, 3, 8, 8)
    first, second = autoencoder.encode(x), autoencoder.encode(x)
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(autoencoder.decode(first), autoencoder.decode(second))
    assert all(torch.equal(v, before[k]) for k, v in autoencoder.state_dict().items())
    assert autoencoder.bottleneck.training


@pytest.mark.parametrize("kind", CASES)
def test_codes_decode_to_what_their_latent_decodes_to(kind):
    autoencoder = build(kind)
    step(autoencoder)
    latent = autoencoder.encode(torch.randn(2, 3, 8, 12))
    if autoencoder.bottleneck.bits_per_position is None:
        with pytest.raises(PellucidError):
            autoencoder.decode_codes(torch.zeros(2, 2, 3, dtype=torch.long))
        return
    assert latent.codes is not None
    assert latent.codes.shape[:3] == (2, 2, 3)
    torch.testing.assert_close(
        autoencoder.decode_codes(latent.codes), autoencoder.decode(latent), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", CASES)
def test_a_trained_model_comes_back_from_its_file(kind, tmp_path):
    autoencoder = build(kind)
    step(autoencoder)
    save_weights(autoencoder, tmp_path / "model.safetensors")
    other = build(kind, seed=5)
    load_weights(other, tmp_path / "model.safetensors")
    x = torch.randn(1, 3, 10, 9)
    assert torch.equal(reconstruct(autoencoder, x), reconstruct(other, x))
