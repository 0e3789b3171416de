"""Weights as shares of the gradient at the reconstruction, whatever the terms' own scales.

Shape letters: N terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pellucid.errors import PellucidError, RecipeError

_TINY = 1e-12  # EnCodec's ε


class Balancer(nn.Module):
    """Scale every term so that it pulls at x̂ as hard as its weight says.

    The gradient at x̂ becomes Σᵢ R · wᵢ/Σⱼwⱼ · gᵢ/⟨‖gᵢ‖⟩, where gᵢ is the gradient of the unweighted
    term, ‖gᵢ‖ its Euclidean norm per sample averaged over the batch (and over processes), and ⟨·⟩
    an exponential average over steps without start-up bias: Σ βᵗ⁻ˢ‖gᵢ(s)‖ / Σ βᵗ⁻ˢ. Multiplying a
    term by a constant therefore changes nothing, and wᵢ/Σw is its share of the gradient.

    In eval mode the averages stay as they are; a term without one is scaled by this batch's norm.

    Args:
        names: every term that may be balanced.
        total_norm: R. Beside penalties, which are not balanced, it sets who wins.
        decay: β.

    Raises:
        RecipeError: when R or β is out of range.

    Source: Défossez et al. 2022, "High fidelity neural audio compression", section 3.4, "Balancer";
    facebookresearch/audiocraft, losses/balancer.py.
    """

    sums: Tensor
    masses: Tensor

    def __init__(
        self, names: Iterable[str], *, total_norm: float = 1.0, decay: float = 0.999
    ) -> None:
        super().__init__()
        if not 0 < total_norm < math.inf:
            raise RecipeError("a gradient has a norm", expected="> 0", found=total_norm)
        if not 0 <= decay < 1:
            raise RecipeError("an average forgets", expected="decay in [0, 1)", found=decay)
        self.names = tuple(names)
        self.total_norm, self.decay = total_norm, decay
        self.register_buffer("sums", torch.zeros(len(self.names)))
        self.register_buffer("masses", torch.zeros(len(self.names)))

    def forward(
        self, gradients: Mapping[str, Tensor], weights: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """Return the multiplier R · wᵢ/Σw / ⟨‖gᵢ‖⟩ of every term; take in its norm in train mode.

        Args:
            gradients: (B, ...) of each unweighted term at x̂.
            weights: of the same terms, positive.

        Raises:
            PellucidError: for a term that was not named at the start.
        """
        unknown = sorted(set(gradients) - set(self.names))
        if unknown:
            raise PellucidError(
                "the balancer does not know this term", expected=self.names, found=unknown[0]
            )
        names = list(gradients)
        norms_N = _mean_over_processes(
            torch.stack([gradients[name].float().flatten(1).norm(dim=1).mean() for name in names]),
            talk=self.training,
        )
        at = torch.tensor([self.names.index(name) for name in names], device=self.sums.device)
        sums_N, masses_N = self.sums[at], self.masses[at]
        if self.training:
            sums_N, masses_N = self.decay * sums_N + norms_N, self.decay * masses_N + 1
            self.sums[at], self.masses[at] = sums_N, masses_N
        average_N = torch.where(masses_N > 0, sums_N / masses_N.clamp_min(_TINY), norms_N)
        share = self.total_norm / sum(weights[name] for name in names)
        scales_N = share / (average_N + _TINY)
        return {name: scale * weights[name] for name, scale in zip(names, scales_N, strict=True)}


def _mean_over_processes(norms_N: Tensor, *, talk: bool) -> Tensor:
    if talk and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(norms_N)
        norms_N = norms_N / dist.get_world_size()
    return norms_N
