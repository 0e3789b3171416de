"""Samples of one split with their latents.

Shape letters: N samples, D latent dimensions, C channels, H, W pixels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from pellucid.functional.gaussian import kl_nats
from pellucid.models.autoencoder import Autoencoder
from pellucid.references.samples import spaced

BATCH = 64


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Samples of one split, training crops as an epoch draws them but clean, and their latents.

    Args:
        x: (N, C, H, W) in the model's range.
        z: (N, D) flattened posterior means.
        kl: (D,) mean KL of every dimension in nats, or None without a posterior.
        names: of the samples.
        labels: (N,) classes, or None.
    """

    x: Tensor
    z: Tensor
    kl: Tensor | None
    names: list[str]
    labels: Tensor | None


@torch.no_grad()
def encode(model: Autoencoder, split: Any, samples: int) -> Encoded:
    """Encode at most `samples` of a split, evenly spaced."""
    indices = spaced(len(split), samples)
    x, z, labels, kl = [], [], [], 0.0
    for start in range(0, len(indices), BATCH):
        batch = split.batch(indices[start : start + BATCH])
        latent = model.encode(batch["target"])
        x.append(batch["target"])
        z.append(latent.mean.flatten(1).float())
        if latent.logvar is not None:
            kl = kl + kl_nats(latent.mean, latent.logvar).flatten(1).sum(0)
        if "label" in batch:
            labels.append(batch["label"])
    return Encoded(
        torch.cat(x) if x else torch.empty(0),
        torch.cat(z) if z else torch.empty(0, 1),
        kl / len(indices) if isinstance(kl, Tensor) else None,
        [split.name(index) for index in indices],
        torch.cat(labels) if labels else None,
    )
