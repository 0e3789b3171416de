"""Healthy models of multiplexed tissue: continuous, Gaussian, residual VQ."""

from __future__ import annotations

import torch
from benchmarks.faults.contract import Base, Trained
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.quantizer import ResidualVQ
from benchmarks.faults.convolutional.training import fit, initialise_codes
from benchmarks.faults.stacks.tissue import Tissue, mibi

FACTS = {"value_range": (-4.0, 4.0)}
LEARNING_RATE = 2e-3
BRIGHT = 24
STRIDES = (2, 2)
WIDTH = 32


def plain(seed: int) -> Trained:
    """Continuous latents of the 24 brightest channels."""
    torch.manual_seed(seed)
    return on_tissue(continuous(BRIGHT), mibi(BRIGHT))


def gaussian(seed: int) -> Trained:
    """Gaussian latents at a low weight; the dim channels hold counting noise and little else."""
    torch.manual_seed(seed)
    model = Autoencoder(
        BRIGHT,
        32,
        axes=2,
        strides=STRIDES,
        width=WIDTH,
        bottleneck="gaussian",
        weights={"mse": 1.0, "kl": 1e-5},
    )
    return on_tissue(model, mibi(BRIGHT))


def quantised(seed: int) -> Trained:
    """Residual VQ of 4 levels with 64 codes."""
    torch.manual_seed(seed)
    model = Autoencoder(
        BRIGHT,
        16,
        axes=2,
        strides=STRIDES,
        width=WIDTH,
        bottleneck="codes",
        quantizer=ResidualVQ(16, codes=64, levels=4),
        weights={"mse": 1.0, "commit": 0.05},
    )
    return on_tissue(model, mibi(BRIGHT))


def continuous(channels: int, dim: int = 32, *, norm: bool = False) -> Autoencoder:
    """Return an untrained continuous autoencoder."""
    return Autoencoder(channels, dim, axes=2, strides=STRIDES, width=WIDTH, norm=norm)


def on_tissue(model: Autoencoder, data: Tissue) -> Trained:
    """Put a model beside its data."""
    return Trained(model, data.train, data.validation, LEARNING_RATE, FACTS)


def train(untrained: Trained, seed: int, *, steps: int = 700) -> Trained:
    """Fit a model on tiles, codes first where there are any."""
    if untrained.model.quantizer is not None:
        initialise_codes(untrained.model, untrained.train, warm_up=100, seed=seed)
    fit(untrained.model, untrained.train, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    return untrained


def stack_ae(seed: int) -> Trained:
    """Train `plain`."""
    return train(plain(seed), seed)


def stack_vae(seed: int) -> Trained:
    """Train `gaussian`."""
    return train(gaussian(seed), seed)


def stack_vq(seed: int) -> Trained:
    """Train `quantised`."""
    return train(quantised(seed), seed, steps=600)


BASES = [
    Base("stack-ae", "stacks", stack_ae, plain),
    Base("stack-vae", "stacks", stack_vae, gaussian),
    Base("stack-vq", "stacks", stack_vq, quantised),
]
