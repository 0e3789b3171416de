"""Two faults at once in one stack model; both have to be found."""

from __future__ import annotations

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.posterior import Activated
from benchmarks.faults.convolutional.proofs import both, measures, smallest_sigma
from benchmarks.faults.convolutional.training import copied, fine_tune, fit, specimen
from benchmarks.faults.stacks.bases import STRIDES
from benchmarks.faults.stacks.channels import offset_wins, quiet_r2
from torch import nn


def loud_and_floored(healthy: Trained, seed: int) -> Specimen:
    """Three channels 100 times louder, and a ReLU after the posterior layer."""
    scale = torch.ones(healthy.train.shape[1])
    scale[torch.randperm(len(scale), generator=torch.Generator().manual_seed(seed))[:3]] = 100.0
    scale = scale.view(1, -1, 1, 1)
    train, held = scale * healthy.train, scale * healthy.validation
    torch.manual_seed(seed)
    weights = {"mse": 1e-3, "kl": 1e-7}
    model = Autoencoder(
        train.shape[1],
        32,
        axes=2,
        strides=STRIDES,
        width=32,
        bottleneck="gaussian",
        weights=weights,
    )
    model.encoder = nn.Sequential(*model.encoder, Activated("relu"))
    fit(model, train, steps=350, learning_rate=healthy.learning_rate, seed=seed)
    return specimen(healthy, model, train=train, validation=held, kl_weight=1e-4)


def drifted_and_floored(healthy: Trained, seed: int) -> Specimen:
    """Shifted output means, and a softplus after the posterior layer."""
    model = copied(healthy)
    model.encoder = nn.Sequential(*model.encoder, Activated("softplus"))
    fine_tune(healthy, model, seed, steps=250, share=1.0)
    noise = torch.randn(healthy.train.shape[1], generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.last_layer.bias += 0.5 * noise
    return specimen(healthy, model)


_FLOOR = measures("smallest σ", smallest_sigma, None, 0.85)

DOUBLES = [
    Mutant(
        "stack-vae/loud-channels+variance-floor",
        "stack-vae",
        ("channel-scale-imbalance", "posterior-variance-floor"),
        loud_and_floored,
        both(measures("R² of the quieter channels", quiet_r2, 0.3, None), _FLOOR),
        plants=("channel-scale-imbalance", "posterior-variance-floor"),
    ),
    Mutant(
        "stack-vae/colour-drift+variance-floor",
        "stack-vae",
        ("colour-drift", "posterior-variance-floor"),
        drifted_and_floored,
        both(measures("dB won by removing offsets", offset_wins, None, 0.5), _FLOOR),
        plants=("colour-drift", "posterior-variance-floor"),
    ),
]
