"""What every permuter promises.

A permuter chooses, from the input alone, the element of a group that brings it into canonical
order. The autoencoder sees only canonical inputs, so whatever it is made of its latents are
invariant to the group; the chosen element (the *pose*) travels beside them as side information and
puts x̂ back into the input's order. Both sides are permuted, by one element.

Shape letters: B batch, C channels, H height, W width, G elements (or N × N entries) of a pose.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Literal

from torch import Tensor, nn

from pellucid.records import Penalty

Group = Literal["none", "dihedral", "nodes", "turns"]


@dataclasses.dataclass(frozen=True)
class Arranged:
    """What a permuter makes of one batch.

    Args:
        x: the input in canonical order, shaped as it was.
        pose: how it got there: (B, 8) weights over the symmetries of the square, (B, slots,
            nodes) permutation matrices, one-hot, or (B, 2, 2) turns of places; with a gradient
            where it is learned. None when nothing was moved.
        penalties: named differentiable scalars.
        metrics: named detached measurements.
    """

    x: Tensor
    pose: Tensor | None
    penalties: dict[str, Penalty] = dataclasses.field(default_factory=dict)
    metrics: dict[str, Tensor] = dataclasses.field(default_factory=dict)


class Permuter(nn.Module, abc.ABC):
    """Base of all permuters.

    Attributes:
        group: to what the latents are invariant: "dihedral" turns and mirrors a tile, "nodes"
            moves its patches anywhere, "turns" is every turn and mirror of a window of cells,
            "none" moves nothing.
        soft: arrange with the soft weights instead of the hard choice; only a learned permuter
            has them, and only a measurement asks for them.
    """

    group: Group = "none"
    soft: bool = False

    @abc.abstractmethod
    def forward(self, x_BCHW: Tensor) -> Arranged:
        """Bring a batch into canonical order."""

    @abc.abstractmethod
    def restore(self, x_hat_BCHW: Tensor, pose: Tensor) -> Tensor:
        """Put a reconstruction into the order the input had."""

    @property
    @abc.abstractmethod
    def pose_bits(self) -> float:
        """Bits that one pose costs when stored plainly: log₂ of the group's size."""

    def at_step(self, step: int) -> None:
        """Set schedules to optimiser step `step`."""
