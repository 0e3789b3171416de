"""Gradients through a quantiser, and the Jacobians they declare.

Forward values are the codes exactly (not z + (q − z), which rounds), so decoding the integer
codes gives the same numbers. Shape letters: N vectors, D dimensions.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import unknown_name

Estimator = Literal["straight-through", "rotation"]


def check_estimator(estimator: str) -> Estimator:
    """Return a valid estimator name.

    Raises:
        RecipeError: for any other, with the nearest valid one.
    """
    if estimator not in get_args(Estimator):
        raise unknown_name("estimator", estimator, get_args(Estimator), where="estimator")
    return cast(Estimator, estimator)


class _Replace(torch.autograd.Function):
    """q forward, the identity (or the rotation z → q) backward to z; nothing to q."""

    @staticmethod
    def forward(ctx, z_ND: Tensor, q_ND: Tensor, rotation: bool) -> Tensor:  # type: ignore[override]
        ctx.rotation = rotation
        if rotation:
            ctx.save_for_backward(z_ND, q_ND)
        return q_ND.clone()

    @staticmethod
    def backward(ctx, gradient_ND: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        if not ctx.rotation:
            return gradient_ND, None, None
        z_ND, q_ND = ctx.saved_tensors
        return rotation_vjp(z_ND, q_ND, gradient_ND), None, None


def through(z_ND: Tensor, q_ND: Tensor, estimator: Estimator = "straight-through") -> Tensor:
    """Return q with a gradient path to z.

    "straight-through": ∂q/∂z = I (Bengio et al. 2013). "rotation": ∂q/∂z = (‖q‖/‖z‖)·R with R the
    rotation that takes z's direction to q's (Fifty et al. 2024, section 4.2).

    Args:
        z_ND: (N, D) what was quantised.
        q_ND: (N, D) its codes' vectors.
        estimator: which Jacobian the backward pass uses.
    """
    return _Replace.apply(z_ND, q_ND, estimator == "rotation")


def declared_vjp(z_ND: Tensor, q_ND: Tensor, gradient_ND: Tensor, estimator: Estimator) -> Tensor:
    """Return Jᵀ·gradient of `through` in closed form; shapes as there."""
    if estimator == "rotation":
        return rotation_vjp(z_ND, q_ND, gradient_ND)
    return gradient_ND


def rotation_vjp(z_ND: Tensor, q_ND: Tensor, gradient_ND: Tensor) -> Tensor:
    """Return (‖q‖/‖z‖)·Rᵀ·gradient, with R = I − 2wwᵀ + 2q̂ẑᵀ and w the bisector of ẑ and q̂."""
    norm_z = z_ND.norm(dim=1, keepdim=True).clamp(min=1e-6)
    norm_q = q_ND.norm(dim=1, keepdim=True)
    z_hat, q_hat = z_ND / norm_z, q_ND / norm_q.clamp(min=1e-6)
    w_ND = F.normalize(z_hat + q_hat, dim=1, eps=1e-6)
    along_w = (gradient_ND * w_ND).sum(dim=1, keepdim=True)
    along_q = (gradient_ND * q_hat).sum(dim=1, keepdim=True)
    return (norm_q / norm_z) * (gradient_ND - 2 * along_w * w_ND + 2 * along_q * z_hat)


def unit_vjp(z_ND: Tensor, gradient_ND: Tensor) -> Tensor:
    """Return the gradient before z ↦ ẑ = z/‖z‖: the tangent projector (I − ẑẑᵀ)/‖z‖ applied."""
    norm = z_ND.norm(dim=1, keepdim=True).clamp(min=1e-12)
    z_hat = z_ND / norm
    return (gradient_ND - (gradient_ND * z_hat).sum(dim=1, keepdim=True) * z_hat) / norm


class _KnownGradient(torch.autograd.Function):
    """A scalar whose value and gradient are both known already."""

    @staticmethod
    def forward(ctx, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    def backward(ctx, outer: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return outer * ctx.saved_tensors[0], None, None


def known_gradient(x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """Return the scalar `value` with d value/dx = `gradient`, which has the shape of x.

    For losses in closed form: no graph of the terms they sum is kept.
    """
    return _KnownGradient.apply(x, value.detach(), gradient.detach())
