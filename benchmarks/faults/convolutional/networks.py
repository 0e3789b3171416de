"""A plain convolutional autoencoder over one or two axes, with any bottleneck.

Shape letters: B batch, C channels, P positions, d latent channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from benchmarks.faults.convolutional.quantizer import ResidualVQ
from benchmarks.faults.convolutional.spectra import (
    low_band_magnitudes,
    magnitude_error,
    multi_resolution,
)
from torch import Tensor, nn

from pellucid.records import Latent

Bottleneck = Literal["plain", "gaussian", "codes"]

ERRORS = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "stft": multi_resolution,
    "magnitude": magnitude_error,
    "low_band": low_band_magnitudes,
}
"""Reconstruction terms by name: (x_hat, x) -> scalar."""


class Autoencoder(nn.Module):
    """Strided convolutions down, transposed convolutions up.

    Args:
        channels: C.
        dim: d.
        axes: 1 for waveforms, 2 for stacks.
        bottleneck: "plain" (continuous), "gaussian" (VAE) or "codes" (residual VQ).
        strides: one per stage.
        width: hidden channels.
        norm: BatchNorm in encoder and decoder.
        quantizer: for "codes".
        weights: multiplier of each term: names of `ERRORS`, "kl", "commit".
        head: last activation.
    """

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        axes: int,
        bottleneck: Bottleneck = "plain",
        strides: Sequence[int] = (4, 4),
        width: int = 24,
        norm: bool = False,
        quantizer: nn.Module | None = None,
        weights: dict[str, float] | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.bottleneck, self.weights = bottleneck, weights or {"mse": 1.0}
        self.kl_floor = 0.0
        conv, up = (nn.Conv1d, nn.ConvTranspose1d) if axes == 1 else (nn.Conv2d, nn.ConvTranspose2d)
        batch_norm = nn.BatchNorm1d if axes == 1 else nn.BatchNorm2d
        down: list[nn.Module] = []
        rise: list[nn.Module] = [conv(dim, width, 3, padding=1)]
        for index, stride in enumerate(strides):
            into = width if index else channels
            down += [conv(into, width, 2 * stride, stride, stride // 2)]
            down += [batch_norm(width)] if norm else []
            down += [nn.GELU()]
        for stride in reversed(strides):
            rise += [nn.GELU(), up(width, width, 2 * stride, stride, stride // 2)]
            rise += [batch_norm(width)] if norm else []
        out = 2 * dim if bottleneck == "gaussian" else dim
        self.encoder = nn.Sequential(*down, conv(width, out, 3, padding=1))
        self.decoder = nn.Sequential(*rise, nn.GELU(), conv(width, channels, 5, padding=2))
        self.head = head or nn.Identity()
        self.quantizer = quantizer

    @property
    def last_layer(self) -> nn.Module:
        """The convolution that writes the output."""
        layers = [m for m in self.decoder.modules() if isinstance(m, (nn.Conv1d, nn.Conv2d))]
        return layers[-1]

    def encode(self, x_BCP: Tensor) -> Latent:
        """Return the latent, with log-variance or codes where there are any."""
        h = self.encoder(x_BCP)
        if self.bottleneck == "gaussian":
            mean, logvar = h.chunk(2, 1)
            return Latent(mean=mean, logvar=logvar)
        if self.quantizer is None:
            return Latent(mean=h)
        quantized, codes, _ = self.quantizer(h)
        return Latent(mean=h, codes=codes, quantized=quantized)

    def decode(self, z_BdP: Tensor) -> Tensor:
        """Return x_hat (B, C, P...)."""
        return self.head(self.decoder(z_BdP))

    def forward(self, x_BCP: Tensor) -> Tensor:
        """Return decode(encode(x)) by the mean, or the quantised latent."""
        latent = self.encode(x_BCP)
        return self.decode(latent.mean if latent.quantized is None else latent.quantized)

    def bottleneck_terms(self, x_BCP: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the decoder is trained on, and the bottleneck's own weighted terms."""
        h = self.encoder(x_BCP)
        if self.bottleneck == "gaussian":
            mean, logvar = h.chunk(2, 1)
            kl_BdP = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
            kl = kl_BdP.mean(0).clamp_min(self.kl_floor).sum()
            z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
            return z, {"kl": self.weights["kl"] * kl}
        if self.quantizer is None:
            return h, {}
        z, _, commitment = self.quantizer(h)
        return z, {"commit": self.weights["commit"] * commitment}

    def loss_terms(self, x_BCP: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms whose sum is minimised."""
        z, extra = self.bottleneck_terms(x_BCP)
        x_hat = self.decode(z)
        errors = {n: w * ERRORS[n](x_hat, x_BCP) for n, w in self.weights.items() if n in ERRORS}
        return {**errors, **extra}


def codebooks(model: Autoencoder) -> list[Tensor] | None:
    """Return the live codebooks, one per level, of our own quantiser."""
    quantizer = model.quantizer
    if isinstance(quantizer, ResidualVQ):
        return [layer.book_Kd for layer in quantizer.layers]
    return None
