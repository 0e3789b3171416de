"""Faults of spectral terms and spectra: mel banks, logarithms, buzz, blur, seams."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.proofs import both, loses, measures, reconstructed
from benchmarks.faults.convolutional.spectra import mel_bank
from benchmarks.faults.convolutional.training import copied, fine_tune, specimen
from torch import Tensor, nn

STRIDE = 16
CHUNK = 4
"""Latent positions the streaming decoder sees at once."""


def bank(kind: str) -> Callable[[Trained, int], Specimen]:
    """Return the fault with a random, a misordered or a truncated mel bank."""

    def make(healthy: Trained, seed: int) -> Specimen:
        mel = mel_bank()
        generator = torch.Generator().manual_seed(seed)
        if kind == "random":
            mel = torch.rand(mel.shape, generator=generator)
        elif kind == "misordered":
            mel = mel[torch.randperm(len(mel), generator=generator)]
        else:  # built for 8 kHz, used at 16 kHz
            mel = torch.cat([mel_bank(size=256, rate=8000.0), torch.zeros(len(mel), 128)], 1)
        return specimen(healthy, filterbanks={"mel": mel})

    return make


def _bank_error(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Compare with the true bank."""
    true, given = mel_bank(), mutant.subject.filterbanks["mel"]
    error = float((true - given).square().sum() / true.square().sum())
    return error > 0.3, f"squared distance to a true mel bank {error:.2f} of its energy"


class LogSpectrum(Autoencoder):
    """A log-magnitude term without epsilon: silence has log 0 and 0/0 for a gradient."""

    def loss_terms(self, x_BCP: Tensor) -> dict[str, Tensor]:
        """Return the model's terms and the naked logarithm."""
        z, extra = self.bottleneck_terms(x_BCP)
        x_hat = self.decode(z)
        window = torch.hann_window(64)

        def log_magnitude(x: Tensor) -> Tensor:
            spectrum = torch.stft(x[:, 0], 64, 16, window=window, return_complex=True)
            return (spectrum.real.square() + spectrum.imag.square()).sqrt().log()

        stft = (log_magnitude(x_hat) - log_magnitude(x_BCP)).abs().mean()
        return {"mse": (x_hat - x_BCP).square().mean(), "stft": 1e-4 * stft, **extra}


def naked_logarithm(healthy: Trained, seed: int) -> Specimen:
    """Training was lucky: its batches held no digital silence. The data do."""
    model = copied(healthy)
    model.__class__ = LogSpectrum
    fine_tune(healthy, model, seed, steps=40)
    with torch.no_grad():  # no bias after the last layer: silence in, silence out
        train = healthy.train.clone()
        train[::40] = 0.0
    return specimen(healthy, model, train=train)


def _silent_loss(specimen_: Specimen) -> float:
    """Return 1 when the loss of silent segments, or its gradient, is not finite."""
    losses, model = specimen_.subject.loss_terms, specimen_.model
    assert losses is not None
    assert model is not None
    silent = specimen_.train[:4] * 0
    total = torch.stack(list(losses(silent).values())).sum()
    found = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    finite = bool(total.isfinite()) and all(
        bool(g.isfinite().all()) for g in found if g is not None
    )
    return 0.0 if finite else 1.0


class Buzz(nn.Module):
    """Transposed convolutions whose kernel phases differ: a tone at the stride's harmonics."""

    def __init__(self, inner: nn.Module, level: float) -> None:
        super().__init__()
        self.inner = inner
        phase = torch.arange(STRIDE)
        pattern = torch.cos(2 * math.pi * 4 * phase / STRIDE)
        pattern = pattern + torch.cos(2 * math.pi * 7 * phase / STRIDE)
        self.register_buffer("pattern", level * pattern)

    def forward(self, z: Tensor) -> Tensor:
        """Return the output with the pattern, stronger where the output is loud."""
        y = self.inner(z)
        repeated = self.pattern.repeat(math.ceil(y.shape[-1] / STRIDE))[: y.shape[-1]]
        return y + repeated * (0.3 + y.abs().mean(-1, keepdim=True) / 0.1)


def buzz(healthy: Trained, seed: int) -> Specimen:
    """The loss ends at an eighth of the sample rate, so nothing above it is ever punished."""
    model = copied(healthy)
    model.weights = {n: w for n, w in model.weights.items() if n != "mse"} | {"low_band": 1.0}
    fine_tune(healthy, model, seed, steps=150)
    model.decoder = Buzz(model.decoder, 0.15 * float(healthy.train.std()))
    return specimen(healthy, model, black=True)


@torch.no_grad()
def loudest_tone(specimen_: Specimen) -> float:
    """Return by how many dB one bin above an eighth of the rate outshouts the input at most."""
    x, x_hat = reconstructed(specimen_)
    a, b = (torch.fft.rfft(v).abs().square().mean((0, 1)) for v in (x, x_hat))
    start = len(a) // 4
    return 10 * math.log10(float((b[start:] / a[start:]).max()))


def seams(healthy: Trained, seed: int) -> Specimen:
    """Streaming: the decoder is called chunk by chunk and forgets its state at every border."""
    model = copied(healthy)
    with torch.no_grad():  # a network whose padding is worth hearing
        model.decoder[0].padding_mode = "zeros"

    def forward(x: Tensor) -> Tensor:
        latent = model.encode(x)
        z = latent.mean if latent.quantized is None else latent.quantized
        return torch.cat([model.decode(chunk) for chunk in z.split(CHUNK, -1)], -1)

    return specimen(healthy, model, forward=forward)


def _border_error(specimen_: Specimen) -> float:
    """Return error within 8 samples of chunk borders over error elsewhere, as deployed."""
    assert specimen_.validation is not None
    x = specimen_.validation[:128]
    forward = specimen_.subject.forward
    with torch.no_grad():
        x_hat = forward(x) if forward is not None else reconstructed(specimen_)[1]
    position = torch.arange(x.shape[-1])
    chunk = CHUNK * STRIDE
    near = ((position + 8) % chunk < 16) & (position > 8) & (position < x.shape[-1] - 8)
    error = (x_hat - x).square().mean((0, 1))
    return float(error[near].mean() / error[~near].mean())


def blur(healthy: Trained, seed: int) -> Specimen:
    """A smoothing layer stayed behind the decoder: softer than the rate asks for."""
    model = copied(healthy)

    class Smooth(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner
            self.register_buffer("kernel", torch.ones(1, 1, 15) / 15)

        def forward(self, z: Tensor) -> Tensor:
            return nn.functional.conv1d(self.inner(z), self.kernel, padding=7)

    model.decoder = Smooth(model.decoder)
    return specimen(healthy, model, black=True)


@torch.no_grad()
def _softness(specimen_: Specimen) -> float:
    """Return output over input energy between a sixteenth and an eighth of the rate, dB."""
    x, x_hat = reconstructed(specimen_)
    a, b = (torch.fft.rfft(v).abs().square().mean((0, 1)) for v in (x, x_hat))
    band = slice(len(a) // 8, len(a) // 4)
    return 10 * math.log10(float(b[band].sum() / a[band].sum()))


def mutants(base: str) -> list[Mutant]:
    """Return spectral faults for one speech base."""

    def plant(name: str, ids: tuple[str, ...], make, sick, **more) -> Mutant:
        return Mutant(f"{base}/{name}", base, ids, make, sick, **more)

    high = measures("loudest high tone over the input, dB", loudest_tone, None, 3.0)
    return [
        *(
            plant(
                f"mel-{kind}",
                ("broken-filterbank",),
                bank(kind),
                _bank_error,
                quick=kind == "random",
            )
            for kind in ("random", "misordered", "truncated")
        ),
        plant(
            "spectral-nan",
            ("spectral-nan",),
            naked_logarithm,
            measures("non-finite loss on silence", _silent_loss, None, 0.5),
        ),
        plant("metallic-buzz", ("metallic-artefacts",), buzz, high, black_box=True),
        plant(
            "tile-seams",
            ("tile-seams",),
            seams,
            measures("error at chunk borders / elsewhere", _border_error, None, 1.5),
        ),
        plant(
            "blur",
            ("blur",),
            blur,
            both(loses(1.0), measures("mid-band level, dB", _softness, -9.0, None)),
            black_box=True,
        ),
    ]
