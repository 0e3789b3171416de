"""A latent space in numbers.

Shape letters: N samples, D latent dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pellucid.evaluation.latent_space.encoded import BATCH, Encoded
from pellucid.evaluation.latent_space.geometry import discrimination, neighbour_accuracy
from pellucid.metrics.latent import ACTIVE_NATS, ACTIVE_VARIANCE
from pellucid.models.autoencoder import Autoencoder
from pellucid.references.principal import principal_axes


@torch.no_grad()
def measure(
    model: Autoencoder, train: Encoded, held_out: Encoded, *, predicted: int | None
) -> dict[str, Any]:
    """Return active and dead dimensions beside the closed form, and how samples are told apart.

    Args:
        model: in eval mode.
        train: samples of the training split.
        held_out: others.
        predicted: active dimensions in closed form, or None.
    """
    shape = model.encode(held_out.x[:1]).mean.shape[1:]
    variance = train.z.var(0, unbiased=False)
    returned = torch.cat(
        [
            model.encode(model.decode(model.encode(x))).mean.flatten(1)
            for x in held_out.x.split(BATCH)
        ]
    )
    ahead, first = discrimination(held_out.z, returned)
    spectrum = principal_axes(train.z, 1).eigenvalues
    share = (spectrum.cumsum(0) / spectrum.sum()).tolist() if spectrum.sum() > 0 else []
    node: dict[str, Any] = {
        "samples": {"train": len(train.z), "held_out": len(held_out.z)},
        "shape": list(shape),
        "dimensions": train.z.shape[1],
        "active_by_variance": int((variance > ACTIVE_VARIANCE).sum()),
        "active_variance": ACTIVE_VARIANCE,
        "variances": sorted(variance.tolist(), reverse=True),
        "active_by_rate": None if train.kl is None else int((train.kl > ACTIVE_NATS).sum()),
        "active_nats": ACTIVE_NATS,
        "active_closed_form": predicted,
        "spectrum_share": share[:256],
        "effective_dimensions": _participation(spectrum),
        "discrimination": ahead,
        "retrieval": first,
        "retrieval_chance": 1 / len(held_out.z),
    }
    if held_out.labels is not None and len(held_out.labels.unique()) > 1:
        own, majority = neighbour_accuracy(held_out.z, held_out.labels)
        pixels, _ = neighbour_accuracy(held_out.x.flatten(1), held_out.labels)
        node["neighbour_labels"] = {"latent": own, "pixels": pixels, "majority": majority}
    return node


def _participation(spectrum: Tensor) -> float | None:
    """Return (Σλ)² / Σλ², how many equal axes would carry as much."""
    total = float(spectrum.square().sum())
    return float(spectrum.sum()) ** 2 / total if total > 0 else None
