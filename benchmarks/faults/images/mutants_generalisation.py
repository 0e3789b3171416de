"""Faults of ceilings and generalisation: capacity, goals, too few samples, leaking splits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.images.networks import PlainAE, PlainVAE, conv_decoder, conv_encoder, dense
from benchmarks.faults.images.training import fine_tune, specimen, twin
from benchmarks.faults.measure import decibels, held_out_mse, snr
from torch import Tensor

from pellucid.diagnosis import Subject


def overfitted(count: int, steps: int) -> Callable[[Trained, int], Specimen]:
    """Trained on for long on so few samples."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model, few = twin(healthy), healthy.train[:count]
        optimizer = fine_tune(
            model, model.loss_terms, few, learning_rate=healthy.learning_rate, steps=steps
        )
        return specimen(model, healthy, optimizer=optimizer, train=few)

    return make


def memorised(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Error on held-out samples over that on the training samples, for both models."""
    gaps = []
    for it in (healthy, mutant):
        train = held_out_mse(it.subject, it.train[:400])
        gaps.append(decibels(it.mse / train))
    return gaps[1] > 3 and gaps[1] - gaps[0] > 2, (
        f"held-out error {gaps[1]:.1f} dB above train's ({gaps[0]:.1f} dB healthy)"
    )


def two_units(healthy: Trained, seed: int) -> Specimen:
    """A decoder whose hidden layer has two units: whatever it is told, two patterns are mixed."""
    torch.manual_seed(seed)
    model = PlainVAE(dense((64, 192, 24)), dense((12, 2, 64), (1, 8, 8)), kl_weight=5e-4)
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=2e-3, steps=2500)
    return specimen(model, healthy, optimizer=optimizer)


def narrow_decoder(healthy: Trained, seed: int) -> Specimen:
    """A decoder of three hidden channels."""
    torch.manual_seed(seed)
    model = PlainAE(conv_encoder(3, 24, 8), conv_decoder(8, 3, 3))
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=3e-3, steps=900)
    return specimen(model, healthy, optimizer=optimizer)


def few_cannot_be_fitted(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Overfit a copy to eight samples with a rate of its own."""
    model, x = copy.deepcopy(mutant.model), mutant.train[:8]
    assert model is not None
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(500):
        latent = model.encode(x)
        mean = latent[0] if isinstance(latent, tuple) else latent
        optimizer.zero_grad()
        (model.decode(mean) - x).square().mean().backward()
        optimizer.step()
    error = held_out_mse(Subject(model.encode, model.decode), x)
    fvu = error / float((mutant.train - mutant.train.mean(0)).square().mean())
    lost = snr(healthy) - snr(mutant)
    return (
        fvu > 0.05 and lost > 1,
        f"eight samples keep {fvu:.2f} of the variance, {lost:.1f} dB lost",
    )


def asked_for_too_much(healthy: Trained, seed: int) -> Specimen:
    """PSNR above 50 dB wished for at 7 bits per 4×4 patch."""
    model = twin(healthy)
    return specimen(model, healthy, goal="psnr>50")


def far_beyond(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The goal against what the same bits buy a Gaussian of this covariance (water-filling)."""
    x, bits = mutant.train.flatten(1).double(), mutant.subject.bits_per_sample
    assert bits is not None
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T)).clamp_min(1e-12)
    low, high = 0.0, float(eigenvalues.max())
    for _ in range(80):
        level = (low + high) / 2
        rate = 0.5 * (eigenvalues / level).log2().clamp_min(0).sum()
        low, high = (level, high) if float(rate) > bits else (low, level)
    error = float(eigenvalues.clamp_max(high).sum()) / x.shape[1]
    reference = -10 * math.log10(error)
    return (
        reference < 40,
        f"a Gaussian of this covariance reaches {reference:.1f} dB at {bits:g} bits",
    )


def validation_in_train(healthy: Trained, seed: int) -> Specimen:
    """The validation images are part of the training folder."""
    train = torch.cat([healthy.train[:1500], healthy.validation])
    return _leaked(healthy, train)


def near_duplicates(healthy: Trained, seed: int) -> Specimen:
    """A random split over frames of one video: validation images return with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    twins = healthy.validation[::2]
    twins = twins + 0.01 * twins.std() * torch.randn(twins.shape, generator=generator)
    return _leaked(healthy, torch.cat([healthy.train, twins]))


def _leaked(healthy: Trained, train: Tensor) -> Specimen:
    model = twin(healthy)
    optimizer = fine_tune(model, model.loss_terms, train, learning_rate=5e-4, seconds=6)
    return specimen(model, healthy, optimizer=optimizer, train=train)


def shared_samples(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Distance of held-out samples to their nearest training sample."""
    assert mutant.validation is not None
    x, train = mutant.validation.flatten(1), mutant.train.flatten(1)
    nearest = torch.cdist(x, train).min(1).values
    share = float((nearest < 0.1 * nearest.max()).float().mean())
    return share > 0.2, f"{share:.0%} of held-out samples lie on a training sample"


# fmt: off
MUTANTS = [
    Mutant("mlp-vae/fifty-samples", "mlp-vae", ("overfitting",), overfitted(50, 3000), memorised,
           black_box=True, quick=True),
    Mutant("cifar-batchnorm/sixty-samples", "cifar-batchnorm", ("overfitting",),
           overfitted(60, 900), memorised),
    Mutant("mlp-vae/two-units", "mlp-vae", ("capacity-limit",), two_units,
           few_cannot_be_fitted, forbidden=("posterior-collapse",)),
    Mutant("cifar-sigmoid/narrow-decoder", "cifar-sigmoid", ("capacity-limit",), narrow_decoder,
           few_cannot_be_fitted),
    Mutant("cifar-vq/goal-of-50-db", "cifar-vq", ("unattainable-target",), asked_for_too_much,
           far_beyond, quick=True),
    Mutant("cifar-vae/validation-in-train", "cifar-vae", ("split-leak",), validation_in_train,
           shared_samples, black_box=True, quick=True),
    Mutant("photo-rvq/near-duplicates", "photo-rvq", ("split-leak",), near_duplicates,
           shared_samples),
]
