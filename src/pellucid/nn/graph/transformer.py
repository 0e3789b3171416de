"""A pre-norm transformer over the nodes of graphs, with padding and neighbourhoods as a bias.

Shape letters: B graphs, N nodes, W width, H heads, D channels per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.attention import attend


class GraphTransformer(nn.Module):
    """Let nodes exchange what they know: depth × (x + attention(norm(x)), x + mlp(norm(x))).

    Without a positional signal in x or the bias it treats all nodes alike: another order of the
    nodes gives the same answers in that order. Keys where the bias is −∞ are not seen, so padding
    changes nothing.

    Args:
        width: W; a multiple of `heads`.
        depth: layers.
        heads: H.
        expansion: hidden width of the mlp over W.

    Raises:
        RecipeError: when `heads` does not divide `width`, or a size is not positive.

    Source: Xiong et al., "On layer normalization in the transformer architecture", 2020 (pre-norm);
    Ying et al., "Do transformers really perform bad for graph representation?", 2021 (bias).
    """

    def __init__(self, width: int, depth: int = 4, heads: int = 4, expansion: int = 4) -> None:
        super().__init__()
        if min(width, depth, heads, expansion) < 1 or width % heads:
            raise RecipeError(
                "the attention heads must divide the width",
                where="channels, heads",
                expected=f"positive sizes, and a multiple of {max(heads, 1)} channels",
                found=f"{width} channels, {heads} heads, depth {depth}",
            )
        self.heads = heads
        self.layers = nn.ModuleList(_Layer(width, heads, expansion) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BNW: Tensor, bias_BHNN: Tensor | None = None) -> Tensor:
        """Return (B, N, W), normalised.

        Args:
            x_BNW: nodes.
            bias_BHNN: added to the attention's logits; B and H may be 1. −∞ hides a key; a query
                must see at least one.
        """
        for layer in self.layers:
            x_BNW = layer(x_BNW, bias_BHNN)
        return self.norm(x_BNW)


class RelativeBias(nn.Module):
    """Let heads prefer near nodes and neighbours: −softplus(a_h)·distance + b_h·[edge].

    It depends on distances only, so that turning or mirroring a graph changes nothing.

    Args:
        heads: H.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        # from a wide to a narrow view, as in ALiBi (Press et al. 2022)
        self.slope = nn.Parameter(torch.linspace(-4.0, 0.0, heads))
        self.edge = nn.Parameter(torch.zeros(heads))

    def forward(self, positions_BN2: Tensor, edges_BNN: Tensor | None = None) -> Tensor:
        """Return (B, H, N, N) in float32."""
        # not cdist: its gradient at distance zero is not finite
        difference = positions_BN2.float()[:, :, None] - positions_BN2.float()[:, None]
        distance_BNN = difference.square().sum(-1).clamp_min(1e-12).sqrt()
        bias = -F.softplus(self.slope)[:, None, None] * distance_BNN[:, None]
        if edges_BNN is not None:
            bias = bias + self.edge[:, None, None] * edges_BNN[:, None].float()
        return bias


def key_padding(mask_BN: Tensor) -> Tensor:
    """Return (B, 1, 1, N): 0 where there is a node, −∞ where there is none."""
    hidden = torch.zeros(mask_BN.shape, device=mask_BN.device)
    return hidden.masked_fill(~mask_BN, float("-inf"))[:, None, None]


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, expansion * width)
        self.narrow = nn.Linear(expansion * width, width)

    def forward(self, x_BNW: Tensor, bias_BHNN: Tensor | None) -> Tensor:
        qkv = self.to_qkv(self.norm_1(x_BNW)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each B, H, N, D
        bias = None if bias_BHNN is None else bias_BHNN.to(q.dtype)
        mixed = attend(q, k, v, bias)
        x_BNW = x_BNW + self.out(mixed.transpose(1, 2).flatten(2))
        return x_BNW + self.narrow(F.gelu(self.widen(self.norm_2(x_BNW))))
