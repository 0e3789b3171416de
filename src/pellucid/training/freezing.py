"""Hold encoder and bottleneck still in a second stage of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.bottlenecks.codebook import Codebook

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder


def freeze_encoder(autoencoder: Autoencoder) -> None:
    """Stop gradients and statistics of encoder, bottleneck and codebooks; the decoder goes on.

    The bottleneck itself stays in train mode: the decoder keeps seeing what it will have to
    decode, with sampling and quantiser dropout.

    Source: Wu et al. 2023, "AudioDec", section 3.2 (metrics first, adversary with a fixed encoder).
    """
    autoencoder.encoder.requires_grad_(False).eval()
    autoencoder.bottleneck.requires_grad_(False)
    for part in autoencoder.bottleneck.modules():
        if isinstance(part, Codebook):
            part.eval()
