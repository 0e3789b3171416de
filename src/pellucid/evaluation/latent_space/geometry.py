"""Lines through a latent space, neighbours in it, and how well it tells samples apart.

Shape letters: N, M samples, D latent dimensions, S steps, K axes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.references.principal import PrincipalAxes

_CHUNK = 512


def interpolate(a_D: Tensor, b_D: Tensor, steps: int) -> Tensor:
    """Return (S, D): (1 − t)·a + t·b for t from 0 to 1."""
    t_S = torch.linspace(0, 1, steps, dtype=a_D.dtype)[:, None]
    return (1 - t_S) * a_D + t_S * b_D


def traverse(axes: PrincipalAxes, axis: int, *, reach: float, steps: int) -> Tensor:
    """Return (S, D): mean + k·√λ·axis for k from −reach to reach.

    Args:
        axes: of the aggregate posterior (the means of many samples).
        axis: which, the most variable is 0.
        reach: in standard deviations.
        steps: S.
    """
    k_S = torch.linspace(-reach, reach, steps)[:, None]
    deviation = float(axes.eigenvalues[axis].clamp_min(0).sqrt())
    return axes.mean + k_S * deviation * axes.axes[axis]


def neighbours(query_ND: Tensor, among_MD: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` nearest of `among` for every query: (N, count) indices and distances."""
    found = [torch.cdist(part, among_MD) for part in query_ND.split(_CHUNK)]
    near = torch.cat(found).topk(min(count, len(among_MD)), largest=False)
    return near.indices, near.values


def discrimination(original_ND: Tensor, returned_ND: Tensor) -> tuple[float, float]:
    """Return how well latents tell samples apart after a round trip through the model.

    The first number is P(‖r_i − o_i‖ < ‖r_i − o_j‖) over all i ≠ j, ties counted half: 1 when every
    returned latent is nearest to its own, ½ when it could be anyone's. The second is the share of
    samples whose returned latent is nearest to its own, 1/N by chance.

    Args:
        original_ND: latents o of samples, N ≥ 2.
        returned_ND: latents r of their reconstructions, encoded again.
    """
    total = len(original_ND)
    ahead, first = 0.0, 0
    for start in range(0, total, _CHUNK):
        gaps = torch.cdist(returned_ND[start : start + _CHUNK].double(), original_ND.double())
        own = gaps.diagonal(start)[:, None]
        others = torch.ones_like(gaps, dtype=torch.bool)
        others[torch.arange(len(gaps)), torch.arange(start, start + len(gaps))] = False
        ahead += float(((gaps > own) & others).sum()) + 0.5 * float(((gaps == own) & others).sum())
        first += int((((gaps <= own) & others).sum(1) == 0).sum())
    return ahead / (total * (total - 1)), first / total


def neighbour_accuracy(z_ND: Tensor, labels_N: Tensor) -> tuple[float, float]:
    """Return how often the nearest other sample has the same label, and the largest class's share.

    Args:
        z_ND: N ≥ 2.
        labels_N: integers.
    """
    indices, _ = neighbours(z_ND, z_ND, 2)
    own = torch.arange(len(z_ND))
    nearest = torch.where(indices[:, 0] == own, indices[:, 1], indices[:, 0])
    right = (labels_N[nearest] == labels_N).float().mean()
    majority = labels_N.unique(return_counts=True)[1].max() / len(labels_N)
    return float(right), float(majority)
