"""A tile of a stack as a grid of nodes: the graph encoder behind the contract of all encoders.

Shape letters: B batch, C channels, H height, W width, N = (H/patch)·(W/patch) nodes row by row,
T global tokens, P = T, or T + N with latents per node.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import RecipeError, unknown_name
from pellucid.functional.graph_batch import GraphBatch, grid_positions
from pellucid.functional.padding import check_sides
from pellucid.nn.graph.nodes import NodeEncoder, Places


class GraphEncoder(nn.Module):
    """Read a tile as a graph: patches are nodes, a transformer is the rest.

    h holds T global positions (a vector per graph: (B, d) when T = 1), followed, with `per_node`,
    by one position per node. The linear posterior head is the bottleneck's.

    Args:
        in_channels: channels of x.
        channels: width of every node, token and position of h.
        patch: side of a node in pixels; the stride.
        nodes: "embedded" reads every pixel of a patch, "pooled" only the means of its channels.
        depth: layers.
        heads: attention heads.
        tokens: global positions of h.
        per_node: keep the nodes' vectors too.
        places: how nodes are placed, see `NodeEncoder`.
        hide: share of the nodes hidden in train mode, see `NodeEncoder`.

    Raises:
        RecipeError: when a size is out of range or nothing would be left to decode from.
    """

    axes = 2
    intermediates = ("nodes", "h")

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 128,
        patch: int = 4,
        nodes: Literal["embedded", "pooled"] = "embedded",
        depth: int = 4,
        heads: int = 4,
        tokens: int = 8,
        per_node: bool = False,
        places: Places = "absolute",
        hide: float = 0.0,
    ) -> None:
        super().__init__()
        if patch < 1 or tokens + per_node < 1:
            raise RecipeError(
                "a graph encoder needs nodes and something to write to",
                where="patch, tokens, per_node",
                expected="patch ≥ 1, and tokens ≥ 1 or per_node: true",
                found=f"patch {patch}, tokens {tokens}, per_node {per_node}",
            )
        if nodes not in ("embedded", "pooled"):
            raise unknown_name("kind of node", nodes, ("embedded", "pooled"), where="nodes")
        self.in_channels, self.channels, self.stride = in_channels, channels, patch
        self.tokens, self.per_node, self.pooled = tokens, per_node, nodes == "pooled"
        features = in_channels * (1 if self.pooled else patch**2)
        self.graph = NodeEncoder(features, channels, depth, heads, tokens, places, hide)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, channels, P).

        Raises:
            PellucidError: when the sides are not multiples of the patch.
        """
        return self.features(x_BCHW)["h"]

    def features(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        """Return "nodes" (B, channels, N) and "h" (B, channels, P)."""
        check_sides(x_BCHW, self.stride, channels=self.in_channels)
        tokens, nodes = self.graph(self.as_graph(x_BCHW), padded=False)
        nodes = nodes.transpose(1, 2)
        kept = [tokens.transpose(1, 2), nodes][: 1 + self.per_node]
        return {"nodes": nodes, "h": torch.cat(kept, 2)}

    def as_graph(self, x_BCHW: Tensor) -> GraphBatch:
        """Return the tile's grid of nodes."""
        rows, columns = (side // self.stride for side in x_BCHW.shape[-2:])
        if self.pooled:
            x_BNC = F.avg_pool2d(x_BCHW, self.stride).flatten(2).transpose(1, 2)
        else:
            x_BNC = patches(x_BCHW, self.stride)
        return grid_graph(x_BNC, rows, columns)


def grid_graph(x_BNC: Tensor, rows: int, columns: int) -> GraphBatch:
    """Place nodes, row by row, on a grid."""
    positions = grid_places(rows, columns, x_BNC.device).expand(len(x_BNC), -1, -1)
    mask = torch.ones((), dtype=torch.bool, device=x_BNC.device).expand(x_BNC.shape[:2])
    return GraphBatch(x_BNC, mask, positions)


def patches(x_BCHW: Tensor, patch: int) -> Tensor:
    """Return (B, N, C·patch²): every patch as one row, row by row."""
    split = x_BCHW.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch))  # B, C, R, p, K, p
    return split.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def from_patches(x_BNC: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """Return (B, C, rows·patch, columns·patch), undoing `patches`."""
    split = x_BNC.unflatten(1, (rows, columns)).unflatten(-1, (-1, patch, patch))
    return split.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def grid_places(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return (1, rows · columns, 2) places of a grid."""
    return grid_positions(rows, columns).to(device)[None]
