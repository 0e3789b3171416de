"""A linear layer packed once for many small products: what makes a step of decoding cheap on a CPU.

oneDNN multiplies weights in a blocked layout about twice as fast as `F.linear` does plain ones, and
adds the residual or applies the GELU on the way out. Where oneDNN is not to be had (another device,
another build) the same numbers come from `F.linear`.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PackedLinear:
    """Hold W, b of a linear layer in the layout that its device multiplies fastest.

    Args:
        weight: (out, in).
        bias: (out,) or None.
        rows: rows of the inputs to come, a hint for the layout.
        then: what is applied to the result.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        *,
        rows: int,
        then: Literal["nothing", "gelu"] = "nothing",
    ) -> None:
        self.weight, self.bias, self.then = weight.detach().contiguous(), bias, then
        self.packed = _pack(self.weight, rows)

    def __repr__(self) -> str:
        how = "plain" if self.packed is None else "packed"
        return f"PackedLinear({tuple(self.weight.shape)}, {how}, then={self.then!r})"

    @classmethod
    def of(
        cls,
        layer: nn.Linear,
        dtype: torch.dtype,
        *,
        rows: int,
        then: Literal["nothing", "gelu"] = "nothing",
    ) -> PackedLinear:
        """Pack a module's weights in a number format."""
        bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        return cls(layer.weight.to(dtype), bias, rows=rows, then=then)

    def __call__(self, x_ND: Tensor) -> Tensor:
        """Return then(W·x + b)."""
        if self.packed is not None:
            name, kind = ("gelu", "none") if self.then == "gelu" else ("none", "")
            return torch.ops.mkldnn._linear_pointwise(x_ND, self.packed, self.bias, name, [], kind)
        y = F.linear(x_ND, self.weight, self.bias)
        return F.gelu(y) if self.then == "gelu" else y

    def added_to(self, residual_ND: Tensor, x_ND: Tensor) -> Tensor:
        """Return residual + W·x + b."""
        if self.packed is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(
                x_ND, residual_ND, self.packed, self.bias, "add"
            )
        return residual_ND + F.linear(x_ND, self.weight, self.bias)


def _pack(weight: Tensor, rows: int) -> Tensor | None:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return None
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
        probe = weight.new_zeros(rows, weight.shape[1])
        torch.ops.mkldnn._linear_pointwise(probe, packed, None, "none", [], "")
    except (AttributeError, RuntimeError):  # a build without these kernels
        return None
    return packed
