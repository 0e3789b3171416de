"""How model and batches lie in memory, and whether the networks are compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._functorch import config as functorch_config

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder


def arrange_model(autoencoder: Autoencoder, *, channels_last: bool, compiled: bool) -> None:
    """Put a model into train mode, channels-last order and compiled form, in place.

    Compiling in place keeps the names of the weights. The bottleneck stays eager: its statistics
    and collectives would only break the graph.
    """
    autoencoder.train()
    if channels_last:
        autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        # gradient shares go through the graph more than once
        functorch_config.donated_buffer = False  # type: ignore[attr-defined]
        autoencoder.encoder.compile()
        autoencoder.decoder.compile()


def to_layout(batch: Mapping[str, Any], *, channels_last: bool) -> dict[str, Any]:
    """Return the batch with its images (4 axes) in channels-last memory order."""
    if not channels_last:
        return dict(batch)
    return {
        name: value.contiguous(memory_format=torch.channels_last)
        if isinstance(value, Tensor) and value.ndim == 4
        else value
        for name, value in batch.items()
    }
