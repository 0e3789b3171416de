"""Faults of measurement, units and wiring that any base of any family can catch."""

from __future__ import annotations

import math
from typing import Any

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.proofs import (
    Proof,
    both,
    loses,
    measures,
    reconstructed,
)
from benchmarks.faults.convolutional.training import copied, fine_tune, fit, specimen
from torch import Tensor, nn

from pellucid.diagnosis import Subject


def unpaired(healthy: Trained, seed: int) -> Specimen:
    """Evaluate cached reconstructions against a loader that shuffles."""
    x = healthy.validation[:160]
    with torch.no_grad():
        x_hat = healthy.model(x)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return specimen(healthy, pairs=(x, x_hat[order]))


def _pair_error(specimen_: Specimen) -> float:
    """Return error of the user's own pairs over that of decode(encode(x))."""
    if specimen_.subject.pairs is None:
        return 1.0
    x, x_hat = specimen_.subject.pairs
    return float((x - x_hat).square().mean()) / specimen_.mse


def metric_range(healthy: Trained, seed: int) -> Specimen:
    """A PSNR written for 8-bit images, used on [−1, 1]."""

    def psnr(x: Tensor, y: Tensor) -> Tensor:
        return 10 * torch.log10(255**2 / (x - y).square().mean())

    return specimen(healthy, metrics={"psnr": psnr})


def _psnr_error(specimen_: Specimen) -> float:
    """Return how wrong the user's PSNR is at known noise, in dB."""
    metric = specimen_.subject.metrics.get("psnr")
    if metric is None:
        return 0.0
    low, high = specimen_.subject.value_range
    x = specimen_.train[:16]
    noise = 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return abs(float(metric(x + noise, x)) - 20 * math.log10((high - low) / 0.01))


def path_mismatch(healthy: Trained, seed: int) -> Specimen:
    """The deployed forward adds dither to the latent that training never saw."""
    model = healthy.model

    def forward(x: Tensor) -> Tensor:
        latent = model.encode(x)
        z = latent.mean if latent.quantized is None else latent.quantized
        return model.decode(0.8 * z)  # a "temperature" left in the serving code

    return specimen(healthy, model, forward=forward)


def _path_difference(specimen_: Specimen) -> float:
    """Return the error between forward and decode(encode(x)) over the model's own error."""
    if specimen_.subject.forward is None:
        return 0.0
    x, x_hat = reconstructed(specimen_)
    with torch.no_grad():
        return float((specimen_.subject.forward(x) - x_hat).square().mean()) / specimen_.mse


class Skipping(nn.Module):
    """encode keeps the input for decode: a skip connection around the bottleneck."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model, self.kept = model, None

    def encode(self, x: Tensor) -> Any:
        """Encode, and remember a coarse copy of the input."""
        self.kept = 0.5 * x
        return self.model.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Decode half, and add the other half from memory."""
        return 0.5 * self.model.decode(z) + (self.kept if self.kept is not None else 0)


def latent_bypass(healthy: Trained, seed: int) -> Specimen:
    """Half of the output comes from a cached input."""
    whole = Skipping(copied(healthy)).eval()
    plain = {n: healthy.facts[n] for n in ("value_range", "sample_rate") if n in healthy.facts}
    subject = Subject(whole.encode, whole.decode, modules={"model": whole}, **plain)
    x = healthy.validation
    with torch.no_grad():
        mse = float((whole.decode(whole.encode(x).mean) - x).square().mean())
    return Specimen(subject, healthy.train, x, mse, model=whole)


@torch.no_grad()
def _shuffled_error(specimen_: Specimen) -> float:
    """Return error/variance with the latents of other samples."""
    assert specimen_.validation is not None
    x = specimen_.validation[:128]
    latent = specimen_.subject.encode(x)
    z = latent.mean if latent.quantized is None else latent.quantized
    return float((specimen_.subject.decode(z.roll(1, 0)) - x).square().mean() / x.var())


def random_decoder(healthy: Trained, seed: int) -> Specimen:
    """The decoder mixes fresh noise into its input at every call, as an untrained vocoder does."""
    model = copied(healthy)

    class Noisy(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z + z.std() * torch.randn_like(z)

    model.decoder = nn.Sequential(Noisy(), *model.decoder)
    return specimen(healthy, fine_tune(healthy, model, seed, steps=60), black=True)


@torch.no_grad()
def _repeat_difference(specimen_: Specimen) -> float:
    """Return the variance of decode(z) repeated, over the data's."""
    x, once = reconstructed(specimen_, 64)
    _, again = reconstructed(specimen_, 64)
    return float((once - again).square().mean() / x.var())


def frozen_decoder(healthy: Trained, seed: int) -> Specimen:
    """The optimiser was given the encoder's parameters only, before the decoder was replaced."""
    model = copied(healthy)
    torch.manual_seed(seed)
    for layer in model.decoder:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    learning = list(model.encoder.parameters())
    fit(
        model,
        healthy.train,
        steps=100,
        learning_rate=healthy.learning_rate,
        seed=seed,
        parameters=learning,
    )
    optimizer = torch.optim.Adam(learning, lr=0.05 * healthy.learning_rate)
    return specimen(healthy, model, optimizers=[optimizer])


def frozen_encoder(healthy: Trained, seed: int) -> Specimen:
    """requires_grad stayed off after a warm start; the encoder is random."""
    model = copied(healthy)
    torch.manual_seed(seed)
    for layer in model.encoder:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    model.encoder.requires_grad_(False)
    return specimen(healthy, fine_tune(healthy, model, seed, steps=150, share=1.0))


def _still(name: str) -> Proof:
    """Return the proof that one module does not move in a step of the subject's optimisers."""

    def movement(specimen_: Specimen) -> float:
        optimizers = specimen_.subject.optimizers
        owned = {id(p) for o in optimizers for g in o.param_groups for p in g["params"]}
        parameters = list(specimen_.subject.modules[name].parameters())
        moved = [p.requires_grad and (id(p) in owned or not optimizers) for p in parameters]
        return sum(moved) / len(parameters)

    return measures(f"share of {name} the optimiser can move", movement, 0.01, None)


def mutants(base: str, *, black: bool = False) -> list[Mutant]:
    """Return these faults for one base."""
    return [
        Mutant(
            f"{base}/unpaired-evaluation",
            base,
            ("unpaired-evaluation",),
            unpaired,
            measures("error of the user's pairs / model's error", _pair_error, None, 2.0),
        ),
        Mutant(
            f"{base}/path-mismatch",
            base,
            ("path-mismatch",),
            path_mismatch,
            measures("forward against decode(encode) / error", _path_difference, None, 0.2),
        ),
        Mutant(
            f"{base}/random-decoder",
            base,
            ("random-decoder",),
            random_decoder,
            measures("variance of repeated decoding", _repeat_difference, None, 0.01),
            black_box=True,
        ),
        Mutant(
            f"{base}/latent-bypass",
            base,
            ("latent-bypass",),
            latent_bypass,
            measures("error with other samples' latents / Var", _shuffled_error, 0.9, None),
            forbidden=("posterior-collapse",),
            black_box=True,
        ),
    ]


def frozen(base: str) -> list[Mutant]:
    """Return the two ways of freezing."""
    return [
        Mutant(
            f"{base}/frozen-decoder",
            base,
            ("frozen-module",),
            frozen_decoder,
            both(loses(1.0), _still("decoder")),
        ),
        Mutant(
            f"{base}/frozen-encoder",
            base,
            ("frozen-module",),
            frozen_encoder,
            both(loses(0.5), _still("encoder")),
        ),
    ]


def wrong_metric(base: str) -> Mutant:
    """Return the PSNR with the wrong peak."""
    return Mutant(
        f"{base}/metric-range",
        base,
        ("metric-range",),
        metric_range,
        measures("error of the user's PSNR, dB", _psnr_error, None, 1.0),
    )
