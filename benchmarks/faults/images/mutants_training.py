"""Faults of numerics, training state, ceilings and generalisation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.images.training import BATCH, fine_tune, specimen, step, twin
from benchmarks.faults.measure import Proof, both, decibels, held_out_mse, loses, reconstruct, snr
from torch import Tensor, nn

from pellucid.diagnosis import Subject


def log_of_black(healthy: Trained, seed: int) -> Specimen:
    """Exposure is normalised by the logarithm, and black pixels have none."""
    model = twin(healthy)

    def encode(x: Tensor) -> Any:
        level = x.log().mean((1, 2, 3), keepdim=True)
        return model.encode(x * (1 + 0 * level))

    return specimen(model, healthy, encode=encode)


def not_finite(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Share of held-out outputs that are not finite."""
    x = mutant.validation
    assert x is not None
    share = 1 - float(reconstruct(mutant.subject, x).isfinite().float().mean())
    return share > 0, f"{share:.0%} of outputs are not finite"


def spectrum_without_epsilon(healthy: Trained, seed: int) -> Specimen:
    """Spectral convergence without an epsilon: division by zero on a black image."""
    model = twin(healthy)

    def convergence(x_hat: Tensor, x: Tensor) -> Tensor:
        a, b = (torch.fft.rfft2(t).abs().flatten(1) for t in (x_hat, x))
        return ((a - b).norm(dim=1) / b.norm(dim=1)).mean()

    def loss(x: Tensor) -> dict[str, Tensor]:
        x_hat = model.decode(model.encode(x))
        return {"recon": F.mse_loss(x_hat, x), "spectral": 1e-3 * convergence(x_hat, x)}

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=2e-4, steps=100, seconds=5)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss)


def plain_image_breaks_it(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The loss and its gradient on one image of a single grey."""
    assert mutant.subject.loss_terms is not None
    assert mutant.model is not None
    for value in (0.0, 0.5):
        terms = mutant.subject.loss_terms(torch.full_like(mutant.train[:2], value))
        total = torch.stack(list(terms.values())).sum()
        parameters = [p for p in mutant.model.parameters() if p.requires_grad]
        found = torch.autograd.grad(total, parameters, allow_unused=True)
        if not all(bool(g.isfinite().all()) for g in found if g is not None):
            return True, f"NaN gradients on an image of {value:g} everywhere"
    return False, "gradients are finite on plain images"


def fresh(healthy: Trained, seed: int) -> Any:
    """Return a copy of a model with its weights drawn anew."""
    torch.manual_seed(seed)
    model = twin(healthy)
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


def young(steps: int) -> Callable[[Trained, int], Specimen]:
    """A model stopped after so many steps, at its full learning rate."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = fresh(healthy, seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=healthy.learning_rate)
        losses = _train_plainly(model, healthy.train, optimizer, steps)
        return specimen(model, healthy, optimizer=optimizer, history={"loss": losses})

    return make


def wrong_rate(factor: float, steps: int) -> Callable[[Trained, int], Specimen]:
    """A model trained throughout at `factor` times the learning rate that suits it."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = fresh(healthy, seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=factor * healthy.learning_rate)
        losses = _train_plainly(model, healthy.train, optimizer, steps)
        return specimen(model, healthy, optimizer=optimizer, history={"loss": losses})

    return make


def _train_plainly(
    model: Any, x: Tensor, optimizer: torch.optim.Optimizer, steps: int
) -> list[float]:
    """Take steps without a schedule; return the loss of ten equal stretches."""
    losses = []
    model.train()
    for index in range(steps):
        batch = x[torch.randint(len(x), (BATCH,))]
        step(model.loss_terms, [optimizer], batch)
        if (index + 1) % max(steps // 10, 1) == 0:
            with torch.no_grad():
                losses.append(float(sum(model.loss_terms(batch).values())))
    model.eval()
    return losses


def unlearned_rate(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The same steps at the healthy rate win dB."""
    lost = snr(healthy) - snr(mutant)
    rate = mutant.subject.optimizers[0].param_groups[0]["lr"]
    model = copy.deepcopy(mutant.model)
    assert model is not None
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    _train_plainly(model, mutant.train, optimizer, 250)
    assert mutant.validation is not None
    other = held_out_mse(Subject(model.encode, model.decode), mutant.validation)
    win = decibels(mutant.mse / other)
    return win > 1 and lost > 1, f"250 steps at 2e-3 instead of {rate:g} win {win:.1f} dB"


def stale_statistics(healthy: Trained, seed: int) -> Specimen:
    """BatchNorm with momentum 1e-4: running statistics never caught up with retrained weights."""
    model = twin(healthy)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = 1e-4
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=5e-4, seconds=8)
    return specimen(model, healthy, optimizer=optimizer)


def small_batches(healthy: Trained, seed: int) -> Specimen:
    """Retrained on batches of two with BatchNorm, statistics averaged over the last few only."""
    model = twin(healthy)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.9
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    model.train()
    for _ in range(400):
        step(model.loss_terms, [optimizer], healthy.train[torch.randint(len(healthy.train), (2,))])
    model.eval()
    return specimen(model, healthy, optimizer=optimizer)


def modes_differ(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Error in evaluation mode against that on batch statistics, on a copy."""
    x, model = mutant.validation, copy.deepcopy(mutant.model)
    assert x is not None
    assert model is not None
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    live = held_out_mse(Subject(model.encode, model.decode), x)
    gap = decibels(mutant.mse / live)
    return gap > 1, f"evaluation mode loses {gap:.1f} dB to batch statistics"


def average_never_updated(healthy: Trained, seed: int) -> Specimen:
    """The averaged twins were made and never updated."""
    model, averaged = twin(healthy), fresh(healthy, seed)
    twins = {"encoder": averaged.encoder, "decoder": averaged.decoder}
    return specimen(model, healthy, ema=twins)


def average_too_slow(healthy: Trained, seed: int) -> Specimen:
    """A decay of 0.9999 over a few hundred steps: the average still remembers its start."""
    model, averaged = twin(healthy), fresh(healthy, seed)
    with torch.no_grad():
        for slow, quick in zip(averaged.parameters(), model.parameters(), strict=True):
            slow.lerp_(quick, 1 - 0.9999**3000)
    twins = {"encoder": averaged.encoder, "decoder": averaged.decoder}
    return specimen(model, healthy, ema=twins)


def average_is_worse(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The averaged modules' own error."""
    x, ema = mutant.validation, mutant.subject.ema
    assert x is not None
    assert ema is not None
    model = copy.deepcopy(mutant.model)
    assert model is not None
    model.encoder, model.decoder = ema["encoder"].eval(), ema["decoder"].eval()
    lost = decibels(held_out_mse(Subject(model.encode, model.decode), x) / mutant.mse)
    return lost > 1, f"averaged weights lose {lost:.1f} dB to the raw ones"


SLOW_LEARNER: Proof = both(loses(1), unlearned_rate)

# fmt: off
MUTANTS = [
    Mutant("cifar-batchnorm/log-of-black", "cifar-batchnorm", ("nan-or-overflow",), log_of_black,
           not_finite, black_box=True),
    Mutant("cifar-sigmoid/spectrum-without-epsilon", "cifar-sigmoid", ("spectral-nan",),
           spectrum_without_epsilon, plain_image_breaks_it),
    Mutant("digits-vae/rate-too-high", "digits-vae", ("learning-rate",), wrong_rate(25, 500),
           SLOW_LEARNER, forbidden=("posterior-collapse",)),
    Mutant("mlp-vae/rate-too-low", "mlp-vae", ("learning-rate",), wrong_rate(0.01, 1500),
           SLOW_LEARNER, forbidden=("posterior-collapse",)),
    Mutant("cifar-batchnorm/stale-statistics", "cifar-batchnorm", ("batchnorm-gap",),
           stale_statistics, modes_differ, black_box=True, quick=True),
    Mutant("cifar-batchnorm/batches-of-two", "cifar-batchnorm", ("batchnorm-gap",), small_batches,
           modes_differ),
    Mutant("cifar-sigmoid/average-never-updated", "cifar-sigmoid", ("stale-ema",),
           average_never_updated, average_is_worse, quick=True),
    Mutant("cifar-vae/average-too-slow", "cifar-vae", ("stale-ema",), average_too_slow,
           average_is_worse),
    Mutant("cifar-vae/young", "cifar-vae", ("under-training",), young(80), loses(1),
           forbidden=("capacity-limit", "posterior-collapse", "rate-starvation"), quick=True),
    Mutant("cifar-batchnorm/young", "cifar-batchnorm", ("under-training",), young(60), loses(1),
           forbidden=("capacity-limit", "batchnorm-gap")),
]
