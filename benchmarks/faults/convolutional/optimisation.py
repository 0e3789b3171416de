"""Faults of training that any base can catch: rates, balance, data, averages, numerics."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.proofs import (
    Proof,
    both,
    encoder_gradient,
    fvu_db,
    loses,
    measures,
    reconstructed,
)
from benchmarks.faults.convolutional.training import copied, fine_tune, fit, held_error, specimen
from torch import Tensor, nn


def reset(model: Autoencoder, seed: int) -> None:
    """Give every layer fresh weights."""
    torch.manual_seed(seed)
    for module in model.modules():
        if module is not model and hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]


def rate(factor: float, *, fresh: bool) -> Callable[[Trained, int], Specimen]:
    """Return the fault of training at so many times the right learning rate."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = copied(healthy)
        if fresh:
            reset(model, seed)
        wrong = factor * healthy.learning_rate
        rows = fit(model, healthy.train, steps=250, learning_rate=wrong, seed=seed, decay=False)
        optimizer = torch.optim.Adam(model.parameters(), lr=wrong)
        for _ in range(5):  # moments as training left them
            optimizer.zero_grad()
            torch.stack(list(model.loss_terms(healthy.train[:32]).values())).sum().backward()
            optimizer.step()
        return specimen(healthy, model, optimizers=[optimizer], history=rows)

    return make


def _other_rate_wins(factor: float) -> Proof:
    """Return the proof: 60 steps at the healthy rate win a decibel, at its own they do not."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        lost = fvu_db(healthy) - fvu_db(mutant)
        gains = []
        assert isinstance(mutant.model, Autoencoder)
        assert mutant.validation is not None
        own = mutant.subject.optimizers[0].param_groups[0]["lr"]
        for lr in (own, own / factor):
            fork = copy.deepcopy(mutant.model)
            fit(fork, mutant.train, steps=60, learning_rate=lr, seed=0, decay=False)
            error = held_error(
                type(mutant.subject)(fork.encode, fork.decode), mutant.validation[:128]
            )
            before = held_error(
                type(mutant.subject)(mutant.model.encode, mutant.model.decode),
                mutant.validation[:128],
            )
            gains.append(10 * float(torch.tensor(before / max(error, 1e-20)).log10()))
        said = (
            f"{lost:.1f} dB lost; 60 steps win {gains[0]:.2f} dB as is, {gains[1]:.2f} dB at the "
        )
        return lost > 1 and gains[1] > gains[0] + 0.3, f"{said}healthy rate"

    return proof


def _lower_rate_wins(factor: float) -> Proof:
    """Return the proof: as many steps from newly drawn weights, at the healthy rate, win 2 dB."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        twin = copy.deepcopy(mutant.model)
        assert isinstance(twin, Autoencoder)
        reset(twin, 0)
        own = mutant.subject.optimizers[0].param_groups[0]["lr"]
        fit(twin, mutant.train, steps=250, learning_rate=own / factor, seed=0, decay=False)
        assert mutant.validation is not None
        error = held_error(type(mutant.subject)(twin.encode, twin.decode), mutant.validation)
        won = 10 * math.log10(mutant.mse / error)
        return won > 2, f"as many steps at the healthy rate from new weights win {won:.1f} dB"

    return proof


def under_trained(healthy: Trained, seed: int) -> Specimen:
    """The same model after a tenth of its steps: no bug at all."""
    model = copied(healthy)
    reset(model, seed)
    fit(
        model,
        healthy.train,
        steps=80,
        learning_rate=healthy.learning_rate,
        seed=seed,
        decay=False,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=healthy.learning_rate)
    return specimen(healthy, model, optimizers=[optimizer])


def overfitted(healthy: Trained, seed: int) -> Specimen:
    """Trained from scratch on 12 samples, for long."""
    model = copied(healthy)
    reset(model, seed)
    few = healthy.train[:12]
    fit(model, few, steps=700, learning_rate=healthy.learning_rate, seed=seed)
    return specimen(healthy, model, train=few)


@torch.no_grad()
def _gap(specimen_: Specimen) -> float:
    """Return held-out error over training error."""
    train = held_error(specimen_.subject, specimen_.train[:128])
    return specimen_.mse / max(train, 1e-20)


def leaked(healthy: Trained, seed: int) -> Specimen:
    """A quarter of the held-out samples are in the training set as well, slightly re-encoded."""
    order = torch.Generator().manual_seed(seed)
    count = len(healthy.validation) // 4
    copies = healthy.validation[:count]
    noise = 1e-4 * copies.std() * torch.randn(copies.shape, generator=order)
    train = torch.cat([healthy.train, copies + noise])
    return specimen(healthy, copied(healthy), train=train)


def _shared(specimen_: Specimen) -> float:
    """Return the share of held-out samples with a near-copy among the training samples."""
    assert specimen_.validation is not None
    train, held = specimen_.train.flatten(1), specimen_.validation.flatten(1)
    nearest = torch.cdist(held, train).amin(1)
    return float((nearest < 0.05 * held.norm(dim=1)).float().mean())


def stale_average(healthy: Trained, seed: int) -> Specimen:
    """The averaged twin was started from random weights with decay 0.9999 and hardly moved."""
    model = copied(healthy)
    twin = copied(healthy)
    reset(twin, seed)
    with torch.no_grad():
        for slow, fast in zip(twin.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 0.6)
    twin.eval()
    return specimen(healthy, model, ema={"encoder": twin.encoder, "decoder": twin.decoder})


def _average_lost(specimen_: Specimen) -> float:
    """Return error of the averaged twin over that of the raw weights."""
    ema = specimen_.subject.ema
    if ema is None:
        return 1.0
    assert specimen_.validation is not None
    with torch.no_grad():
        x = specimen_.validation[:128]
        return float((ema["decoder"](ema["encoder"](x)) - x).square().mean()) / specimen_.mse


def saturated(healthy: Trained, seed: int) -> Specimen:
    """The layer before a clamp at the data's extremes blew up: most outputs sit at its rails."""
    model = copied(healthy)
    limit = float(healthy.train.abs().max())
    model.head = nn.Hardtanh(-limit, limit)
    with torch.no_grad():
        model.last_layer.weight.mul_(6 * limit / healthy.train.std())
    return specimen(healthy, model)


@torch.no_grad()
def _at_rails(specimen_: Specimen) -> float:
    _, x_hat = reconstructed(specimen_)
    return float((x_hat.abs() >= 0.995 * x_hat.abs().max()).float().mean())


def overflowing(healthy: Trained, seed: int) -> Specimen:
    """Half precision in the encoder after weights grew: infinity, then NaN."""
    model = copied(healthy)

    class Half(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            h = (3e5 * self.inner(x)).half().float()
            return h / 3e5

    model.encoder = nn.Sequential(Half(model.encoder))
    return specimen(healthy, model)


@torch.no_grad()
def _non_finite(specimen_: Specimen) -> float:
    _, x_hat = reconstructed(specimen_)
    return float((~x_hat.isfinite()).float().mean())


SMOOTH = 10.0
"""Weight of the smoothness term beside a mean squared error, in standard deviations."""


class Imbalanced(Autoencoder):
    """A regulariser of the output that owns the gradient."""

    def loss_terms(self, x_BCP: Tensor) -> dict[str, Tensor]:
        """Add a total-variation term some hundred times too strong."""
        z, extra = self.bottleneck_terms(x_BCP)
        x_hat = self.decode(z)
        smooth = (x_hat[..., 1:] - x_hat[..., :-1]).abs().mean()
        scale = x_BCP.std().detach()
        return {"mse": F.mse_loss(x_hat, x_BCP), "smooth": SMOOTH * scale * smooth, **extra}


def imbalanced(healthy: Trained, seed: int) -> Specimen:
    """A smoothness term copied with its weight from another data range."""
    model = copied(healthy)
    model.__class__ = Imbalanced
    return specimen(healthy, fine_tune(healthy, model, seed, steps=250, share=1.0))


def _strongest_other_share(specimen_: Specimen) -> float:
    """Return the largest share of ‖∇x̂‖ that is not the reconstruction's."""
    model = specimen_.model
    assert isinstance(model, Autoencoder)
    x = specimen_.train[:16]
    x_hat = model(x).detach().requires_grad_()
    (recon,) = torch.autograd.grad(F.mse_loss(x_hat, x), x_hat)
    if not isinstance(model, Imbalanced):
        return 0.0
    smooth = SMOOTH * x.std() * (x_hat[..., 1:] - x_hat[..., :-1]).abs().mean()
    (other,) = torch.autograd.grad(smooth, x_hat)
    return float(other.norm() / (other.norm() + recon.norm()))


class Detached(Autoencoder):
    """encode runs under no_grad in the training step: the error never reaches the encoder."""

    def bottleneck_terms(self, x_BCP: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a detached latent."""
        z, extra = super().bottleneck_terms(x_BCP)
        return z.detach(), extra


def detached(healthy: Trained, seed: int) -> Specimen:
    """The encoder is as random as it was on the first day."""
    model = copied(healthy)
    reset(model, seed)
    model.__class__ = Detached
    return specimen(healthy, fine_tune(healthy, model, seed, steps=200, share=1.0))


def stale_statistics(healthy: Trained, seed: int) -> Specimen:
    """Running statistics of BatchNorm still are those of another data scale."""
    model = copied(healthy)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.running_mean is not None
            assert module.running_var is not None
            noise = torch.randn(module.running_mean.shape, generator=generator)
            module.running_mean += 0.7 * module.running_var.sqrt() * noise
            module.running_var *= 3.0
    return specimen(healthy, model, black=False)


def _mode_gap(specimen_: Specimen) -> float:
    """Return error in eval mode over error in train mode."""
    model = copy.deepcopy(specimen_.model)
    assert isinstance(model, Autoencoder)
    assert specimen_.validation is not None
    x = specimen_.validation[:64]
    with torch.no_grad():
        still = (model.eval()(x) - x).square().mean()
        moving = (model.train()(x) - x).square().mean()
    return float(still / moving)


def mutants(base: str) -> list[Mutant]:
    """Return the faults of training for one continuous base."""

    def plant(name: str, ids: tuple[str, ...], make, sick, **more) -> Mutant:
        return Mutant(f"{base}/{name}", base, ids, make, sick, **more)

    gap = measures("held-out over training error", _gap, None, 1.8)
    rails = measures("share of outputs at the rails", _at_rails, None, 0.2)
    return [
        plant("learning-rate-high", ("learning-rate",), rate(15, fresh=True), _lower_rate_wins(15)),
        plant(
            "learning-rate-low", ("learning-rate",), rate(1e-2, fresh=True), _other_rate_wins(1e-2)
        ),
        plant("under-training", ("under-training",), under_trained, loses(1.0)),
        plant("overfitting", ("overfitting",), overfitted, both(loses(1.0), gap), black_box=True),
        plant(
            "split-leak",
            ("split-leak",),
            leaked,
            measures("held-out samples met in training", _shared, None, 0.1),
            black_box=True,
        ),
        plant(
            "stale-ema",
            ("stale-ema",),
            stale_average,
            measures("error of averages / raw", _average_lost, None, 1.5),
        ),
        plant("output-saturation", ("output-saturation",), saturated, both(loses(1.0), rails)),
        plant(
            "overflow",
            ("nan-or-overflow",),
            overflowing,
            measures("share of non-finite outputs", _non_finite, None, 0.0),
        ),
        plant(
            "loss-imbalance",
            ("loss-imbalance",),
            imbalanced,
            both(loses(1.0), measures("share of another term", _strongest_other_share, None, 0.8)),
        ),
        plant(
            "inert-reconstruction",
            ("inert-loss", "frozen-module"),
            detached,
            both(loses(0.5), measures("gradient at the encoder", encoder_gradient, 1e-12, None)),
        ),
    ]


def batchnorm(base: str) -> Mutant:
    """Return the fault of a base with BatchNorm."""
    return Mutant(
        f"{base}/batchnorm-gap",
        base,
        ("batchnorm-gap",),
        stale_statistics,
        measures("error in eval / train mode", _mode_gap, None, 1.3),
    )
