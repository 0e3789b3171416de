"""Latents back to a tile, node by node: the graph decoder behind the contract of all decoders.

Shape letters: B batch, C channels, S side of a tile in nodes, N = S² nodes row by row, D latent
channels, T global tokens, P = T, or T + N with latents per node.
"""

from __future__ import annotations

from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.nn.graph.encoder import from_patches, grid_places
from pellucid.nn.graph.nodes import NodeDecoder
from pellucid.nn.head import Head, apply_head, check_head


class GraphDecoder(nn.Module):
    """Draw a tile of S × S nodes from global latents, latents per node, or both.

    Every node asks by its place; each answer is drawn as a patch.

    Args:
        in_channels: channels of z.
        out_channels: channels of x_hat.
        channels: width of every node.
        patch: side of a node in pixels; the stride.
        side: S.
        depth: layers.
        heads: attention heads.
        tokens: global positions of z, as the encoder's.
        per_node: z has a position per node too, as the encoder's.
        head: what the last numbers become; see `nn.head`.

    Raises:
        RecipeError: when a size is out of range, or there is no such head.
    """

    axes = 2

    def __init__(
        self,
        in_channels: int = 8,
        out_channels: int = 3,
        channels: int = 128,
        patch: int = 4,
        side: int = 6,
        depth: int = 4,
        heads: int = 4,
        tokens: int = 8,
        per_node: bool = False,
        head: Head = "none",
    ) -> None:
        super().__init__()
        if patch < 1 or side < 1:
            raise RecipeError(
                "a tile has a size", where="patch, side", expected="≥ 1", found=(patch, side)
            )
        check_head(head)
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, patch
        self.side, self.tokens, self.per_node = side, tokens, per_node
        self.head: Head = head
        self.graph = NodeDecoder(
            in_channels, out_channels * patch**2, channels, depth, heads, tokens, per_node
        )

    @property
    def tile(self) -> int:
        """Side in pixels of the only tile it draws."""
        return self.side * self.stride

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight every output value passes through last."""
        return self.graph.last_layer

    def forward(self, z_BDP: Tensor) -> Tensor:
        """Return (B, out_channels, patch·S, patch·S), float32.

        Raises:
            PellucidError: for latents of another shape.
        """
        nodes_BNC = self.graph(z_BDP, grid_places(self.side, self.side, z_BDP.device))
        x_hat = from_patches(nodes_BNC, self.side, self.side, self.stride)
        return apply_head(x_hat, self.head)
