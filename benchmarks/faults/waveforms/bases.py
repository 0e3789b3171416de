"""Healthy speech models: continuous, with BatchNorm, Gaussian, residual VQ."""

from __future__ import annotations

import torch
from benchmarks.faults.contract import Base, Trained
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.quantizer import ResidualVQ
from benchmarks.faults.convolutional.training import fit, initialise_codes
from benchmarks.faults.waveforms.speech import RATE, speech

FACTS = {"value_range": (-1.0, 1.0), "sample_rate": RATE}
LEARNING_RATE = 2e-3
STRIDES = (4, 4)
LENGTH = 512
"""32 ms: a base trains in a quarter of a minute of one core."""


def plain(seed: int) -> Trained:
    """Continuous latents, half as many numbers as samples; mean squared error."""
    torch.manual_seed(seed)
    return on_speech(Autoencoder(1, 8, axes=1, strides=STRIDES))


def normalised(seed: int) -> Trained:
    """Continuous latents with BatchNorm."""
    torch.manual_seed(seed)
    return on_speech(Autoencoder(1, 8, axes=1, strides=STRIDES, norm=True))


def gaussian(seed: int) -> Trained:
    """Gaussian latents at a weight that costs little: β_eff well below 1."""
    torch.manual_seed(seed)
    weights = {"mse": 1.0, "kl": 5e-8}
    return on_speech(
        Autoencoder(1, 8, axes=1, strides=STRIDES, bottleneck="gaussian", weights=weights)
    )


def quantised(seed: int) -> Trained:
    """Residual VQ of 8 levels with 32 codes, moving averages, one straight-through."""
    torch.manual_seed(seed)
    return on_speech(codec(ResidualVQ(8, codes=32, levels=8)))


def codec(quantizer: torch.nn.Module) -> Autoencoder:
    """Return a codec around a quantiser of eight channels."""
    weights = {"mse": 1.0, "commit": 1e-3}
    return Autoencoder(
        1, 8, axes=1, strides=STRIDES, bottleneck="codes", quantizer=quantizer, weights=weights
    )


def on_speech(model: Autoencoder) -> Trained:
    """Put a model beside its data."""
    data = speech(LENGTH)
    return Trained(model, data.train, data.validation, LEARNING_RATE, FACTS)


def train(untrained: Trained, seed: int, *, steps: int = 800) -> Trained:
    """Fit a model on speech, codes first where there are any."""
    if untrained.model.quantizer is not None:
        initialise_codes(untrained.model, untrained.train, warm_up=150, seed=seed)
    fit(untrained.model, untrained.train, steps=steps, learning_rate=LEARNING_RATE, seed=seed)
    return untrained


def wave_ae(seed: int, *, steps: int = 800) -> Trained:
    """Train `plain`."""
    return train(plain(seed), seed, steps=steps)


def wave_norm(seed: int) -> Trained:
    """Train `normalised`."""
    return train(normalised(seed), seed)


def wave_vae(seed: int) -> Trained:
    """Train `gaussian`."""
    return train(gaussian(seed), seed)


def wave_codec(seed: int) -> Trained:
    """Train `quantised`."""
    return train(quantised(seed), seed, steps=600)


BASES = [
    Base("wave-ae", "waveforms", wave_ae, plain),
    Base("wave-norm", "waveforms", wave_norm, normalised),
    Base("wave-vae", "waveforms", wave_vae, gaussian),
    Base("wave-codec", "waveforms", wave_codec, quantised),
]
