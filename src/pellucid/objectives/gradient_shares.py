"""Who pulls: each term's share of the gradient at the reconstruction and at the latent."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.objectives.objective import ObjectiveOutput


@dataclasses.dataclass(frozen=True)
class GradientShare:
    """Where one weighted term pulls, and how hard; penalties have no pull at the output.

    A share is the term's gradient norm over the sum of all terms' norms there, 0 to 1. A cosine
    is with the gradient of the total, 0 where either vanishes; negative means the term pulls
    against the rest and loses.

    Args:
        at_output: share at x̂.
        at_latent: share at the encoder's output h, through decoder and bottleneck.
        norm_at_output: Euclidean norm at x̂.
        norm_at_latent: Euclidean norm at h.
        cosine_at_output: cosine at x̂.
        cosine_at_latent: cosine at h.
    """

    at_output: float
    at_latent: float
    norm_at_output: float
    norm_at_latent: float
    cosine_at_output: float
    cosine_at_latent: float


def gradient_shares(output: ObjectiveOutput, x_hat: Tensor, h: Tensor) -> dict[str, GradientShare]:
    """Measure every term's gradient at x̂ and at h without touching any parameter's `.grad`.

    Call it before `backward`: the graph is kept. It costs one backward pass through the decoder
    per weighted term, so call it every so many steps. Modules under `torch.compile` need
    `torch._functorch.config.donated_buffer = False`, or an eager forward, for the kept graph.

    Args:
        output: what the objective returned for this batch.
        x_hat: (B, ...) the reconstruction the objective was called with.
        h: (B, channels, P...) the encoder's output in the same graph; where the encoder is
            frozen, call `h.requires_grad_()` before the bottleneck to see its pulls.

    Returns:
        name → shares for every term and penalty; those of weight 0 pull with 0.
    """
    at_output = _pulls(_gradients(output, x_hat))
    at_latent = _pulls(_gradients(output, h))
    nothing = (0.0, 0.0, 0.0)
    shares = {}
    for name in output.terms:
        share, norm, cosine = at_output.get(name, nothing)
        latent_share, latent_norm, latent_cosine = at_latent.get(name, nothing)
        shares[name] = GradientShare(share, latent_share, norm, latent_norm, cosine, latent_cosine)
    return shares


def _gradients(output: ObjectiveOutput, place: Tensor) -> dict[str, Tensor]:
    """Return the flat gradient of every weighted term that reaches `place`."""
    gradients = {}
    for name, term in output.terms.items():
        if not (term.weighted.requires_grad and place.requires_grad):
            continue
        (gradient,) = torch.autograd.grad(
            term.weighted, [place], retain_graph=True, allow_unused=True
        )
        if gradient is not None:
            gradients[name] = gradient.detach().float().flatten()
    return gradients


def _pulls(gradients: dict[str, Tensor]) -> dict[str, tuple[float, float, float]]:
    """Return name → (share, norm, cosine with the sum)."""
    if not gradients:
        return {}
    matrix = torch.stack(list(gradients.values()))
    total = matrix.sum(0)
    norms = matrix.norm(dim=1)
    tiny = torch.finfo(norms.dtype).tiny
    shares = norms / norms.sum().clamp_min(tiny)
    cosines = (matrix @ total) / (norms * total.norm()).clamp_min(tiny)
    rows = torch.stack([shares, norms, cosines], dim=1).tolist()
    return {name: tuple(row) for name, row in zip(gradients, rows, strict=True)}
