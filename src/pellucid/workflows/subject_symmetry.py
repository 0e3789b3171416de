"""What a run with a permuter tells a diagnosis: canonical samples, symmetries, soft weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pellucid.models.autoencoder import Autoencoder
from pellucid.references.samples import entry


class Canonical(Dataset[Tensor]):
    """Yield the samples of a set in the permuter's canonical order.

    There the pose is the identity, so that decode(z) of a bare z answers in the right order and
    every row can be examined; the canonical order of a canonical sample is itself.

    Args:
        data: map-style dataset of {"x", ...}.
        autoencoder: has a permuter.
    """

    def __init__(self, data: Any, autoencoder: Autoencoder) -> None:
        self.data, self.autoencoder = data, autoencoder

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor:
        x = entry(self.data[index], "x")
        device = next(self.autoencoder.parameters()).device
        with torch.no_grad():
            return self.autoencoder.arrange(x[None].to(device)).x[0].cpu()


def canonical(data: Any, autoencoder: Autoencoder) -> Any:
    """Return a set in canonical order; as it is without a permuter that moves anything."""
    permuter = autoencoder.permuter
    if data is None or permuter is None or permuter.group == "none":
        return data
    return Canonical(data, autoencoder)


def symmetry_facts(autoencoder: Autoencoder) -> dict[str, Any]:
    """Return the keywords of `Subject` that a permuter brings."""
    from pellucid.functional.symmetries import moves
    from pellucid.nn.permuters import Learned

    permuter = autoencoder.permuter
    # Turns of a window are measured by the evaluation: they move places, not what a tile holds.
    if permuter is None or permuter.group in ("none", "turns"):
        return {}
    side = getattr(permuter, "side", 1)
    facts: dict[str, Any] = {
        "symmetries": tuple(move for _, move, _ in moves(permuter.group, side))
    }
    if isinstance(permuter, Learned):
        learned = permuter

        def soft_forward(x: Tensor) -> Tensor:
            learned.soft = True
            try:
                return autoencoder.decode(autoencoder.encode(x))
            finally:
                learned.soft = False

        facts |= {"permuter": learned.soft_weights, "soft_forward": soft_forward}
    return facts
