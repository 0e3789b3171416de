"""Lengths in latent space measured where they are seen: the decoder's metric pulled back.

One latent cell of a sample changes by v; the whole sample is decoded, and the image moves by J·v
with J = ∂x̂/∂(that cell), the other cells held at their own values. The pulled-back metric of the
cell is G = JᵀJ, the length of a short step √(vᵀGv), in the unit of the decoder's output (L2 over
all its elements). The decoder must be deterministic and in evaluation mode.

Source: Arvanitidis et al. 2018, "Latent space oddity", section 3, for one cell of a grid.

Shape letters: B batch, D latent channels, P positions (any number of axes, flattened), E elements
of the output.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vmap

Decode = Callable[[Tensor], Tensor]
_TANGENTS_PER_CHUNK = 128


def pulled_back_metric(
    decode: Decode,
    z_BDP: Tensor,
    *,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Return G = JᵀJ of every cell: (B·P, D, D) float32, samples in order.

    D·P Jacobian-vector products per sample, exact to rounding.

    Args:
        decode: (1, D, P…) → (1, …), differentiable forward.
        z_BDP: (B, D, P…) samples.
        progress: called with the number of samples done since the last call.
    """
    D, positions = z_BDP.shape[1], z_BDP.shape[2:]
    P = positions.numel()
    basis = torch.eye(P * D).view(P, D, P, D).permute(0, 1, 3, 2).reshape(P * D, 1, D, *positions)
    metrics = []
    for z_1DP in z_BDP.split(1):
        J_PDE = _push(decode, z_1DP, basis.to(z_1DP)).view(P, D, -1)
        metrics.append(J_PDE @ J_PDE.transpose(1, 2))
        if progress is not None:
            progress(1)
    return torch.cat(metrics)


def pulled_back_steps(decode: Decode, z_BDP: Tensor, step_BDP: Tensor) -> Tensor:
    """Return the length (B, P) of one step per cell, every cell alone: ‖J·v‖.

    P Jacobian-vector products per sample.

    Args:
        decode: as above.
        z_BDP: (B, D, P…) where the steps start.
        step_BDP: (B, D, P…) the step v of every cell.
    """
    positions = z_BDP.shape[2:]
    P = positions.numel()
    alone = torch.eye(P).view(P, 1, 1, *positions)
    lengths = [
        _push(decode, z, alone.to(z) * step[None]).flatten(1).norm(dim=1)
        for z, step in zip(z_BDP.split(1), step_BDP, strict=True)
    ]
    return torch.stack(lengths)


def _push(decode: Decode, z_1DP: Tensor, tangents_T1DP: Tensor) -> Tensor:
    """Return J·v for every tangent: (T, E)."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, of its use of torch.jit
        pushed = vmap(
            lambda tangent: jvp(decode, (z_1DP,), (tangent,))[1],
            chunk_size=_TANGENTS_PER_CHUNK,
        )(tangents_T1DP)
    return pushed.flatten(1).float()
