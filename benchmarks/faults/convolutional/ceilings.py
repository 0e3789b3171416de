"""Targets no training can reach: a renderer too coarse, a goal beyond the rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.codebook import quantizer
from benchmarks.faults.convolutional.proofs import both, loses, measures
from benchmarks.faults.convolutional.training import copied, fine_tune, specimen
from torch import Tensor, nn

CELL = 8


class Held(nn.Module):
    """A renderer that draws constant cells: hold of 8 samples, or blocks of 8 × 8 pixels."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, z: Tensor) -> Tensor:
        """Draw the inner output cell by cell."""
        return cells(self.inner(z))


def cells(x: Tensor) -> Tensor:
    """Return the nearest signal that is constant in every cell."""
    pooled = F.avg_pool1d(x, CELL) if x.ndim == 3 else F.avg_pool2d(x, CELL)
    return F.interpolate(pooled, scale_factor=CELL, mode="nearest")


def coarse_renderer(healthy: Trained, seed: int) -> Specimen:
    """The decoder's parameters are drawn by a fixed renderer that cannot draw the data."""
    model = copied(healthy)
    model.decoder = Held(model.decoder)
    return specimen(healthy, fine_tune(healthy, model, seed, steps=150))


def _unreachable_share(specimen_: Specimen) -> float:
    """Return the share of variance that is left by the best the renderer could ever draw."""
    assert specimen_.validation is not None
    modules = specimen_.subject.modules["decoder"].modules()
    if not any(isinstance(m, Held) for m in modules):
        return 0.0
    x = specimen_.validation
    return float((cells(x) - x).square().mean() / x.var())


def beyond_the_rate(goal_db: float) -> Callable[[Trained, int], Specimen]:
    """Return the wish for more decibels than one level of codes can carry."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = copied(healthy)
        levels = quantizer(model)
        levels.layers = nn.ModuleList([levels.layers[0]])
        fine_tune(healthy, model, seed, steps=100)
        return specimen(
            healthy, model, goal=f"snr>{goal_db:g}", bits_per_sample=bits_per_sample(model, healthy)
        )

    return make


def bits_per_sample(model: nn.Module, healthy: Trained) -> float:
    """Return the bits of one sample's codes."""
    with torch.no_grad():
        codes = model.encode(healthy.validation[:1]).codes  # type: ignore[operator]
    books = model.quantizer.layers  # type: ignore[union-attr]
    return codes.numel() * math.log2(len(books[0].book_Kd))  # type: ignore[index]


def _beyond_shannon(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Compare the goal with reverse water-filling on PCA components, computed here."""
    assert mutant.goal is not None
    x = mutant.train.flatten(1).double()
    spectrum = torch.linalg.svdvals(x - x.mean(0)).square() / len(x)
    bits = mutant.subject.bits_per_sample
    assert bits is not None
    low, high = 0.0, float(spectrum.max())
    for _ in range(60):
        level = (low + high) / 2
        spent = float(0.5 * (spectrum / level).clamp_min(1).log2().sum())
        low, high = (level, high) if spent > bits else (low, level)
    reference = 10 * math.log10(float(spectrum.sum() / spectrum.clamp_max(high).sum()))
    goal = float(mutant.goal.split(">")[1])
    return goal > reference + 9, f"goal {goal:g} dB, Gaussian reference {reference:.1f} dB"


def renderer(base: str) -> Mutant:
    """Return the coarse renderer for a continuous base."""
    return Mutant(
        f"{base}/unreachable-target",
        base,
        ("unreachable-target",),
        coarse_renderer,
        both(
            loses(1.0),
            measures("variance beyond the renderer", _unreachable_share, None, 0.2),
        ),
    )


def goal(base: str, decibels: float) -> Mutant:
    """Return the goal beyond the rate for a base with codes."""
    return Mutant(
        f"{base}/unattainable-target",
        base,
        ("unattainable-target",),
        beyond_the_rate(decibels),
        _beyond_shannon,
    )
