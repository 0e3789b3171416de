"""What a fresh model takes from the training data before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.nn.seanet import SEANetDecoder, SEANetEncoder
from pellucid.training.linear_start import (
    has_linear_paths,
    samples_to_start_from,
    start_linear,
)
from pellucid.training.linear_waves import start_linear_waves
from pellucid.training.unit_start import start_unit_activations

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder


def start_from_data(autoencoder: Autoencoder, train_set: Any, *, seed: int = 0) -> None:
    """Scale a waveform network's layers to the data, and set linear paths to their optimum.

    Args:
        autoencoder: fresh; changed in place.
        train_set: map-style dataset of {"x", "target"}, answering to (index, epoch).
        seed: chooses the crops.

    Raises:
        RecipeError: when only one of encoder and decoder has a linear path.
    """
    linear = has_linear_paths(autoencoder)
    waves = isinstance(autoencoder.encoder, SEANetEncoder) and isinstance(
        autoencoder.decoder, SEANetDecoder
    )
    if waves:
        x, target = samples_to_start_from(train_set, seed)
        start_unit_activations(autoencoder, x, target)
        if linear:
            start_linear_waves(autoencoder, x, target)
    elif linear:
        start_linear(autoencoder, train_set, seed=seed)
