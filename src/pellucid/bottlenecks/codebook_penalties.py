"""What codebooks ask the objective to minimise, for one level or many.

Shape letters: N rows, D dimensions, L levels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.bottlenecks.checks import check_arguments
from pellucid.bottlenecks.codebook import Codebook
from pellucid.bottlenecks.residual import Quantised
from pellucid.functional.code_statistics import orthogonality, usage_entropy_gap
from pellucid.functional.straight_through import known_gradient
from pellucid.records import Penalty


@dataclasses.dataclass(frozen=True)
class PenaltyWeights:
    """Weights of the codebook penalties; None leaves a penalty out, 0 observes it.

    Args:
        update: who moves the codebook.
        commitment: of the encoder's distance to its codes.
        codebook: of the codes' distance to the encoder, with update="gradient".
        orthogonality: of the mean squared cosine between codes, with update="gradient".
        usage_entropy: of the gap in the entropy of code use.
        usage_temperature: softness of that use.

    Raises:
        RecipeError: when a weight is negative, or could not reach what it is meant for.
    """

    update: str
    commitment: float
    codebook: float
    orthogonality: float | None
    usage_entropy: float | None
    usage_temperature: float

    def __post_init__(self) -> None:
        reaches = not self.orthogonality or self.update == "gradient"
        rules = {
            "commitment": (self.commitment >= 0, "≥ 0", self.commitment),
            "codebook_weight": (self.codebook >= 0, "≥ 0", self.codebook),
            "orthogonality": (
                reaches and (self.orthogonality or 0) >= 0,
                "≥ 0, and update='gradient': no gradient moves an EMA codebook",
                self.orthogonality,
            ),
            "usage_entropy": ((self.usage_entropy or 0) >= 0, "≥ 0", self.usage_entropy),
            "usage_temperature": (self.usage_temperature > 0, "> 0", self.usage_temperature),
        }
        check_arguments("a codebook bottleneck", rules)


def codebook_penalties(
    z_ND: Tensor, codebooks: Sequence[Codebook], found: Quantised, weights: PenaltyWeights
) -> dict[str, Penalty]:
    """Return the named penalties of one batch; means over elements, rows and levels.

    Args:
        z_ND: (N, D) rows with their gradient path.
        codebooks: the levels that were used.
        found: what `quantise` returned for these rows and levels.
        weights: which penalties, and how heavy.
    """
    # Level by level ‖z − sg(prefix)‖² is a parabola in z; their mean has this value and gradient.
    gradient_ND = found.remainder * (2 / z_ND.numel())
    commitment = known_gradient(z_ND, found.commitment, gradient_ND)
    penalties = {"commitment": Penalty(commitment, weights.commitment, "mean squared latent")}
    if weights.update == "gradient" and found.sums:
        losses = [
            book.loss(sums, error)
            for book, sums, error in zip(codebooks, found.sums, found.errors, strict=True)
        ]
        loss = torch.stack(losses).mean()
        penalties["codebook"] = Penalty(loss, weights.codebook, "mean squared latent")
    if weights.orthogonality is not None:
        with _graph_if(weights.orthogonality):
            gap = torch.stack([orthogonality(book.table()) for book in codebooks]).mean()
        penalties["orthogonality"] = Penalty(gap, weights.orthogonality, "mean squared cosine")
    if weights.usage_entropy is not None:
        with _graph_if(weights.usage_entropy):
            gap = _usage_entropy(z_ND, codebooks, found, weights.usage_temperature)
        penalties["usage_entropy"] = Penalty(gap, weights.usage_entropy, "1 - entropy/ln K")
    return penalties


def _graph_if(weight: float) -> torch.autograd.grad_mode.set_grad_enabled:
    """Keep no (N, K) graph for a penalty that is only observed."""
    return torch.set_grad_enabled(weight > 0 and torch.is_grad_enabled())


def _usage_entropy(
    z_ND: Tensor, codebooks: Sequence[Codebook], found: Quantised, temperature: float
) -> Tensor:
    """Average the entropy gap over levels; each level sees z less a constant prefix."""
    left_ND = z_ND
    gaps = []
    for book, codes_N in zip(codebooks, found.codes.unbind(dim=1), strict=True):
        # A copy: the next step changes an EMA codebook in place, perhaps before this backward.
        table_KD = book.table().clone()
        gaps.append(
            usage_entropy_gap(left_ND, table_KD, cosine=book.cosine, temperature=temperature)
        )
        left_ND = left_ND - book.lookup(codes_N.clamp(min=0)).detach()
    return torch.stack(gaps).mean()
