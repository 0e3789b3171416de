"""Faults of the rate: the KL's weight, its reduction, its floor, and the posterior's reach."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.images.networks import kl, sample
from benchmarks.faults.images.training import fine_tune, specimen, twin
from benchmarks.faults.measure import both, decibels, loses, mean_kl, snr
from torch import Tensor, nn

Loss = Callable[[Tensor], dict[str, Tensor]]


def heavier(factor: float, steps: int = 900) -> Callable[[Trained, int], Specimen]:
    """The KL's weight `factor` times what suits the error: summed where it should be averaged."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = twin(healthy)
        model.kl_weight = factor * model.kl_weight
        optimizer = fine_tune(
            model, model.loss_terms, healthy.train, learning_rate=2e-3, steps=steps
        )
        return specimen(model, healthy, optimizer=optimizer, kl_weight=model.kl_weight)

    return make


def undeclared(make: Callable[[Trained, int], Specimen]) -> Callable[[Trained, int], Specimen]:
    """The same with the weight left to be inferred from the loss."""
    from benchmarks.faults.images.mutants_units import with_facts

    return lambda healthy, seed: with_facts(make(healthy, seed), kl_weight=None)


def paid_too_much(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """KL by the closed form, in both models, and w·D/(2·MSE)."""
    before, after = mean_kl(healthy), mean_kl(mutant)
    weight = getattr(mutant.model, "kl_weight", 0.0)
    beta = weight * mutant.train[0].numel() / (2 * mutant.mse)
    lost = snr(healthy) - snr(mutant)
    sick = after < before / 1.3 and after > 0.5 and beta > 2 and lost > 1
    return (
        sick,
        f"{after:.3g} nats (healthy {before:.3g}), w·D/2MSE = {beta:.2g}, {lost:.1f} dB lost",
    )


def collapsed(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """KL by the closed form next to nothing, and the latent exchanged without cost."""
    nats = mean_kl(mutant)
    x = mutant.validation
    assert x is not None
    with torch.no_grad():
        mean, _ = mutant.subject.encode(x[:200])
        a, b = (mutant.subject.decode(z) for z in (mean, mean.roll(1, 0)))
    cost = decibels(float((b - x[:200]).square().mean() / (a - x[:200]).square().mean()))
    return nats < 0.5 and cost < 0.2, f"{nats:.2g} nats, exchanging z costs {cost:.2f} dB"


def summed_over_the_batch(healthy: Trained, seed: int) -> Specimen:
    """`kl.sum()` over batch and dimensions beside a mean squared error."""
    model = twin(healthy)
    loss = _vae_loss(model, lambda nats: model.kl_weight * nats.sum() / 8)
    optimizer = fine_tune(model, loss, healthy.train, learning_rate=1e-3, steps=300, seconds=8)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss, kl_weight=None)


def error_summed(healthy: Trained, seed: int) -> Specimen:
    """`mse_loss(reduction="sum")` beside a KL averaged over the batch."""
    model = twin(healthy)
    weight = 32 * healthy.train[0].numel() * model.kl_weight

    def loss(x: Tensor) -> dict[str, Tensor]:
        mean, logvar = model.encode(x)
        recon = F.mse_loss(model.decode(sample(mean, logvar)), x, reduction="sum")
        return {"recon": recon, "kl": weight * kl(mean, logvar).flatten(1).sum(1).mean()}

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=1e-3, steps=300, seconds=8)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss, kl_weight=None)


def _vae_loss(model, reduce: Callable[[Tensor], Tensor]) -> Loss:
    def loss(x: Tensor) -> dict[str, Tensor]:
        mean, logvar = model.encode(x)
        recon = F.mse_loss(model.decode(sample(mean, logvar)), x)
        return {"recon": recon, "kl": reduce(kl(mean, logvar))}

    return loss


def depends_on_batch(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Ratio of the two terms on 16 samples and on the same samples four times over."""
    loss = mutant.subject.loss_terms
    assert loss is not None
    ratios = []
    for x in (mutant.train[:16], mutant.train[:16].repeat(4, 1, 1, 1)):
        torch.manual_seed(0)
        terms = {name: term.detach() for name, term in loss(x).items()}
        ratios.append(float(terms["kl"] / terms["recon"]))
    change = ratios[1] / ratios[0]
    return (
        not 0.5 < change < 2,
        f"KL over error changes {change:.2f}-fold with four times the batch",
    )


def floored(floor: float) -> Callable[[Trained, int], Specimen]:
    """Free bits per dimension above what most dimensions have to say, under a heavy weight."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = twin(healthy)
        model.kl_weight = 40 * model.kl_weight

        def floor_and_sum(nats: Tensor) -> Tensor:
            return model.kl_weight * nats.mean(0).clamp_min(floor).sum()

        loss = _vae_loss(model, floor_and_sum)
        optimizer = fine_tune(model, loss, healthy.train, learning_rate=2e-3, steps=1500)
        return specimen(
            model,
            healthy,
            optimizer=optimizer,
            loss_terms=loss,
            kl_weight=model.kl_weight,
            recipe={"free_bits": floor},
        )

    return make


def piled_at(floor: float):
    """Share of dimensions whose mean KL lies at the floor."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        x = mutant.validation
        assert x is not None
        with torch.no_grad():
            mean, logvar = mutant.subject.encode(x)
        nats = kl(mean, logvar).mean(0).flatten()
        share = float(((nats > 0.75 * floor) & (nats < 1.3 * floor)).float().mean())
        lost = snr(healthy) - snr(mutant)
        return share > 0.5, f"{share:.0%} of dimensions at {floor:g} nats, {lost:.1f} dB lost"

    return proof


def no_prior(healthy: Trained, seed: int) -> Specimen:
    """Next to no KL, and latents eight times as wide as the prior that will be sampled."""
    model, width = twin(healthy), 8.0
    model.kl_weight = 1e-6 * model.kl_weight
    last, first = model.encoder[-1], model.decoder[0]
    means = slice(0, last.out_features // 2)
    with torch.no_grad():
        last.weight[means] *= width
        last.bias[means] *= width
        last.bias[means.stop :] += 2 * math.log(width)
        first.weight /= width
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=5e-4, steps=500)
    declared = {"sampling": "prior"}
    return specimen(model, healthy, optimizer=optimizer, kl_weight=model.kl_weight, recipe=declared)


def samples_are_bad(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Decoded prior samples against the data: distance of each to its nearest image."""
    distances = []
    for it in (healthy, mutant):
        x = it.train.flatten(1)
        with torch.no_grad():
            mean, _ = it.subject.encode(it.train[:200])
            drawn = it.subject.decode(torch.randn_like(mean)).flatten(1)
        own = torch.cdist(x[:200], x[200:]).min(1).values.median()
        distances.append(float(torch.cdist(drawn, x[200:]).min(1).values.median() / own))
        spread = float(mean.std())
    bad = distances[1] > 1.3 * distances[0] or spread > 3
    return (
        bad,
        f"prior samples lie {distances[1]:.2f} of the usual distance away; std of z {spread:.2g}",
    )


def variance_exploded(healthy: Trained, seed: int) -> Specimen:
    """The log-variance of one channel ran away: no clamp."""
    model = twin(healthy)
    last = model.encoder[-1]
    with torch.no_grad():
        last.weight[-1] *= 0.01
        last.bias[-1] = 45.0
    return specimen(model, healthy)


def variance_vanished(healthy: Trained, seed: int) -> Specimen:
    """A log-variance that ran to −60."""
    model = twin(healthy)
    last = model.encoder[-1]
    with torch.no_grad():
        last.bias[-4:] = -60.0
    return specimen(model, healthy)


def extreme_log_variance(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Range of the log-variance."""
    x = mutant.validation
    assert x is not None
    with torch.no_grad():
        _, logvar = mutant.subject.encode(x)
    low, high = float(logvar.min()), float(logvar.max())
    return high > 25 or low < -40, f"log-variance within [{low:.1f}, {high:.1f}]"


def relu_posterior(healthy: Trained, seed: int) -> Specimen:
    """A ReLU after the posterior layer: no variance below one, no mean below zero."""
    model = twin(healthy)
    model.encoder.append(nn.ReLU())
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=2e-3, steps=1500)
    return specimen(model, healthy, optimizer=optimizer)


class SoftplusVariance(nn.Module):
    """A softplus meant for the variance, put on the log-variance."""

    def forward(self, h: Tensor) -> Tensor:
        mean, logvar = h.chunk(2, 1)
        return torch.cat([mean, F.softplus(logvar)], 1)


def softplus_logvar(healthy: Trained, seed: int) -> Specimen:
    """softplus(log-variance): noise of at least one, whatever the encoder wants."""
    model = twin(healthy)
    model.encoder.append(SoftplusVariance())
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=2e-3, steps=1500)
    return specimen(model, healthy, optimizer=optimizer)


def variance_floor(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The smallest posterior variance among held-out samples, in both models."""
    lowest = []
    for it in (healthy, mutant):
        assert it.validation is not None
        with torch.no_grad():
            _, logvar = it.subject.encode(it.validation)
        lowest.append(float(logvar.min().exp()))
    return lowest[1] > 0.9 > 0.2 > lowest[
        0
    ], f"smallest variance {lowest[1]:.2g}, healthy {lowest[0]:.2g}"


STARVED = ("posterior-collapse", "under-training", "capacity-limit")

# fmt: off
MUTANTS = [
    Mutant("digits-vae/kl-weight-20", "digits-vae", ("rate-starvation",), heavier(20),
           both(loses(1), paid_too_much), forbidden=STARVED, quick=True),
    Mutant("cifar-vae/kl-weight-100", "cifar-vae", ("rate-starvation",), heavier(100),
           both(loses(1), paid_too_much), forbidden=STARVED, quick=True),
    Mutant("mlp-vae/kl-weight-30-undeclared", "mlp-vae", ("rate-starvation",),
           undeclared(heavier(30, 2500)), both(loses(1), paid_too_much), forbidden=STARVED),
    Mutant("mlp-vae/kl-weight-1000", "mlp-vae", ("posterior-collapse",), heavier(1000, 2000),
           collapsed, forbidden=("rate-starvation",), quick=True),
    Mutant("digits-vae/kl-weight-3000", "digits-vae", ("posterior-collapse",), heavier(3000),
           collapsed, black_box=True),
    Mutant("digits-vae/kl-summed-over-batch", "digits-vae", ("reduction-mismatch",),
           summed_over_the_batch, depends_on_batch),
    Mutant("mlp-vae/error-summed-over-batch", "mlp-vae", ("reduction-mismatch",), error_summed,
           depends_on_batch),
    Mutant("mlp-vae/free-bits", "mlp-vae", ("free-bits-floor",), floored(0.5), piled_at(0.5)),
    Mutant("mlp-vae/no-prior", "mlp-vae", ("prior-hole",), no_prior, samples_are_bad),
    Mutant("digits-vae/variance-exploded", "digits-vae", ("logvar-blow-up",), variance_exploded,
           extreme_log_variance, black_box=True),
    Mutant("cifar-vae/variance-vanished", "cifar-vae", ("logvar-blow-up",), variance_vanished,
           extreme_log_variance),
    Mutant("mlp-vae/relu-posterior", "mlp-vae", ("posterior-variance-floor",), relu_posterior,
           both(loses(0.5), variance_floor), black_box=True, quick=True),
    Mutant("digits-vae/softplus-logvar", "digits-vae", ("posterior-variance-floor",),
           softplus_logvar, both(loses(0.3), variance_floor)),
]
