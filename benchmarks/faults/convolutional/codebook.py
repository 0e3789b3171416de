"""Faults of residual VQ: gradients, owners, collapse, size, drift."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.proofs import (
    Proof,
    books,
    both,
    codes_used,
    encoder_gradient,
    loses,
    measures,
)
from benchmarks.faults.convolutional.quantizer import Gradient, ResidualVQ
from benchmarks.faults.convolutional.training import copied, fine_tune, fit, specimen
from torch import Tensor, nn


def quantizer(model: Autoencoder) -> ResidualVQ:
    """Return our own quantiser, typed."""
    assert isinstance(model.quantizer, ResidualVQ)
    return model.quantizer


def straight_through(gradient: Gradient, steps: int = 60) -> Callable[[Trained, int], Specimen]:
    """Return the fault with another straight-through path."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = copied(healthy)
        quantizer(model).gradient = gradient
        if gradient == "none":  # an encoder that never learnt
            torch.manual_seed(seed)
            for layer in model.encoder:
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
            model.weights = {**model.weights, "commit": 0.0}
            with torch.no_grad():
                quantizer(model).start_from(model.encoder(healthy.train[:128]))
        return specimen(healthy, fine_tune(healthy, model, seed, steps=steps))

    return make


def gain_of_path(specimen_: Specimen) -> float:
    """Return the gradient of Σ(quantised·v) at the quantiser's input over v, projected on v."""
    model = specimen_.model
    assert isinstance(model, Autoencoder)
    h = model.encoder(specimen_.train[:8]).detach().requires_grad_()
    out = quantizer(model)(h)[0]
    if not out.requires_grad:
        return 0.0
    v = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    (back,) = torch.autograd.grad(out, h, v)
    return float((back * v).sum() / v.square().sum())


def two_owners(healthy: Trained, seed: int) -> Specimen:
    """Averages stay on after the codebook became a parameter with a loss of its own."""
    model = copied(healthy)
    for layer in quantizer(model).layers:
        layer.own_by_optimizer()
    return specimen(healthy, fine_tune(healthy, model, seed, steps=60))


def no_owner(healthy: Trained, seed: int) -> Specimen:
    """Averages switched off, and buffers are in no optimiser: random codebooks stay random."""
    model = copied(healthy)
    torch.manual_seed(seed)
    quantizer(model).averaging = False
    for layer in quantizer(model).layers:
        layer.book_Kd.mul_(0).add_(0.3 * torch.randn_like(layer.book_Kd))
    return specimen(healthy, fine_tune(healthy, model, seed, steps=100))


def _owners(specimen_: Specimen) -> float:
    """Return how many things move the first codebook: averages, the optimiser."""
    model = specimen_.model
    assert isinstance(model, Autoencoder)
    book = quantizer(model).layers[0].book_Kd
    owned = {
        id(p) for o in specimen_.subject.optimizers for g in o.param_groups for p in g["params"]
    }
    return float(quantizer(model).averaging) + float(id(book) in owned)


def collapsed(healthy: Trained, seed: int) -> Specimen:
    """Codebooks start far away from the latents, without restarts: one or two codes win."""
    model = copied(healthy)
    torch.manual_seed(seed)
    with torch.no_grad():
        h = model.encoder(healthy.train[:128])
    for layer in quantizer(model).layers:
        layer.restart = False
        far = torch.randn_like(layer.book_Kd) * 0.05 + 3 * h.std()
        layer.book_Kd.copy_(far)
        layer.sums_Kd.copy_(far)
        layer.sizes_K.fill_(1.0)
    return specimen(healthy, fine_tune(healthy, model, seed, steps=150))


def partly_dead(healthy: Trained, seed: int) -> Specimen:
    """Four codes of each level live; the others lie where no latent ever comes."""
    model = copied(healthy)
    for layer in quantizer(model).layers:
        layer.restart = False
        keep = layer.sizes_K.argsort(descending=True)[:3]
        far = layer.book_Kd + 50 * layer.book_Kd.std()
        far[keep] = layer.book_Kd[keep]
        layer.book_Kd.copy_(far)
        layer.sums_Kd.copy_(far * layer.sizes_K[:, None])
    return specimen(healthy, fine_tune(healthy, model, seed, steps=120))


def too_small(healthy: Trained, seed: int) -> Specimen:
    """One level of four codes: two bits per position where the healthy model spends many."""
    model = copied(healthy)
    torch.manual_seed(seed)
    dim = quantizer(model).layers[0].book_Kd.shape[1]
    model.quantizer = ResidualVQ(dim, codes=4, levels=1)
    with torch.no_grad():
        model.quantizer.start_from(model.encoder(healthy.train[:256]))
    fine_tune(healthy, model, seed, steps=200, share=1.0)
    return specimen(healthy, model)


def _bits(specimen_: Specimen) -> float:
    return sum(math.log2(len(b)) for b in books(specimen_))


def drifting(healthy: Trained, seed: int) -> Specimen:
    """Commitment 0, slow averages and a latent that grows: codes lag behind their vectors."""
    model = copied(healthy)
    model.weights = {**model.weights, "commit": 0.0}
    for layer in quantizer(model).layers:
        layer.decay, layer.restart = 0.9999, False
    rows = fit(
        model,
        healthy.train,
        steps=200,
        learning_rate=2.5 * healthy.learning_rate,
        seed=seed,
        decay=False,
    )
    with torch.no_grad():
        model.encoder[-1].weight.mul_(2.0)
        model.encoder[-1].bias.mul_(2.0)
    return specimen(healthy, model, history=rows)


@torch.no_grad()
def _quantisation_share(specimen_: Specimen) -> float:
    """Return E‖z − q(z)‖²/Var(z)."""
    latent = specimen_.subject.encode(specimen_.train[:128])
    return float((latent.mean - latent.quantized).square().mean() / latent.mean.var())


def inert_commitment(healthy: Trained, seed: int) -> Specimen:
    """The commitment compares with detached latents: it is logged, weighted, and moves nothing."""
    model = copied(healthy)

    class Detached(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            z, codes, commitment = self.inner(h)
            return z, codes, commitment.detach()

    books = [layer.book_Kd for layer in quantizer(model).layers]
    model.quantizer = Detached(model.quantizer)
    return specimen(healthy, fine_tune(healthy, model, seed, steps=60), codebook=books)


def _commitment_gradient(specimen_: Specimen) -> float:
    losses = specimen_.subject.loss_terms
    assert losses is not None
    return float(losses(specimen_.train[:8])["commit"].requires_grad)


def mutants(base: str) -> list[Mutant]:
    """Return the faults of one residual-VQ base."""
    gain = measures("gain of the straight-through path", gain_of_path, 0.5, 1.5)
    no_gradient = measures("gradient at the encoder", encoder_gradient, 1e-12, None)
    owners = measures("owners of the codebook", _owners, 0.5, 1.5)
    usage = measures("share of codes used at the worst level", codes_used, 0.3, None)
    kinds: list[tuple[str, tuple[str, ...], object, Proof]] = [
        (
            "straight-through-levels",
            ("straight-through-gain",),
            straight_through("per level"),
            gain,
        ),
        (
            "straight-through-dead",
            ("straight-through-gain",),
            straight_through("none", 150),
            both(loses(0.5), both(gain, no_gradient)),
        ),
        ("codebook-two-owners", ("codebook-ownership",), two_owners, owners),
        ("codebook-no-owner", ("codebook-ownership",), no_owner, both(loses(0.5), owners)),
        ("codebook-collapse-init", ("codebook-collapse",), collapsed, both(loses(0.25), usage)),
        ("codebook-collapse-dead", ("codebook-collapse",), partly_dead, both(loses(0.25), usage)),
        (
            "codebook-too-small",
            ("codebook-too-small",),
            too_small,
            both(loses(1.5), measures("bits per position", _bits, 6.0, None)),
        ),
        (
            "commitment-drift",
            ("commitment-drift",),
            drifting,
            both(
                loses(1.0),
                measures("quantisation error / Var(z)", _quantisation_share, None, 0.35),
            ),
        ),
        (
            "inert-commitment",
            ("inert-loss",),
            inert_commitment,
            measures("commitment has a gradient", _commitment_gradient, 0.5, None),
        ),
    ]
    return [
        Mutant(f"{base}/{name}", base, ids, make, sick, quick=name == "straight-through-levels")  # type: ignore[arg-type]
        for name, ids, make, sick in kinds
    ]
