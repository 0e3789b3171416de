"""What a fresh model takes from the training data before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.nn.seanet import SEANetEncoder
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
    """Set linear paths to the optimum of linear models; models without them stay as they are.

    Beside a linear path a waveform network's layers are scaled to the data first.

    Args:
        autoencoder: fresh; changed in place.
        train_set: map-style dataset of {"x", "target"}, answering to (index, epoch).
        seed: chooses the crops.

    Raises:
        RecipeError: when only one of encoder and decoder has a linear path.
    """
    if not has_linear_paths(autoencoder):
        return
    if isinstance(autoencoder.encoder, SEANetEncoder):
        x, target = samples_to_start_from(train_set, seed)
        start_unit_activations(autoencoder, x, target)
        start_linear_waves(autoencoder, x, target)
    else:
        start_linear(autoencoder, train_set, seed=seed)
