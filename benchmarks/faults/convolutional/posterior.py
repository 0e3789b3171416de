"""Faults of Gaussian latents: rate, floors, collapse, reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.proofs import (
    both,
    kl_nats,
    loses,
    measures,
    smallest_sigma,
)
from benchmarks.faults.convolutional.training import copied, fine_tune, fit, held_error, specimen
from torch import Tensor, nn

from pellucid.diagnosis import Subject
from pellucid.records import Latent


def effective_weight(healthy: Trained, beta: float) -> float:
    """Return the KL weight at which β_eff = w·D/(2·MSE) is `beta` at the healthy error."""
    x = healthy.validation[:128]
    with torch.no_grad():
        error = float((healthy.model(x) - x).square().mean())
    return beta * 2 * error / x[0].numel()


class Activated(nn.Module):
    """An activation left after the posterior layer: σ = exp(½·softplus) stays at 1 or above."""

    def __init__(self, which: str) -> None:
        super().__init__()
        self.which = which

    def forward(self, h: Tensor) -> Tensor:
        """Bend mean and log-variance alike."""
        return torch.relu(h) if self.which == "relu" else nn.functional.softplus(h) - 0.28


def variance_floor(which: str) -> Callable[[Trained, int], Specimen]:
    """Return the fault with "relu" or "softplus" after the posterior layer."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = copied(healthy)
        model.encoder = nn.Sequential(*model.encoder, Activated(which))
        fine_tune(healthy, model, seed, steps=250, share=1.0)
        return specimen(healthy, model, black=which == "softplus")

    return make


def starvation(beta: float) -> Callable[[Trained, int], Specimen]:
    """Return the fault of another data set's weight: β_eff far above 1, the latent still used."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = copied(healthy)
        model.weights = {**model.weights, "kl": effective_weight(healthy, beta)}
        return specimen(healthy, fine_tune(healthy, model, seed, steps=300, share=1.0))

    return make


def collapse(healthy: Trained, seed: int) -> Specimen:
    """β = 1 beside a mean-reduced error: the latent is given up."""
    model = copied(healthy)
    model.weights = {**model.weights, "kl": effective_weight(healthy, 1e6)}
    return specimen(healthy, fine_tune(healthy, model, seed, steps=400, share=1.0))


def free_bits(beta: float) -> Callable[[Trained, int], Specimen]:
    """Return the fault of a floor under every dimension, and a weight that pushes onto it."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = copied(healthy)
        model.kl_floor = 0.25
        model.weights = {**model.weights, "kl": effective_weight(healthy, beta)}
        fine_tune(healthy, model, seed, steps=300, share=1.0)
        return specimen(healthy, model, recipe={"free_bits": 0.25})

    return make


def blow_up(healthy: Trained, seed: int) -> Specimen:
    """A bias of the log-variance ran away; nothing clamps it."""
    model = copied(healthy)
    head = model.encoder[-1]
    with torch.no_grad():
        head.bias[len(head.bias) // 2] += 60.0
    return specimen(healthy, model)


def _largest_logvar(specimen_: Specimen) -> float:
    assert specimen_.validation is not None
    with torch.no_grad():
        return float(specimen_.subject.encode(specimen_.validation[:64]).logvar.max())


class SummedError(Autoencoder):
    """Error summed over the batch beside a KL that is averaged over it."""

    def loss_terms(self, x_BCP: Tensor) -> dict[str, Tensor]:
        """Return terms whose balance depends on the batch size."""
        terms = super().loss_terms(x_BCP)
        return {**terms, "mse": terms["mse"] * len(x_BCP)}


def reduction(healthy: Trained, seed: int) -> Specimen:
    """Change only how the error is reduced; the balance now follows the batch size."""
    model = copied(healthy)
    model.__class__ = SummedError
    return specimen(healthy, fine_tune(healthy, model, seed, steps=60))


def _batch_dependence(specimen_: Specimen) -> float:
    """Return how error/KL changes from 8 to 32 samples of equal content."""
    losses = specimen_.subject.loss_terms
    assert losses is not None
    x = specimen_.train[:8]
    ratios = []
    for batch in (x, x.repeat(4, *[1] * (x.ndim - 1))):
        torch.manual_seed(0)
        terms = losses(batch)
        ratios.append(float(terms["mse"].detach() / terms["kl"].detach()))
    return ratios[1] / ratios[0]


def rounded_afterwards(step: float) -> Callable[[Trained, int], Specimen]:
    """Return the fault of latents rounded to multiples of `step` std behind a trained decoder."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = copied(healthy)
        with torch.no_grad():
            width = step * float(model.encode(healthy.train[:128]).mean.std())

        def encode(x: Tensor) -> Latent:
            mean = model.encode(x).mean
            codes = (mean / width).round()
            return Latent(mean=mean, codes=codes.long().movedim(1, -1), quantized=codes * width)

        plain = {n: healthy.facts[n] for n in ("value_range", "sample_rate") if n in healthy.facts}
        modules = {"encoder": model.encoder, "decoder": model.decoder}
        subject = Subject(encode, model.decode, modules=modules, **plain)
        x = healthy.validation
        return Specimen(subject, healthy.train, x, held_error(subject, x), model=model)

    return make


class Scaled(nn.Module):
    """Multiply mean and σ by the same number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, h: Tensor) -> Tensor:
        """Scale the mean, shift the log-variance."""
        mean, logvar = h.chunk(2, 1)
        return torch.cat([self.factor * mean, logvar + 2 * math.log(self.factor)], 1)


def prior_hole(healthy: Trained, seed: int) -> Specimen:
    """Latents eight times wider than the prior they are declared to be sampled from."""
    model = copied(healthy)
    with torch.no_grad():
        spread = float(model.encode(healthy.train[:128]).mean.std())
    factor = 8.0 / spread
    model.encoder = nn.Sequential(*model.encoder, Scaled(factor))
    with torch.no_grad():
        model.decoder[0].weight.div_(factor)
    return specimen(healthy, model, recipe={"sampling": "prior"})


@torch.no_grad()
def _spread(specimen_: Specimen) -> float:
    """Return the std of z where it is sampled from N(0, I), else 1."""
    assert specimen_.validation is not None
    if not specimen_.subject.recipe:
        return 1.0
    return float(specimen_.subject.encode(specimen_.validation[:128]).mean.std())


def low_weight_twin(healthy: Trained, seed: int, share: float = 0.1) -> Specimen:
    """Return the same model a little further at a tenth of its weight: healthy."""
    model = copied(healthy)
    model.weights = {**model.weights, "kl": share * model.weights["kl"]}
    fit(model, healthy.train, steps=150, learning_rate=0.5 * healthy.learning_rate, seed=seed)
    return specimen(healthy, model)


def mutants(base: str, *, starving: float, coarse: float, floor_beta: float) -> list[Mutant]:
    """Return the faults of one Gaussian base; `starving` and `floor_beta` are β_eff."""
    floor = measures("smallest σ", smallest_sigma, None, 0.85)
    return [
        Mutant(
            f"{base}/variance-floor-{which}",
            base,
            ("posterior-variance-floor",),
            variance_floor(which),
            both(_pays, floor),
            forbidden=("posterior-collapse",),
            black_box=which == "softplus",
        )
        for which in ("relu", "softplus")
    ] + [
        Mutant(
            f"{base}/rate-starvation",
            base,
            ("rate-starvation",),
            starvation(starving),
            both(loses(1.0), _still_used),
            forbidden=("posterior-collapse",),
            quick=base == "stack-vae",
        ),
        Mutant(
            f"{base}/posterior-collapse",
            base,
            ("posterior-collapse",),
            collapse,
            both(loses(3.0), measures("KL, nats", kl_nats, 2.0, None)),
            forbidden=("rate-starvation",),
        ),
        Mutant(
            f"{base}/free-bits-floor",
            base,
            ("free-bits-floor",),
            free_bits(floor_beta),
            both(loses(0.5), _at_floor),
            forbidden=("posterior-collapse",),
        ),
        Mutant(
            f"{base}/logvar-blow-up",
            base,
            ("logvar-blow-up",),
            blow_up,
            measures("largest log-variance", _largest_logvar, None, 20.0),
            black_box=False,
        ),
        Mutant(
            f"{base}/reduction-mismatch",
            base,
            ("reduction-mismatch",),
            reduction,
            measures("error/KL at four times the batch", _batch_dependence, 0.5, 2.0),
        ),
        Mutant(
            f"{base}/prior-hole",
            base,
            ("prior-hole",),
            prior_hole,
            measures("std of z sampled from N(0, I)", _spread, None, 4.0),
        ),
        Mutant(
            f"{base}/post-hoc-gap",
            base,
            ("post-hoc-gap",),
            rounded_afterwards(coarse),
            loses(1.5),
        ),
    ]


def _pays(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Noise that cannot shrink costs decibels, or nats: means have to outgrow it."""
    lost, said = loses(0.5)(healthy, mutant)
    before, after = kl_nats(healthy), kl_nats(mutant)
    return lost or after > 1.5 * before, f"{said}; KL {before:.0f} nats healthy, {after:.0f} mutant"


def _still_used(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Starved, not collapsed: nats are spent, and fewer than before."""
    before, after = kl_nats(healthy), kl_nats(mutant)
    return 2 < after < before, f"KL {before:.1f} nats healthy, {after:.1f} mutant"


@torch.no_grad()
def _at_floor(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Most dimensions sit at one common KL."""
    assert mutant.validation is not None
    latent = mutant.subject.encode(mutant.validation)
    logvar = latent.logvar
    kl = (0.5 * (latent.mean.square() + logvar.exp() - 1 - logvar)).mean(0).flatten()
    share = float(((kl > 0.17) & (kl < 0.35)).float().mean())
    return share > 0.5, f"{share:.0%} of dimensions within a third of the floor of 0.25 nats"
