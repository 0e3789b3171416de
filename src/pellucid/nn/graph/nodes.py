"""Nodes to latents and back, for graphs of any size.

Shape letters: B graphs, N nodes, C features, T global tokens, W width, D latent channels.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from pellucid.errors import PellucidError, RecipeError, unknown_name
from pellucid.functional.graph_batch import GraphBatch
from pellucid.nn.graph.positions import PositionEmbedding
from pellucid.nn.graph.transformer import GraphTransformer, RelativeBias, key_padding

Places = Literal["absolute", "relative", "none"]


class NodeEncoder(nn.Module):
    """Read a graph into T global tokens and one vector per node.

    The tokens stand among the nodes, look at all of them and belong to none. In another order of
    the nodes, the tokens are the same and the nodes' vectors are in that order.

    Args:
        features: C.
        width: W.
        depth: layers.
        heads: attention heads.
        tokens: T ≥ 0.
        places: "absolute" adds where a node is, "relative" lets attention see distances and edges
            only (a turned graph gives the same answers), "none" neither.
        hide: share of the nodes whose features are hidden in train mode; they have to be
            told from the others (masked-node reconstruction, He et al. 2022).

    Raises:
        RecipeError: when an argument is out of range.
    """

    def __init__(
        self,
        features: int,
        width: int,
        depth: int = 4,
        heads: int = 4,
        tokens: int = 1,
        places: Places = "absolute",
        hide: float = 0.0,
    ) -> None:
        super().__init__()
        if places not in get_args(Places):
            raise unknown_name("way to state places", places, get_args(Places), where="places")
        if tokens < 0 or not 0 <= hide < 1:
            raise RecipeError(
                "tokens are counted, and some nodes must be seen",
                where="tokens, hide",
                expected="tokens ≥ 0, 0 ≤ hide < 1",
                found=f"tokens {tokens}, hide {hide}",
            )
        self.features, self.tokens, self.places, self.hide = features, tokens, places, hide
        self.embed = nn.Linear(features, width)
        self.position = PositionEmbedding(width) if places == "absolute" else None
        self.relative = RelativeBias(heads) if places == "relative" else None
        self.hidden = nn.Parameter(torch.zeros(width)) if hide > 0 else None
        self.token = nn.Parameter(0.5 * torch.randn(tokens, width)) if tokens else None
        self.transformer = GraphTransformer(width, depth, heads)

    def forward(self, graph: GraphBatch, *, padded: bool = True) -> tuple[Tensor, Tensor]:
        """Return tokens (B, T, W) and nodes (B, N, W), zero where there is no node.

        Args:
            graph: the batch.
            padded: False promises that every row is a node, and saves the mask.

        Raises:
            PellucidError: for nodes with other than C features.
        """
        if graph.x_BNC.shape[-1] != self.features:
            raise PellucidError(
                "nodes with another number of features",
                where="NodeEncoder",
                expected=f"{self.features} features",
                found=graph.x_BNC.shape[-1],
            )
        x = self.embed(graph.x_BNC)
        if self.training and self.hidden is not None:
            gone = torch.rand(x.shape[:2], device=x.device) < self.hide
            x = torch.where(gone[..., None], self.hidden.to(x.dtype), x)
        if self.position is not None:
            x = x + self.position(graph.positions_BN2)
        bias = with_tokens(
            None if self.relative is None else self.relative(graph.positions_BN2, graph.edges_BNN),
            graph.mask_BN if padded else None,
            self.tokens,
        )
        if self.token is not None:
            x = torch.cat([self.token.to(x.dtype).expand(len(x), -1, -1), x], 1)
        y = self.transformer(x, bias)
        token, nodes = y[:, : self.tokens], y[:, self.tokens :]
        return token, nodes * graph.mask_BN[..., None] if padded else nodes


class NodeDecoder(nn.Module):
    """Write nodes at given places from latents.

    Every place becomes a query; queries and latents then talk as nodes of one graph. Only latents
    and places are read: what a node holds can come from nowhere else.

    Args:
        latent: D of a latent position.
        features: C written per node.
        width: W.
        depth: layers.
        heads: attention heads.
        tokens: T global positions among the latents.
        per_node: further latents, one per node, in the nodes' order.

    Raises:
        RecipeError: when there would be nothing to read from.
    """

    def __init__(
        self,
        latent: int,
        features: int,
        width: int,
        depth: int = 4,
        heads: int = 4,
        tokens: int = 1,
        per_node: bool = False,
    ) -> None:
        super().__init__()
        if tokens < 0 or tokens + per_node < 1:
            raise RecipeError(
                "a decoder needs latents to read",
                where="tokens, per_node",
                expected="tokens ≥ 1, or per_node: true",
                found=f"tokens {tokens}, per_node {per_node}",
            )
        self.latent, self.features, self.tokens, self.per_node = latent, features, tokens, per_node
        self.read_token = nn.Linear(latent, width) if tokens else None
        self.read_node = nn.Linear(latent, width) if per_node else None
        self.token = nn.Parameter(0.5 * torch.randn(tokens, width)) if tokens else None
        self.position = PositionEmbedding(width)
        self.transformer = GraphTransformer(width, depth, heads)
        self.out = nn.Linear(width, features)

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight every output value passes through last."""
        return cast(nn.Parameter, self.out.weight)

    def forward(
        self, z_BDP: Tensor, positions_BN2: Tensor, mask_BN: Tensor | None = None
    ) -> Tensor:
        """Return (B, N, C), zero where there is no node.

        Args:
            z_BDP: (B, D, T) or, per node, (B, D, T + N).
            positions_BN2: where the nodes are.
            mask_BN: True where there is a node; None when all are.

        Raises:
            PellucidError: for latents of another shape.
        """
        count = positions_BN2.shape[1]
        expected = self.tokens + count * self.per_node
        if z_BDP.ndim != 3 or tuple(z_BDP.shape[1:]) != (self.latent, expected):
            raise PellucidError(
                "latents of another shape",
                where="NodeDecoder",
                expected=f"(B, {self.latent}, {expected}): {self.tokens} tokens"
                + (f" and {count} nodes" if self.per_node else ""),
                found=tuple(z_BDP.shape),
            )
        z_BPD = z_BDP.transpose(1, 2)
        query = self.position(positions_BN2).expand(len(z_BPD), -1, -1)
        if self.read_node is not None:
            query = query + self.read_node(z_BPD[:, self.tokens :])
        parts = [query]
        if self.read_token is not None and self.token is not None:
            parts.insert(0, self.read_token(z_BPD[:, : self.tokens]) + self.token)
        bias = with_tokens(None, mask_BN, self.tokens)
        y = self.transformer(torch.cat(parts, 1), bias)[:, self.tokens :]
        x_hat = self.out(y)
        return x_hat if mask_BN is None else x_hat * mask_BN[..., None]


def with_tokens(bias_BHNN: Tensor | None, mask_BN: Tensor | None, tokens: int) -> Tensor | None:
    """Return the attention bias of tokens followed by nodes; None when there is nothing to say.

    Tokens see and are seen without preference; a missing node is seen by nobody.
    """
    if bias_BHNN is None and mask_BN is None:
        return None
    bias = None
    if bias_BHNN is not None:
        bias = nn.functional.pad(bias_BHNN, (tokens, 0, tokens, 0))
    if mask_BN is not None:
        hidden = key_padding(nn.functional.pad(mask_BN, (tokens, 0), value=True))
        bias = hidden if bias is None else bias + hidden
    return bias
