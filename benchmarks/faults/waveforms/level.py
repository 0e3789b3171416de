"""Faults of level, delay and units of waveforms."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.proofs import both, loses, measures, reconstructed
from benchmarks.faults.convolutional.training import copied, fine_tune, fit, specimen
from torch import Tensor, nn


class Gain(nn.Module):
    """Multiply: a normalisation undone with the wrong number."""

    def __init__(self, factor: float, inner: nn.Module) -> None:
        super().__init__()
        self.factor, self.inner = factor, inner

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled output."""
        return self.factor * self.inner(x)


class Shift(nn.Module):
    """Delay by some samples: padding on one side only, or a look-ahead nobody undoes."""

    def __init__(self, samples: int, inner: nn.Module) -> None:
        super().__init__()
        self.samples, self.inner = samples, inner

    def forward(self, x: Tensor) -> Tensor:
        """Return the delayed output; the end is lost."""
        y = self.inner(x)
        return nn.functional.pad(y, (self.samples, -self.samples))


def dc_offset(healthy: Trained, seed: int) -> Specimen:
    """The last bias drifted under a spectral loss that skips the lowest bins."""
    model = copied(healthy)
    model.weights = {**model.weights, "magnitude": 5.0}
    model.weights.pop("mse", None)
    with torch.no_grad():
        model.last_layer.bias += 0.6 * healthy.train.std()
    return specimen(healthy, fine_tune(healthy, model, seed, steps=30, share=0.02))


def dc_bias(healthy: Trained, seed: int) -> Specimen:
    """A microphone's offset was removed at the input and added again at the output."""
    model = copied(healthy)
    with torch.no_grad():
        model.last_layer.bias += 0.5 * healthy.train.std()
    return specimen(healthy, model, black=True)


def mean_share(specimen_: Specimen) -> float:
    """Return mean(x̂)² over E[x̂²]."""
    _, x_hat = reconstructed(specimen_)
    return float(x_hat.mean().square() / x_hat.square().mean())


def quiet(healthy: Trained, seed: int) -> Specimen:
    """The output is divided by the RMS target twice."""
    model = copied(healthy)
    model.decoder = Gain(0.45, model.decoder)
    return specimen(healthy, model, black=True)


def _gain_wins(specimen_: Specimen) -> float:
    """Return dB won by the best gain."""
    x, x_hat = reconstructed(specimen_)
    best = (x * x_hat).mean() / x_hat.square().mean()
    return 10 * math.log10(float((x_hat - x).square().mean() / (best * x_hat - x).square().mean()))


def late(samples: int, black: bool) -> Callable[[Trained, int], Specimen]:
    """Return the fault of a delay of so many samples."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = copied(healthy)
        model.decoder = Shift(samples, model.decoder)
        return specimen(healthy, model, black=black)

    return make


def shift_wins(specimen_: Specimen) -> float:
    """Return dB won by the best shift of at most 16 samples."""
    x, x_hat = reconstructed(specimen_)
    inside = x[..., 32:-32]
    errors = [
        float((x_hat.roll(s, -1)[..., 32:-32] - inside).square().mean()) for s in range(-16, 17)
    ]
    return 10 * math.log10(errors[16] / min(errors))


def loudness(healthy: Trained, seed: int) -> Specimen:
    """No loudness normalisation: segments spread over 50 dB, and the loud ones own the loss."""
    generator = torch.Generator().manual_seed(seed)

    def spread(x: Tensor) -> Tensor:
        decibels = -50 * torch.rand(len(x), 1, 1, generator=generator)
        return x * 10 ** (decibels / 20)

    train, held = spread(healthy.train), spread(healthy.validation)
    model = copied(healthy)
    # The first layers are trained anew: a linear network would be blind to level.
    for layer in (*model.encoder, *model.decoder):
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    fit(model, train, steps=500, learning_rate=healthy.learning_rate, seed=seed)
    return specimen(healthy, model, train=train, validation=held)


def _quiet_against_loud(specimen_: Specimen) -> float:
    """Return how much worse (dB of relative error) the quiet quarter is than the loud one."""
    x, x_hat = reconstructed(specimen_, 320)
    level = x.square().mean((1, 2))
    relative = 10 * ((x_hat - x).square().mean((1, 2)) / level).log10()
    order = level.argsort()
    quarter = len(order) // 4
    return float(relative[order[:quarter]].median() - relative[order[-quarter:]].median())


def clipped(healthy: Trained, seed: int) -> Specimen:
    """A sigmoid head, [0, 1], on data in [−1, 1]: the lower half cannot be reached."""
    model = copied(healthy)
    model.head = nn.Sigmoid()
    return specimen(healthy, fine_tune(healthy, model, seed, steps=250, share=1.0))


@torch.no_grad()
def _unreachable(specimen_: Specimen) -> float:
    """Return the share of samples below what the output ever reaches."""
    x, x_hat = reconstructed(specimen_)
    return float((x < x_hat.min() - 0.02 * x.std()).float().mean())


def integer_range(healthy: Trained, seed: int) -> Specimen:
    """Reconstructions come back mapped to [0, 1] while the input is in [−1, 1]."""
    model = copied(healthy)
    inner = model.decoder

    class ToUnit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, z: Tensor) -> Tensor:
            return 0.5 * self.inner(z) + 0.5

    model.decoder = ToUnit()
    return specimen(healthy, model, black=True)


def _affine_wins(specimen_: Specimen) -> float:
    """Return dB won by the best gain and offset."""
    x, x_hat = reconstructed(specimen_)
    a = x_hat - x_hat.mean()
    gain = (a * (x - x.mean())).mean() / a.square().mean()
    repaired = gain * a + x.mean()
    return 10 * math.log10(float((x_hat - x).square().mean() / (repaired - x).square().mean()))


def mutants(base: str) -> list[Mutant]:
    """Return faults of level, delay and units for one speech base."""

    def plant(name: str, ids: tuple[str, ...], make, sick, **more) -> Mutant:
        return Mutant(f"{base}/{name}", base, ids, make, sick, **more)

    share = measures("share of DC in the output's energy", mean_share, None, 0.02)
    shift = both(loses(1.0), measures("dB won by a shift", shift_wins, None, 1.0))
    return [
        plant("dc-offset-spectral-loss", ("dc-offset",), dc_offset, both(loses(0.5), share)),
        plant("dc-offset-bias", ("dc-offset",), dc_bias, both(loses(0.5), share), black_box=True),
        plant(
            "amplitude-shrinkage",
            ("amplitude-shrinkage", "range-mismatch"),
            quiet,
            both(loses(1.0), measures("dB won by a gain", _gain_wins, None, 1.0)),
            black_box=True,
        ),
        plant(
            "misalignment-3", ("misalignment",), late(3, True), shift, black_box=True, quick=True
        ),
        plant("misalignment-9", ("misalignment",), late(9, False), shift),
        plant(
            "level-spread",
            ("level-spread",),
            loudness,
            measures("dB the quiet quarter is worse", _quiet_against_loud, None, 4.0),
        ),
        plant(
            "sigmoid-head",
            ("range-mismatch",),
            clipped,
            both(loses(1.0), measures("share out of reach", _unreachable, None, 0.1)),
        ),
        plant(
            "unit-range-output",
            ("range-mismatch",),
            integer_range,
            both(loses(3.0), measures("dB won by gain and offset", _affine_wins, None, 3.0)),
            black_box=True,
        ),
    ]
