"""Faults of a quantiser's wiring: who owns the codebook, how often gradients pass."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.images.networks import Quantizer
from benchmarks.faults.images.training import fine_tune, specimen, twin
from torch import Tensor, nn


def unowned_codebook(healthy: Trained, seed: int) -> Specimen:
    """Averaging was switched off, and the codebook is a buffer: nothing moves it."""
    model = twin(healthy)
    torch.manual_seed(seed)
    model.quantizer.books.normal_()
    model.quantizer._average = lambda *_: None
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=1e-3, seconds=8)
    return specimen(model, healthy, optimizer=optimizer)


class OwnedTwice(Quantizer):
    """Averages and gradients both move the codebook."""

    def forward(self, h_BdP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flat = h_BdP.movedim(1, -1)
        q, codes, penalty = super().forward(h_BdP)
        if self.training and torch.is_grad_enabled():
            self._average(0, flat.detach(), codes)
        return q, codes, penalty

    @torch.no_grad()
    def _average(self, level: int, residual: Tensor, index: Tensor) -> None:
        flat = residual.reshape(-1, residual.shape[-1])
        hot = F.one_hot(index.reshape(-1), self.books.shape[1]).to(flat)
        counts = hot.sum(0)[:, None]
        means = hot.T @ flat / counts.clamp_min(1)
        self.books[level] += 0.1 * (counts > 0) * (means - self.books[level])


def codebook_owned_twice(healthy: Trained, seed: int) -> Specimen:
    """A codebook under averaging was also handed to the optimiser."""
    model = twin(healthy)
    model.quantizer.__class__ = OwnedTwice
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=1e-3, seconds=8)
    return specimen(model, healthy, optimizer=optimizer)


def owners(expected: int):
    """Count what moves the codebook: a forward pass in training mode, and a gradient."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        model, loss = mutant.model, mutant.subject.loss_terms
        assert model is not None
        assert loss is not None
        state = copy.deepcopy(model.state_dict())
        books: Any = model.quantizer.books
        before = books.detach().clone()
        model.train()
        loss(mutant.train[:64])
        averaged = not torch.equal(before, books.detach())
        model.load_state_dict(state)
        model.eval()
        stepped = isinstance(books, nn.Parameter)
        if stepped:
            grad = torch.autograd.grad(
                torch.stack(list(loss(mutant.train[:64]).values())).sum(), books, allow_unused=True
            )[0]
            stepped = grad is not None and float(grad.abs().max()) > 0
        return averaged + stepped == expected, f"{averaged + stepped} owners of the codebook"

    return proof


class Dead(Quantizer):
    """The straight-through path was forgotten: codes are looked up, and that is all."""

    def estimate(self, flat: Tensor, total: Tensor) -> Tensor:
        return total.detach()


class PerLevel(Quantizer):
    """One straight-through path per residual level, all added up."""

    def pass_through(self, residual: Tensor, q: Tensor) -> Tensor:
        return residual + (q - residual).detach()

    def estimate(self, flat: Tensor, total: Tensor) -> Tensor:
        return total


def dead_straight_through(healthy: Trained, seed: int) -> Specimen:
    """The encoder never sees the reconstruction's gradient."""
    return _requantized(healthy, Dead)


def straight_through_per_level(healthy: Trained, seed: int) -> Specimen:
    """The encoder sees the decoder's gradient once per level."""
    return _requantized(healthy, PerLevel)


def _requantized(healthy: Trained, kind: type[Quantizer]) -> Specimen:
    model = twin(healthy)
    model.quantizer.__class__ = kind
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=5e-4, seconds=8)
    return specimen(model, healthy, optimizer=optimizer)


def gain_is(low: float, high: float):
    """∂(sum of the decoder's input)/∂(encoder's output), without the penalty."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        model = mutant.model
        assert model is not None
        h = model.encoder(mutant.train[:8]).detach().requires_grad_()
        q = model.quantizer(h)[0]
        direction = torch.randn_like(q)
        gain = 0.0
        if q.requires_grad:
            found = torch.autograd.grad((q * direction).sum(), h, allow_unused=True)[0]
            gain = (
                0.0
                if found is None
                else float((found * direction).sum() / direction.square().sum())
            )
        return low <= gain <= high, f"the gradient passes {gain:.2f} times"

    return proof


# fmt: off
MUTANTS = [
    Mutant("patch-vq/codebook-unowned", "patch-vq", ("codebook-ownership",), unowned_codebook,
           owners(0)),
    Mutant("cifar-vq/codebook-owned-twice", "cifar-vq", ("codebook-ownership",),
           codebook_owned_twice, owners(2)),
    Mutant("cifar-vq/dead-path", "cifar-vq", ("straight-through-gain",), dead_straight_through,
           gain_is(-0.01, 0.01), quick=True),
    Mutant("photo-rvq/path-per-level", "photo-rvq", ("straight-through-gain",),
           straight_through_per_level, gain_is(2, 9), quick=True),
]
