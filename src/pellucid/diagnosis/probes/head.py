"""The gradient on both sides of the output's activation: does the head still let it through?"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor, nn

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.probes.outputs import gradient_at, loss_mode, output_layer
from pellucid.diagnosis.probes.training import total

_SATURATING = (nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.ReLU, nn.ReLU6, nn.Softsign)
_DEAD = 0.01


@dataclasses.dataclass(frozen=True)
class HeadGradient:
    """What the head does to the gradient of the loss.

    Args:
        dead: share of outputs of which less than 1 % of the gradient passes.
        norm_ratio: ‖gradient before‖ / ‖gradient after‖.
    """

    dead: float
    norm_ratio: float


def head_gradient(case: Case) -> HeadGradient | None:
    """Measure at the last activation of the decoder; None when it ends without one."""
    losses, layer = case.subject.loss_terms, case.measure(output_layer)
    if losses is None or layer is None:
        return None
    heads = [m for m in layer.module.modules() if isinstance(m, _SATURATING)]
    if not heads:
        return None
    seen: list[tuple[Tensor, Tensor]] = []

    def keep(_: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        if isinstance(out, Tensor) and given and given[0].requires_grad:
            seen.append((given[0], out))

    handle = heads[-1].register_forward_hook(keep)
    try:
        with loss_mode(case):
            loss = total(losses(case.batch_of(case.fit)))
            for before, after in seen:
                g_before, g_after = gradient_at(loss, [before, after])
                if g_before is not None and g_after is not None and bool(g_after.any()):
                    return _compared(g_before, g_after)
    finally:
        handle.remove()
    return None


def _compared(before: Tensor, after: Tensor) -> HeadGradient:
    live = after != 0
    dead = before.abs() < _DEAD * after.abs()
    share = float((dead & live).sum() / live.sum().clamp_min(1))
    ratio = float(before.norm() / after.norm().clamp_min(1e-30))
    return HeadGradient(share, ratio)
