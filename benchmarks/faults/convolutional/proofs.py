"""Independent proofs that a mutant is sick: plain measurements, no code of the diagnosis.

Every function fits `Mutant.sick`: (healthy specimen, mutant specimen) -> (sick, in words).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from benchmarks.faults.contract import Specimen
from benchmarks.faults.convolutional.networks import Autoencoder, codebooks
from torch import Tensor

Proof = Callable[[Specimen, Specimen], tuple[bool, str]]


def fvu_db(specimen: Specimen) -> float:
    """Return 10·log10 of variance over error on the held-out samples."""
    held = specimen.validation
    assert held is not None
    return 10 * math.log10(float(held.double().var()) / max(specimen.mse, 1e-20))


def loses(decibels: float) -> Proof:
    """Sick when the mutant's SNR is so much lower than the healthy model's."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        before, after = fvu_db(healthy), fvu_db(mutant)
        return before - after >= decibels, f"SNR {before:.1f} dB healthy, {after:.1f} dB mutant"

    return proof


def both(first: Proof, second: Proof) -> Proof:
    """Sick when both measurements say so."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        (a, said), (b, also) = first(healthy, mutant), second(healthy, mutant)
        return a and b, f"{said}; {also}"

    return proof


def measures(
    what: str, measure: Callable[[Specimen], float], low: float | None, high: float | None
) -> Proof:
    """Sick when a number of the mutant leaves [low, high] and the healthy one's does not."""

    def outside(value: float) -> bool:
        return (low is not None and value < low) or (high is not None and value > high)

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        before, after = measure(healthy), measure(mutant)
        sick = (math.isnan(after) or outside(after)) and not outside(before)
        return sick, f"{what} {before:.3g} healthy, {after:.3g} mutant"

    return proof


@torch.no_grad()
def reconstructed(specimen: Specimen, count: int = 128) -> tuple[Tensor, Tensor]:
    """Return (x, x_hat) of some held-out samples."""
    assert specimen.validation is not None
    x = specimen.validation[:count]
    latent = specimen.subject.encode(x)
    return x, specimen.subject.decode(latent.mean if latent.quantized is None else latent.quantized)


@torch.no_grad()
def sampled_loss_db(specimen: Specimen) -> float:
    """Return the decibels lost by decoding a posterior sample instead of the mean."""
    assert specimen.validation is not None
    x = specimen.validation[:128]
    latent = specimen.subject.encode(x)
    noisy = latent.mean + torch.randn_like(latent.mean) * (0.5 * latent.logvar).exp()
    mean_error = (specimen.subject.decode(latent.mean) - x).square().mean()
    noisy_error = (specimen.subject.decode(noisy) - x).square().mean()
    return 10 * math.log10(float(noisy_error / mean_error))


@torch.no_grad()
def kl_nats(specimen: Specimen) -> float:
    """Return the KL per sample in nats."""
    assert specimen.validation is not None
    latent = specimen.subject.encode(specimen.validation[:128])
    logvar = latent.logvar
    kl = 0.5 * (latent.mean.square() + logvar.exp() - 1 - logvar)
    return float(kl.flatten(1).sum(1).mean())


@torch.no_grad()
def smallest_sigma(specimen: Specimen) -> float:
    """Return the smallest posterior standard deviation met."""
    assert specimen.validation is not None
    return float((0.5 * specimen.subject.encode(specimen.validation[:128]).logvar).exp().min())


@torch.no_grad()
def codes_used(specimen: Specimen) -> float:
    """Return the share of codes used at the worst level."""
    assert specimen.validation is not None
    codes = specimen.subject.encode(specimen.validation).codes
    shares = [
        len(codes[..., level].unique()) / len(book) for level, book in enumerate(books(specimen))
    ]
    return min(shares)


def books(specimen: Specimen) -> list[Tensor]:
    """Return the codebooks of our own quantiser."""
    assert isinstance(specimen.model, Autoencoder)
    found = codebooks(specimen.model)
    assert found is not None
    return found


def encoder_gradient(specimen: Specimen) -> float:
    """Return ‖gradient of the total loss at the encoder‖."""
    x = specimen.train[:32]
    assert specimen.subject.loss_terms is not None
    total = torch.stack(list(specimen.subject.loss_terms(x).values())).sum()
    parameters = [p for p in specimen.subject.modules["encoder"].parameters() if p.requires_grad]
    if not parameters or not total.requires_grad:
        return 0.0
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    return math.sqrt(sum(float(g.square().sum()) for g in found if g is not None))
