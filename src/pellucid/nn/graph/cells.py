"""Packed cells to latents and back: graph networks behind the contracts of encoder and decoder.

Shape letters: B windows, N cells, C markers, T global tokens, D latent channels, R = C + 3 + N.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.cell_tensor import unpack_graphs
from pellucid.functional.graph_batch import GraphBatch
from pellucid.nn.graph.nodes import NodeDecoder, NodeEncoder, Places
from pellucid.nn.head import Head


class CellEncoder(nn.Module):
    """Read a window of cells into T global positions and, with `per_node`, one per cell.

    Global positions are the same in every order of the cells; cells that do not exist are seen by
    nobody.

    Args:
        in_channels: markers of a cell.
        channels: width of every cell, token and position of h.
        depth: layers.
        heads: attention heads.
        tokens: global positions of h.
        per_node: keep a latent per cell too.
        places: how cells are placed: "absolute", "relative" (distances and edges only) or "none".
        hide: share of the cells to be told from the others while training.

    Raises:
        RecipeError: when a size is out of range.
    """

    axes = 2
    stride = 1
    intermediates = ("nodes", "h")

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 64,
        depth: int = 4,
        heads: int = 4,
        tokens: int = 4,
        per_node: bool = False,
        places: Places = "absolute",
        hide: float = 0.0,
    ) -> None:
        super().__init__()
        if tokens < 1:
            raise RecipeError(
                "a window of cells has a global latent", where="encoder.tokens", expected="≥ 1",
                found=tokens,
            )  # fmt: skip
        self.in_channels, self.channels = in_channels, channels
        self.tokens, self.per_node = tokens, per_node
        self.graph = NodeEncoder(in_channels, channels, depth, heads, tokens, places, hide)

    def forward(self, x_BRN1: Tensor) -> Tensor:
        """Return h, (B, channels, T[ + N]), zero where there is no cell.

        Raises:
            PellucidError: when x is not packed cells of as many markers.
        """
        return self.features(x_BRN1)["h"]

    def features(self, x_BRN1: Tensor) -> dict[str, Tensor]:
        """Return "nodes" (B, channels, N) and "h" (B, channels, T[ + N])."""
        return self.read(unpack_graphs(x_BRN1, self.in_channels))

    def read(self, graph: GraphBatch) -> dict[str, Tensor]:
        """Return "nodes" and "h" of cells that are unpacked already."""
        tokens, nodes = self.graph(graph)
        nodes = nodes.transpose(1, 2)
        kept = [tokens.transpose(1, 2), nodes][: 1 + self.per_node]
        return {"nodes": nodes, "h": torch.cat(kept, 2)}


class CellDecoder(nn.Module):
    """Write the markers of cells at given places from global latents, and latents per cell.

    Args:
        in_channels: channels of z.
        out_channels: markers of a cell.
        channels: width.
        depth: layers.
        heads: attention heads.
        tokens: global positions of z, as the encoder's.
        per_node: z has a position per cell too, as the encoder's.

    Raises:
        RecipeError: when a size is out of range.
    """

    axes = 2
    stride = 1
    head: Head = "none"

    def __init__(
        self,
        in_channels: int = 8,
        out_channels: int = 3,
        channels: int = 64,
        depth: int = 4,
        heads: int = 4,
        tokens: int = 4,
        per_node: bool = False,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.tokens, self.per_node = tokens, per_node
        self.graph = NodeDecoder(
            in_channels, out_channels, channels, depth, heads, tokens, per_node
        )

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight every output value passes through last."""
        return self.graph.last_layer

    def forward(self, z_BDP: Tensor, positions_BN2: Tensor, mask_BN: Tensor) -> Tensor:
        """Return (B, N, out_channels) float32, zero where there is no cell.

        Raises:
            PellucidError: for latents of another shape.
        """
        return self.graph(z_BDP, positions_BN2, mask_BN).float()
