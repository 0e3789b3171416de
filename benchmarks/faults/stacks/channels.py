"""Faults of channel stacks: scales, order, offsets, blur, seams."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.proofs import both, loses, measures, reconstructed
from benchmarks.faults.convolutional.training import copied, fit, specimen
from benchmarks.faults.stacks.bases import BRIGHT, continuous
from benchmarks.faults.stacks.tissue import mibi
from torch import Tensor, nn


@torch.no_grad()
def channel_r2(specimen_: Specimen) -> Tensor:
    """Return R² per channel."""
    x, x_hat = reconstructed(specimen_, 256)
    error = (x_hat - x).square().mean((0, 2, 3))
    return 1 - error / x.var((0, 2, 3)).clamp_min(1e-12)


def quiet_r2(specimen_: Specimen) -> float:
    """Return the mean R² of the quieter half of the live channels."""
    assert specimen_.validation is not None
    std = specimen_.validation.std((0, 2, 3))
    live = std > 1e-4 * std.max()
    r2, std = channel_r2(specimen_)[live], std[live]
    return float(r2[std <= std.median()].clamp_min(-1).mean())


def raw_counts(healthy: Trained, seed: int) -> Specimen:
    """Raw ion counts without any normalisation: two loud channels own the error."""
    data = mibi(BRIGHT, counts=True, standardised=False)
    torch.manual_seed(seed)
    model = continuous(BRIGHT)
    fit(model, data.train, steps=350, learning_rate=healthy.learning_rate, seed=seed)
    low, high = float(data.train.min()), float(data.train.max())
    return specimen(
        healthy, model, train=data.train, validation=data.validation, value_range=(low, high)
    )


def loud_channels(healthy: Trained, seed: int) -> Specimen:
    """Three channels come in other units, a hundred times louder."""
    scale = torch.ones(healthy.train.shape[1])
    scale[torch.randperm(len(scale), generator=torch.Generator().manual_seed(seed))[:3]] = 100.0
    scale = scale.view(1, -1, 1, 1)
    train, held = scale * healthy.train, scale * healthy.validation
    torch.manual_seed(seed)
    model = continuous(train.shape[1])
    fit(model, train, steps=350, learning_rate=healthy.learning_rate, seed=seed)
    return specimen(healthy, model, black=True, train=train, validation=held)


def shuffled_channels(healthy: Trained, seed: int) -> Specimen:
    """The panel's file lists channels in another order than the decoder's output is read in."""
    model = copied(healthy)
    count = healthy.train.shape[1]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.last_layer.weight.copy_(model.last_layer.weight[order])
        model.last_layer.bias.copy_(model.last_layer.bias[order])
    return specimen(healthy, model, black=True)


def swapped_pair(healthy: Trained, seed: int) -> Specimen:
    """Blocks of channels are swapped by a loader that sorts names as text."""
    model = copied(healthy)
    count = healthy.train.shape[1]
    order = torch.tensor(sorted(range(count), key=str))
    with torch.no_grad():
        model.last_layer.weight.copy_(model.last_layer.weight[order])
        model.last_layer.bias.copy_(model.last_layer.bias[order])
    return specimen(healthy, model)


@torch.no_grad()
def _wrong_places(specimen_: Specimen) -> float:
    """Return the share of channels that correlate better with another output channel."""
    x, x_hat = reconstructed(specimen_, 256)
    a, b = (v.transpose(0, 1).flatten(1) for v in (x, x_hat))
    a = (a - a.mean(1, keepdim=True)) / a.std(1, keepdim=True).clamp_min(1e-6)
    b = (b - b.mean(1, keepdim=True)) / b.std(1, keepdim=True).clamp_min(1e-6)
    best = (a @ b.T).argmax(1)
    return float((best != torch.arange(len(best))).float().mean())


def drift(healthy: Trained, seed: int) -> Specimen:
    """Means of the standardisation were fitted on another slide: every channel is shifted."""
    model = copied(healthy)
    noise = torch.randn(healthy.train.shape[1], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.last_layer.bias += 0.5 * noise
    return specimen(healthy, model, black=True)


def offset_wins(specimen_: Specimen) -> float:
    """Return dB won by removing per-channel offsets."""
    x, x_hat = reconstructed(specimen_, 256)
    repaired = x_hat - (x_hat - x).mean((0, 2, 3), keepdim=True)
    return 10 * math.log10(float((x_hat - x).square().mean() / (repaired - x).square().mean()))


def blurred(healthy: Trained, seed: int) -> Specimen:
    """A Gaussian filter for display stayed in the decoder."""
    model = copied(healthy)

    class Smooth(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, z: Tensor) -> Tensor:
            return F.avg_pool2d(self.inner(z), 11, 1, 5, count_include_pad=False)

    model.decoder = Smooth(model.decoder)
    return specimen(healthy, model, black=True)


@torch.no_grad()
def _fine_detail(specimen_: Specimen) -> float:
    """Return energy of differences between neighbours, output over input, in dB."""
    x, x_hat = reconstructed(specimen_, 256)
    a, b = ((v[..., 1:] - v[..., :-1]).square().mean() for v in (x, x_hat))
    return 10 * math.log10(float(b / a))


def mutants(base: str) -> list[Mutant]:
    """Return the faults of stacks for one continuous base."""

    def plant(name: str, ids: tuple[str, ...], make, sick, **more) -> Mutant:
        return Mutant(f"{base}/{name}", base, ids, make, sick, **more)

    quiet = measures("R² of the quieter channels", quiet_r2, 0.3, None)
    places = measures("share of channels in another place", _wrong_places, None, 0.3)
    offsets = measures("dB won by removing offsets", offset_wins, None, 0.5)
    return [
        plant("raw-counts", ("channel-scale-imbalance",), raw_counts, quiet, quick=True),
        plant("loud-channels", ("channel-scale-imbalance",), loud_channels, quiet, black_box=True),
        plant(
            "channel-order",
            ("channel-order",),
            shuffled_channels,
            both(loses(1.0), places),
            black_box=True,
        ),
        plant("channel-order-text", ("channel-order",), swapped_pair, both(loses(1.0), places)),
        plant("colour-drift", ("colour-drift",), drift, both(loses(0.4), offsets), black_box=True),
        plant(
            "blur",
            ("blur",),
            blurred,
            both(loses(0.5), measures("fine detail, dB", _fine_detail, -12.0, None)),
            black_box=True,
        ),
    ]
