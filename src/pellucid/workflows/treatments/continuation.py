"""How a treated run starts: where the old one ended, from its weights, or afresh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pellucid.workflows.treatments.change import Change

How = Literal["resumed", "continued", "retrained", "filtered"]

_PRICES = {"bottleneck.weight", "bottleneck.free_nats", "bottleneck.anneal_steps", "training.steps"}


def how_to_start(changes: Sequence[Change]) -> How:
    """Say which start is sound.

    "resumed": only the number of steps grows, so optimiser, averages and order go on.
    "continued": only prices change (KL weight, floor, weights of terms, a higher learning rate):
    the old weights are a start like any other, under a new schedule. "retrained": shapes or data
    change, or the old weights are what is sick (a collapsed codebook, a diverged network).
    "filtered": only what is fitted behind the decoder changes; nothing is trained.
    """
    if changes and all(change.key.startswith("postfilter.") for change in changes):
        return "filtered"
    longer = [c for c in changes if c.key == "training.steps" and c.after > c.before]
    if longer and len(changes) == 1:
        return "resumed"
    return "continued" if all(_is_price(change) for change in changes) else "retrained"


def _is_price(change: Change) -> bool:
    if change.key == "training.learning_rate":
        return change.after > change.before
    is_weight = change.key.startswith("objective.") and change.key.endswith(".weight")
    return is_weight or change.key in _PRICES
