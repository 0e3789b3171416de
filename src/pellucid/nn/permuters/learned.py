"""The learned permuter: a choice that gradients can improve.

Shape letters: B batch, C channels, H height, W width, S side of the grid, N = S² nodes and slots,
F hidden features, G the eight symmetries of the square.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import RecipeError, unknown_name
from pellucid.functional.assignment import best_assignment, row_entropy, sinkhorn, straight_through
from pellucid.functional.dihedral import ORDER, orbit, turn_back, turn_by
from pellucid.nn.permuters.checks import check_sizes, grid_means
from pellucid.nn.permuters.contract import Arranged, Permuter
from pellucid.nn.permuters.oracle import reordered
from pellucid.records import Penalty


class Learned(Permuter):
    """Choose by learned scores, softly in the gradient and hard in the value.

    Features φ of every node meet learned slots a. Over the square's symmetries,
    score_g = Σ_n ⟨φ(x)_g(n), a_n⟩ and the weights are softmax(score/τ); over all orders of the
    nodes, score_kn = ⟨φ(x)_n, a_k⟩ and the weights are Sinkhorn(score/τ). The value is the best
    element (straight-through), τ falls geometrically. A turned tile has turned scores by
    construction, so the choice itself is equivariant.

    Args:
        channels: C of the data.
        side: S.
        over: "dihedral" or "nodes".
        hidden: F.
        temperature: τ at the start.
        final_temperature: τ after `anneal_steps`.
        anneal_steps: optimiser steps of the fall; 0 starts at the end.
        entropy_weight: multiplier of the penalty "permutation_entropy", the mean entropy of the
            weights over its largest: it drives choices apart. 0 observes.

    Raises:
        RecipeError: when an argument is out of range.

    Source: Winter et al., "Permutation-invariant variational autoencoder for graph-level
    representation learning", 2021; Mena et al. 2018 (Sinkhorn); Kaba et al. 2023 (both sides).
    """

    temperature_now: Tensor

    def __init__(
        self,
        channels: int,
        side: int = 6,
        over: Literal["dihedral", "nodes"] = "dihedral",
        hidden: int = 16,
        temperature: float = 1.0,
        final_temperature: float = 0.1,
        anneal_steps: int = 1000,
        entropy_weight: float = 0.01,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels, side=side, decay=0)
        if over not in ("dihedral", "nodes"):
            raise unknown_name("group", over, ("dihedral", "nodes"), where="permuter.over")
        rules = (0 < final_temperature <= temperature, hidden >= 1, anneal_steps >= 0)
        if not all(rules) or not 0 <= entropy_weight < math.inf:
            raise RecipeError(
                "the learned permuter's numbers are out of range",
                where="permuter",
                expected="0 < final_temperature ≤ temperature, hidden ≥ 1, anneal_steps ≥ 0, "
                "entropy_weight ≥ 0",
                found=f"{temperature} → {final_temperature} over {anneal_steps} steps, "
                f"hidden {hidden}, entropy_weight {entropy_weight}",
            )
        self.group, self.side, self.entropy_weight = over, side, entropy_weight
        self.temperature, self.final_temperature = temperature, final_temperature
        self.anneal_steps = anneal_steps
        self.features = nn.Sequential(
            nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.slots = nn.Parameter(torch.randn(hidden, side, side))
        self.register_buffer("temperature_now", torch.tensor(float(temperature)))
        self.at_step(0)

    def at_step(self, step: int) -> None:
        """Set τ to optimiser step `step`; it is kept with the weights."""
        done = 1.0 if self.anneal_steps == 0 else min(1.0, step / self.anneal_steps)
        ratio = self.final_temperature / self.temperature
        self.temperature_now.fill_(self.temperature * ratio**done)

    def forward(self, x_BCHW: Tensor) -> Arranged:
        """Arrange a batch.

        Raises:
            PellucidError: when the tiles are not square, or do not divide into S × S.
        """
        scores = self.scores(x_BCHW)
        soft, hard = self._weights(scores)
        pose = soft if self.soft else straight_through(soft, hard)
        arranged = self._arrange(x_BCHW, pose)
        entropy = row_entropy(soft)
        with torch.no_grad():
            ordered = self._arrange(x_BCHW, hard)
            gap = (self._arrange(x_BCHW, soft) - ordered).square().mean()
            gap = gap / ordered.square().mean().clamp_min(1e-12)
        return Arranged(
            arranged,
            pose.to(x_BCHW.dtype),
            {
                "permutation_entropy": Penalty(
                    entropy, self.entropy_weight, "share of the largest entropy"
                )
            },
            {
                "entropy": entropy.detach(),
                "soft_hard_gap": gap,
                "temperature": self.temperature_now.clone(),
            },
        )

    def scores(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, 8) or (B, slots, nodes) scores over τ = 1."""
        means_BCSS = grid_means(x_BCHW, self.side)
        with torch.autocast(x_BCHW.device.type, enabled=False):
            found = self.features(means_BCSS.movedim(1, -1)).movedim(-1, 1)  # B, F, S, S
            scale = 1 / math.sqrt(self.slots.shape[0])
            if self.group == "dihedral":
                return torch.einsum("bgfhw,fhw->bg", orbit(found), self.slots) * scale / self.side
            return torch.einsum("bfn,fk->bkn", found.flatten(2), self.slots.flatten(1)) * scale

    def soft_weights(self, x_BCHW: Tensor) -> Tensor:
        """Return the weights the choice is made from: (B, 8) or (B, slots, nodes)."""
        return self._weights(self.scores(x_BCHW))[0]

    def _weights(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return soft and hard weights."""
        warm = scores / self.temperature_now
        if self.group == "dihedral":
            return warm.softmax(1), F.one_hot(scores.argmax(1), ORDER).to(scores.dtype)
        return sinkhorn(warm), best_assignment(scores)

    def _arrange(self, x_BCHW: Tensor, pose: Tensor) -> Tensor:
        if self.group == "dihedral":
            return turn_by(x_BCHW, pose)
        return reordered(x_BCHW, pose, self.side)

    def restore(self, x_hat_BCHW: Tensor, pose: Tensor) -> Tensor:
        """Put x̂ back into the input's order."""
        if self.group == "dihedral":
            return turn_back(x_hat_BCHW, pose)
        return reordered(x_hat_BCHW, pose.transpose(1, 2), self.side)

    @property
    def pose_bits(self) -> float:
        """log₂ of the group's size."""
        if self.group == "dihedral":
            return math.log2(ORDER)
        return math.lgamma(self.side**2 + 1) / math.log(2)
