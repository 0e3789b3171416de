"""Train, fine-tune, and hand over: the loop every base, mutant and control goes through."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from benchmarks.faults.contract import Specimen, Trained
from benchmarks.faults.convolutional.networks import Autoencoder, codebooks
from torch import Tensor

from pellucid.diagnosis import Subject

BATCH = 32


def fit(
    model: Autoencoder,
    x_NCP: Tensor,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    decay: bool = True,
    parameters: list[torch.nn.Parameter] | None = None,
) -> list[dict[str, float]]:
    """Train by Adam (cosine to a twentieth when `decay`); return the terms every 20 steps."""
    torch.manual_seed(seed)
    chosen = parameters or [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(chosen, lr=learning_rate)
    rows = []
    model.train()
    for step in range(steps):
        if decay:
            fall = 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.param_groups[0]["lr"] = learning_rate * (0.05 + 0.95 * fall)
        terms = model.loss_terms(x_NCP[torch.randint(len(x_NCP), (BATCH,))])
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        if step % 20 == 19:
            rows.append(
                {n: float(v.detach()) for n, v in terms.items()} | {"loss": float(total.detach())}
            )
    model.eval()
    return rows


def fine_tune(
    healthy: Trained, model: Autoencoder, seed: int, *, steps: int = 120, share: float = 0.5
) -> Autoencoder:
    """Train a mutated copy on the healthy model's samples a little; return it."""
    rate = share * healthy.learning_rate
    fit(model, healthy.train, steps=steps, learning_rate=rate, seed=seed)
    return model


def copied(healthy: Trained) -> Autoencoder:
    """Return a copy to mutate."""
    return copy.deepcopy(healthy.model)


@torch.no_grad()
def held_error(subject: Subject, x_NCP: Tensor) -> float:
    """Return the mean squared error of decode(encode(x)), as a user would measure it."""
    total = 0.0
    for x in x_NCP.split(64):
        latent = subject.encode(x)
        z = latent.mean if latent.quantized is None else latent.quantized
        total += float((subject.decode(z) - x).double().square().mean()) * len(x)
    return total / len(x_NCP)


def white_box(
    model: Autoencoder, facts: Mapping[str, Any], learning_rate: float, **more: Any
) -> Subject:
    """Hand over everything a user would: modules, losses, optimiser at its final rate, codebook."""
    modules = {"encoder": model.encoder, "decoder": model.decoder}
    if model.quantizer is not None:
        modules["quantizer"] = model.quantizer
    learning = [p for p in model.parameters() if p.requires_grad]
    keywords: dict[str, Any] = {
        "modules": modules,
        "loss_terms": model.loss_terms,
        "optimizers": [torch.optim.Adam(learning, lr=0.05 * learning_rate)],
        "codebook": codebooks(model),
        **facts,
    }
    if model.bottleneck == "gaussian":
        keywords["kl_weight"] = model.weights["kl"]
    return Subject(model.encode, model.decode, **(keywords | more))


def black_box(model: Autoencoder, facts: Mapping[str, Any], **more: Any) -> Subject:
    """Hand over encode, decode and the plain facts."""
    plain = {n: facts[n] for n in ("value_range", "sample_rate") if n in facts}
    return Subject(model.encode, model.decode, **(plain | more))


def specimen(
    healthy: Trained,
    model: Autoencoder | None = None,
    *,
    black: bool = False,
    train: Tensor | None = None,
    validation: Tensor | None = None,
    goal: str | None = None,
    **more: Any,
) -> Specimen:
    """Hand over a model with the healthy one's data and facts, unless others are given.

    Args:
        healthy: where data, facts and learning rate come from.
        model: the mutated model, or None for the healthy one itself.
        black: hand over encode, decode and plain facts only.
        train: other training samples.
        validation: other held-out samples.
        goal: the user's goal.
        more: keywords of `Subject`.
    """
    chosen = healthy.model if model is None else model
    chosen.eval()
    held = healthy.validation if validation is None else validation
    if black:
        subject = black_box(chosen, healthy.facts, **more)
    else:
        subject = white_box(chosen, healthy.facts, healthy.learning_rate, **more)
    return Specimen(
        subject=subject,
        train=healthy.train if train is None else train,
        validation=held,
        mse=held_error(subject, held),
        goal=goal,
        model=chosen,
    )


def initialise_codes(model: Autoencoder, x_NCP: Tensor, *, warm_up: int, seed: int) -> None:
    """Train without the quantiser a little, then start its levels by k-means on latents."""
    quantizer: Any = model.quantizer
    quantizer.enabled = False
    fit(model, x_NCP, steps=warm_up, learning_rate=2e-3, seed=seed, decay=False)
    quantizer.enabled = True
    with torch.no_grad():
        quantizer.start_from(model.encoder(x_NCP[:256]))
