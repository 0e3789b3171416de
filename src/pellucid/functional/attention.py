"""Scaled dot-product attention, by whichever way is fast where it runs.

Shape letters: B batch, H heads, N queries, M keys, D channels per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SHORT = 128  # keys; there written-out attention took a third to a half of the kernel's time


def attend(
    q_BHND: Tensor,
    k_BHMD: Tensor,
    v_BHMD: Tensor,
    bias: Tensor | None = None,
    *,
    causal: bool = False,
) -> Tensor:
    """Return softmax(QKᵀ/√D + bias)·V, (B, H, N, D).

    PyTorch's kernel in general. On a CPU its backward pass in bf16 takes several times as long as
    the multiplications themselves where sequences are short; these are written out. Source:
    Vaswani et al. 2017, section 3.2.1.

    Args:
        q_BHND: queries.
        k_BHMD: keys.
        v_BHMD: values.
        bias: added to the logits, broadcastable to (B, H, N, M); −∞ hides a key.
        causal: query n sees keys 0 … n; not together with a bias.
    """
    if _is_short(q_BHND, k_BHMD):
        return _written_out(q_BHND, k_BHMD, v_BHMD, bias, causal=causal)
    return F.scaled_dot_product_attention(q_BHND, k_BHMD, v_BHMD, attn_mask=bias, is_causal=causal)


def _is_short(q: Tensor, k: Tensor) -> bool:
    """Tell whether this is a short sequence that is learnt from in bf16 on a CPU."""
    learnt = torch.is_grad_enabled() and q.requires_grad
    return learnt and q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[-2] <= _SHORT


def _written_out(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, *, causal: bool) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if causal:
        unseen = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        logits = logits.masked_fill(unseen, float("-inf"))
    if bias is not None:
        logits = logits + bias
    # autocast would return float32, and the product with v would be made in it
    return logits.softmax(-1).to(v.dtype) @ v
