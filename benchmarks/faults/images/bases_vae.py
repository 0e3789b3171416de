"""Healthy continuous autoencoders; KL weights are near 2·MSE/D, what a learned noise gives."""

from __future__ import annotations

import torch
from benchmarks.faults import data
from benchmarks.faults.contract import Trained
from benchmarks.faults.images.networks import PlainAE, PlainVAE, conv_decoder, conv_encoder, dense
from benchmarks.faults.images.training import base
from torch import nn

SMALL_IMAGE_KL = 1.5e-6
"""β_eff ≈ 0.5 at the error the CIFAR VAE reaches."""


def digits_vae(seed: int) -> Trained:
    """A convolutional VAE of digits in [0, 1], 32 latent numbers."""
    torch.manual_seed(seed)
    model = PlainVAE(conv_encoder(1, 24, 16), conv_decoder(8, 24, 1), kl_weight=1e-4)
    return _trained(model, data.digits(), 2e-3, kl_weight=1e-4)


def mlp_vae(seed: int) -> Trained:
    """A dense VAE of digits in [−1, 1], 12 latent numbers."""
    torch.manual_seed(seed)
    model = PlainVAE(dense((64, 192, 24)), dense((12, 192, 64), (1, 8, 8)), kl_weight=5e-4)
    return _trained(model, data.digits(-1, 1), 2e-3, kl_weight=5e-4, value_range=(-1, 1))


def cifar_vae(seed: int) -> Trained:
    """A convolutional VAE of 32×32 colour images, 8×8×8 latent numbers."""
    torch.manual_seed(seed)
    model = PlainVAE(conv_encoder(3, 40, 16), conv_decoder(8, 40, 3), kl_weight=SMALL_IMAGE_KL)
    return _trained(model, data.small_images(), 2e-3, kl_weight=SMALL_IMAGE_KL)


def cifar_batchnorm(seed: int) -> Trained:
    """A convolutional autoencoder with BatchNorm, 8×8×8 latent numbers."""
    torch.manual_seed(seed)
    encoder = conv_encoder(3, 40, 8, norm=True)
    model = PlainAE(encoder, conv_decoder(8, 40, 3, norm=True))
    return _trained(model, data.small_images(), 2e-3)


def cifar_sigmoid(seed: int) -> Trained:
    """A convolutional autoencoder with a sigmoid head, where images are in [0, 1]."""
    torch.manual_seed(seed)
    model = PlainAE(conv_encoder(3, 32, 12), conv_decoder(12, 32, 3), nn.Sigmoid())
    return _trained(model, data.small_images(), 2e-3)


def _trained(model: nn.Module, images, learning_rate: float, **facts) -> Trained:
    return Trained(model, *images, learning_rate, facts={"value_range": (0, 1), **facts})


BASES = [
    base("digits-vae", digits_vae, steps=2500),
    base("mlp-vae", mlp_vae, steps=4000),
    base("cifar-vae", cifar_vae, steps=1600),
    base("cifar-batchnorm", cifar_batchnorm, steps=1400),
    base("cifar-sigmoid", cifar_sigmoid, steps=1500),
]
