"""Independent measurements of held-out error: nothing here comes from the diagnosis's own rules."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from benchmarks.faults.contract import Specimen
from torch import Tensor

from pellucid.diagnosis import Subject
from pellucid.diagnosis.latents import as_latent, as_output
from pellucid.diagnosis.runner import decoded_latent

Proof = Callable[[Specimen, Specimen], tuple[bool, str]]


def reconstruct(subject: Subject, x: Tensor, batch: int = 64) -> Tensor:
    """Return decode(encode(x)) in whatever mode the model is, without gradients."""
    with torch.no_grad():
        parts = []
        for part in x.split(batch):
            latent = decoded_latent(as_latent(subject.encode(part)))
            parts.append(as_output(subject.decode(latent), part))
    return torch.cat(parts)


def held_out_mse(subject: Subject, x: Tensor) -> float:
    """Return E[(decode(encode(x)) − x)²] as a user measures it."""
    return float((reconstruct(subject, x) - x).double().square().mean())


def decibels(ratio: float) -> float:
    """Return 10·log10 of a power ratio."""
    return 10 * math.log10(max(ratio, 1e-30))


def snr(specimen: Specimen) -> float:
    """Return 10·log10 of the held-out data's variance about the training mean over the error."""
    assert specimen.validation is not None
    variance = (specimen.validation - specimen.train.mean(0)).double().square().mean()
    return decibels(float(variance) / max(specimen.mse, 1e-30))


def loses(at_least: float) -> Proof:
    """Sick when the model loses so many dB of SNR to its healthy twin."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        lost = snr(healthy) - snr(mutant)
        return lost >= at_least, f"{lost:.1f} dB SNR lost to the healthy twin"

    return proof


def both(first: Proof, second: Proof) -> Proof:
    """Sick when two measurements agree."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        (a, why_a), (b, why_b) = first(healthy, mutant), second(healthy, mutant)
        return a and b, f"{why_a}; {why_b}"

    return proof


def mean_kl(specimen: Specimen) -> float:
    """Return ΣKL to N(0, I) in nats per held-out sample, by the closed form."""
    assert specimen.validation is not None
    with torch.no_grad():
        mean, logvar = specimen.subject.encode(specimen.validation[:200])
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
    return float(kl.flatten(1).sum(1).mean())


def kl_of(mutant: Specimen, loss: str = "kl") -> float:
    """Return a named loss term on held-out samples."""
    assert mutant.subject.loss_terms is not None
    assert mutant.validation is not None
    return float(mutant.subject.loss_terms(mutant.validation[:64])[loss])
