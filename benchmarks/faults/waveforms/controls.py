"""Healthy speech models on which nothing may be asserted, under-training aside."""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.faults.contract import Control, Specimen
from benchmarks.faults.convolutional.ceilings import bits_per_sample
from benchmarks.faults.convolutional.networks import Autoencoder
from benchmarks.faults.convolutional.posterior import low_weight_twin
from benchmarks.faults.convolutional.quantizer import ResidualVQ
from benchmarks.faults.convolutional.spectra import mel_bank
from benchmarks.faults.convolutional.training import fit, initialise_codes, specimen
from benchmarks.faults.waveforms.adversarial import AdversarialCodec, gan_codec, handed_over
from benchmarks.faults.waveforms.bases import (
    LEARNING_RATE,
    STRIDES,
    codec,
    on_speech,
    train,
    wave_ae,
    wave_codec,
    wave_norm,
    wave_vae,
)
from torch import Tensor, nn


def healthy_ae(seed: int) -> Specimen:
    """The continuous base, with a correct mel bank."""
    return specimen(wave_ae(seed), filterbanks={"mel": mel_bank()})


def healthy_norm(seed: int) -> Specimen:
    """The base with BatchNorm."""
    return specimen(wave_norm(seed))


def healthy_codec(seed: int) -> Specimen:
    """The residual-VQ base with a goal it meets."""
    healthy = wave_codec(seed)
    return specimen(healthy, goal="snr>3", bits_per_sample=bits_per_sample(healthy.model, healthy))


def low_beta(seed: int) -> Specimen:
    """The Gaussian base at a tenth of its weight."""
    return low_weight_twin(wave_vae(seed), seed)


def healthy_gan(seed: int) -> Specimen:
    """The adversarial base."""
    healthy = gan_codec(seed)
    model: Any = healthy.model
    assert isinstance(model, AdversarialCodec)
    return handed_over(healthy, model)


def young_codec(seed: int) -> Specimen:
    """A codec a few dozen steps old."""
    torch.manual_seed(seed)
    healthy = on_speech(codec(ResidualVQ(8, codes=32, levels=4)))
    model = healthy.model
    initialise_codes(model, healthy.train, warm_up=40, seed=seed)
    fit(model, healthy.train, steps=50, learning_rate=LEARNING_RATE, seed=seed, decay=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    return specimen(healthy, optimizers=[optimizer])


def low_bitrate(seed: int) -> Specimen:
    """One level of 64 codes, 6 bits per millisecond: few decibels, as many as the rate allows."""
    torch.manual_seed(seed)
    return specimen(train(on_speech(codec(ResidualVQ(8, codes=64, levels=1))), seed))


class LibraryVQ(nn.Module):
    """vector-quantize-pytorch's ResidualVQ, rotation trick and k-means start as it defaults."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        from vector_quantize_pytorch import ResidualVQ as Library

        self.inner = Library(
            dim=dim,
            num_quantizers=4,
            codebook_size=32,
            kmeans_init=True,
            kmeans_iters=5,
            threshold_ema_dead_code=2,
        )
        self.enabled = True

    def forward(self, z_BdP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Channels first to channels last and back."""
        if not self.enabled:
            codes = torch.zeros(len(z_BdP), z_BdP.shape[-1], 4, dtype=torch.long)
            return z_BdP, codes, z_BdP.new_zeros(())
        quantized, codes, losses = self.inner(z_BdP.transpose(1, 2))
        return quantized.transpose(1, 2), codes, losses.mean()


def library_codec(seed: int) -> Specimen:
    """A composition with vector-quantize-pytorch, its own gradients and averages."""
    torch.manual_seed(seed)
    quantizer = LibraryVQ(8)
    healthy = on_speech(codec(quantizer))
    model, x = healthy.model, healthy.train
    quantizer.enabled = False
    fit(model, x, steps=150, learning_rate=LEARNING_RATE, seed=seed, decay=False)
    quantizer.enabled = True
    fit(model, x, steps=350, learning_rate=LEARNING_RATE, seed=seed)
    books = list(quantizer.inner.codebooks.detach())
    return specimen(healthy, codebook=books)


def tanh_headed(seed: int) -> Specimen:
    """A tanh head on data well inside [−1, 1]."""
    torch.manual_seed(seed)
    model = Autoencoder(1, 8, axes=1, strides=STRIDES, head=nn.Tanh())
    return specimen(train(on_speech(model), seed))


def spectral(seed: int) -> Specimen:
    """L1 and multi-resolution STFT: louder than a regressor of squared error, as it should be."""
    torch.manual_seed(seed)
    weights = {"l1": 1.0, "stft": 0.02}
    model = Autoencoder(1, 8, axes=1, strides=STRIDES, weights=weights)
    return specimen(train(on_speech(model), seed, steps=350))


_TRAIN_ON = ("under-training",)

CONTROLS = [
    Control("wave-ae/healthy", "waveforms", healthy_ae, _TRAIN_ON, quick=True),
    Control("wave-norm/healthy", "waveforms", healthy_norm, _TRAIN_ON),
    Control("wave-codec/healthy", "waveforms", healthy_codec, _TRAIN_ON),
    Control("wave-vae/low-beta", "waveforms", low_beta, _TRAIN_ON),
    Control("wave-gan/healthy", "waveforms", healthy_gan, _TRAIN_ON),
    Control("wave-codec/young", "waveforms", young_codec, _TRAIN_ON, _TRAIN_ON),
    Control("wave-codec/low-bitrate", "waveforms", low_bitrate, _TRAIN_ON),
    Control("wave-codec/library", "waveforms", library_codec, _TRAIN_ON),
    Control("wave-ae/tanh", "waveforms", tanh_headed, _TRAIN_ON),
    Control("wave-ae/spectral", "waveforms", spectral, _TRAIN_ON),
]
