"""Output heads: what a decoder's last numbers become, and which values they can reach."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from pellucid.errors import unknown_name

Head = Literal["none", "clamp", "tanh", "sigmoid"]

_REACH: dict[str, tuple[float, float]] = {
    "none": (float("-inf"), float("inf")),
    "clamp": (-1.0, 1.0),
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
}


def apply_head(x: Tensor, head: Head) -> Tensor:
    """Return float32 output values: x, clamp(x, −1, 1), tanh(x) or 1/(1 + e⁻ˣ) (any shape).

    The head works in float32 whatever the network before it used: near its rails bfloat16 would
    round to steps wider than those of an 8-bit image.

    Raises:
        RecipeError: when there is no such head.
    """
    check_head(head)
    x = x.float()
    if head == "tanh":
        return x.tanh()
    if head == "sigmoid":
        return x.sigmoid()
    if head == "clamp":
        return _ReturningClamp.apply(x)  # pyright: ignore[reportReturnType]
    return x


def head_reach(head: Head) -> tuple[float, float]:
    """Return the lowest and highest value a head can produce (tanh and sigmoid: approach).

    Raises:
        RecipeError: when there is no such head.
    """
    check_head(head)
    return _REACH[head]


def check_head(head: str) -> None:
    """Refuse an unknown head.

    Raises:
        RecipeError: with the nearest name.
    """
    if head not in _REACH:
        raise unknown_name("head", head, get_args(Head), where="head")


class _ReturningClamp(torch.autograd.Function):
    """Clamp to [−1, 1] whose gradient still pulls a value outside back in.

    The gradient of a plain clamp is 0 outside, so a pixel that left the range would stay there.
    Here it is 0 only where descent would drive the value further out.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        (x,) = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        outward = ((x > 1) & (gradient < 0)) | ((x < -1) & (gradient > 0))
        return gradient.masked_fill(outward, 0.0)
