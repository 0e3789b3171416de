"""How much an adversary may pull: as hard as the metrics do, within a bound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_TINY = 1e-12


def bounded_factor(
    x_hat: Tensor, terms: Sequence[tuple[Tensor, float]], adversarial: Tensor, *, bound: float
) -> float:
    """Return min(‖∇Σ wᵢtᵢ‖ / ‖∇a‖, bound), gradients at x̂: a constant, not differentiated.

    Where the adversary's gradient vanishes the ratio grows without end and would blow the first
    step that it is felt again; the bound is what keeps a discriminator that has nothing to say
    from wrecking a reconstruction.

    Args:
        x_hat: (B, ...) reconstructions in the graph of all values.
        terms: value and weight of every term of the objective.
        adversarial: a, the unweighted adversarial value.
        bound: the largest factor.

    Source: Esser et al. 2021, "Taming transformers for high-resolution image synthesis", eq. 7.
    """
    weighted = [value * weight for value, weight in terms if weight > 0]
    if not weighted or not adversarial.requires_grad:
        return 0.0
    total = torch.stack([value.float() for value in weighted]).sum()
    (pull,) = torch.autograd.grad(total, [x_hat], retain_graph=True)
    (push,) = torch.autograd.grad(adversarial, [x_hat], retain_graph=True)
    return min(float(pull.norm() / (push.norm() + _TINY)), bound)
