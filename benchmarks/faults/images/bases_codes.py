"""Healthy tokenizers: plain, residual, by patches, of Pellucid's own parts; one adversarial."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from benchmarks.faults import data
from benchmarks.faults.contract import Base, Trained
from benchmarks.faults.images.adversary import AdversarialAE, discriminator, train_adversarially
from benchmarks.faults.images.networks import CodesAE, Quantizer, conv_decoder, conv_encoder
from benchmarks.faults.images.training import base
from torch import Tensor, nn

from pellucid.bottlenecks.vq import VQ
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn.residual import ResidualDecoder, ResidualEncoder
from pellucid.records import Latent


class Patches(nn.Module):
    """Cut (B, C, H, W) into patches and embed each: (B, out, H/size, W/size)."""

    def __init__(self, channels: int, size: int, width: int, out: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, size, size)
        self.mlp = nn.Sequential(nn.GELU(), nn.Conv2d(width, width, 1), nn.GELU())
        self.out = nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.mlp(self.embed(x)))


class Unpatches(nn.Module):
    """Give every token its patch back."""

    def __init__(self, dim: int, width: int, channels: int, size: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(dim, width, 3, 1, 1), nn.GELU())
        self.out = nn.Conv2d(width, channels * size**2, 1)
        self.size = size

    def forward(self, z: Tensor) -> Tensor:
        return F.pixel_shuffle(self.out(self.mix(z)), self.size)


class Own(nn.Module):
    """Pellucid's own residual encoder, averaged VQ and resize-convolution decoder."""

    def __init__(self) -> None:
        super().__init__()
        encoder = ResidualEncoder(channels=16, stride=4, width=16, multipliers=(1, 2))
        decoder = ResidualDecoder(in_channels=16, stride=4, width=16, multipliers=(1, 2))
        self.autoencoder = Autoencoder(encoder, VQ(16, codes=128, dim=8), decoder)
        self.encoder, self.decoder = encoder, decoder
        self.bottleneck = self.autoencoder.bottleneck

    def encode(self, x: Tensor) -> Latent:
        return self.autoencoder.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.autoencoder.decode(z)

    def loss_terms(self, x: Tensor) -> dict[str, Tensor]:
        output = self.autoencoder(x)
        penalties = {n: p.weight * p.value for n, p in output.penalties.items()}
        return {"recon": F.mse_loss(output.x_hat, x), **penalties}


def cifar_vq(seed: int) -> Trained:
    """A VQ-VAE with a gradient codebook: 128 codes at 8×8 positions."""
    torch.manual_seed(seed)
    quantizer = Quantizer(128, 8, commitment=0.5)
    model = CodesAE(conv_encoder(3, 40, 8), quantizer, conv_decoder(8, 40, 3))
    return _trained(model, data.small_images(), 2e-3, bits_per_sample=64 * 7.0)


def photo_rvq(seed: int) -> Trained:
    """A residual-VQ tokenizer with averaged codebooks: 4 levels of 64 codes at 8×8 positions."""
    torch.manual_seed(seed)
    quantizer = Quantizer(64, 8, levels=4, averaged=True, commitment=0.5)
    model = CodesAE(conv_encoder(3, 40, 8), quantizer, conv_decoder(8, 40, 3))
    return _trained(model, data.photo_crops(), 2e-3, bits_per_sample=64 * 24.0)


def patch_vq(seed: int) -> Trained:
    """A patch tokenizer with an averaged codebook: 256 codes for patches of 4×4 pixels."""
    torch.manual_seed(seed)
    quantizer = Quantizer(256, 6, averaged=True)
    model = CodesAE(Patches(3, 4, 96, 6), quantizer, Unpatches(6, 96, 3, 4))
    return _trained(model, data.small_images(), 2e-3, bits_per_sample=64 * 8.0)


def own_vq(seed: int) -> Trained:
    """Pellucid's own parts on photographs in [−1, 1]: 128 codes at 8×8 positions."""
    torch.manual_seed(seed)
    train, held = data.photo_crops()
    built = _trained(Own(), (train * 2 - 1, held * 2 - 1), 2e-3, bits_per_sample=64 * 7.0)
    return dataclasses.replace(built, facts={**built.facts, "value_range": (-1, 1)})


def adversarial(seed: int) -> Trained:
    """A small autoencoder with a patch discriminator at a modest weight."""
    torch.manual_seed(seed)
    model = AdversarialAE(conv_encoder(3, 32, 8), conv_decoder(8, 32, 3), discriminator(3, 24))
    return _trained(model, data.small_images(), 1e-3)


def _train_adversarial(seed: int) -> Trained:
    built = adversarial(seed)
    train_adversarially(built, steps=1400)
    return built


def _trained(model: nn.Module, images, learning_rate: float, **facts) -> Trained:
    return Trained(model, *images, learning_rate, facts={"value_range": (0, 1), **facts})


BASES = [
    base("cifar-vq", cifar_vq, steps=1600),
    base("photo-rvq", photo_rvq, steps=1400),
    base("patch-vq", patch_vq, steps=1500),
    base("own-vq", own_vq, steps=900),
    Base("cifar-adversarial", "images", _train_adversarial, adversarial),
]
