"""Choose the weights to use, put them into the model, and write model.safetensors and run.json."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pellucid.models.weights import save_weights
from pellucid.run_folder import RunFolder
from pellucid.training.checkpoint import read_checkpoint
from pellucid.training.selection import Selection

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder

_PREFIX = "autoencoder."


def deploy(
    autoencoder: Autoencoder,
    folder: RunFolder,
    selection: Selection,
    *,
    averaged: bool,
    writes: bool,
) -> dict[str, Any]:
    """Load the best validated weights, else the last, into the model (eval mode) and save them.

    Everything is read from the checkpoints, so that it can be repeated after a kill.

    Args:
        autoencoder: receives the weights.
        folder: the run.
        selection: whether a metric was followed.
        averaged: whether the run keeps an average of its weights.
        writes: whether this process saves them.

    Returns:
        "selected" ("best" or "last"), "weights" ("ema" or "raw") and "selected_step".
    """
    best = folder.checkpoints / "best"
    selected: Literal["best", "last"] = (
        "best" if selection.best_step is not None and best.is_dir() else "last"
    )
    checkpoint = read_checkpoint(folder.checkpoints / selected)
    state = {
        name[len(_PREFIX) :]: value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    if selected == "last" and averaged:
        state |= checkpoint["ema"]
    autoencoder.load_state_dict(state)
    autoencoder.eval()
    if writes:
        save_weights(autoencoder, folder.model)
    return {
        "selected": selected,
        "selected_step": checkpoint["progress"]["step"],
        "weights": "ema" if averaged else "raw",
    }
