"""An autoencoder of whole graphs of any size: nodes in, nodes out, latents per graph and per node.

Shape letters: B graphs, N nodes, C features, T global tokens, W width, D latent channels.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from pellucid.bottlenecks.contract import Bottleneck
from pellucid.errors import RecipeError
from pellucid.functional.graph_batch import GraphBatch
from pellucid.nn.graph.nodes import NodeDecoder, NodeEncoder
from pellucid.records import Penalty


@dataclasses.dataclass(frozen=True)
class GraphLatents:
    """What a graph autoencoder says about a batch.

    Args:
        tokens_BDT: global latents (one vector per graph when T = 1), or None.
        nodes_BDN: latents per node, zero where there is none, or None.
    """

    tokens_BDT: Tensor | None
    nodes_BDN: Tensor | None

    def joined(self) -> Tensor:
        """Return (B, D, T + N), what the decoder reads."""
        parts = [part for part in (self.tokens_BDT, self.nodes_BDN) if part is not None]
        return torch.cat(parts, 2)


@dataclasses.dataclass(frozen=True)
class GraphOutput:
    """What a graph autoencoder returns for one batch.

    Args:
        x_hat_BNC: float32, zero where there is no node.
        latents: what the decoder read.
        penalties: of the bottlenecks, "tokens.…" per graph and "nodes.…" per node.
        metrics: likewise.
    """

    x_hat_BNC: Tensor
    latents: GraphLatents
    penalties: dict[str, Penalty]
    metrics: dict[str, Tensor]


class GraphAutoencoder(nn.Module):
    """Encode nodes with their neighbours, and write them back at their places.

    Where the nodes are (and how many) is given to both sides; what they hold passes the
    bottlenecks. Padding changes nothing: bottlenecks see nodes that exist only.

    Args:
        encoder: C features → tokens and nodes of width W.
        bottleneck: for tokens, W → D; None where the encoder has none.
        decoder: D → C features.
        node_bottleneck: for nodes, W → D; None keeps no latents per node.

    Raises:
        RecipeError: when the parts do not fit each other.
    """

    def __init__(
        self,
        encoder: NodeEncoder,
        bottleneck: Bottleneck | None,
        decoder: NodeDecoder,
        node_bottleneck: Bottleneck | None = None,
    ) -> None:
        super().__init__()
        width = encoder.embed.out_features
        wrong = [
            f"{name} takes {part.channels} and gives {part.out_channels}"
            for name, part in (("bottleneck", bottleneck), ("node_bottleneck", node_bottleneck))
            if part is not None and (part.channels, part.out_channels) != (width, decoder.latent)
        ]
        told = (decoder.tokens, decoder.per_node, decoder.features)
        wanted = (
            encoder.tokens if bottleneck is not None else 0,
            node_bottleneck is not None,
            encoder.features,
        )
        if wrong or told != wanted:
            raise RecipeError(
                "the parts of a graph autoencoder do not fit",
                where="GraphAutoencoder",
                expected=f"bottlenecks {width} → {decoder.latent}; decoder with tokens, per_node, "
                f"features = {wanted}",
                found=wrong[0] if wrong else told,
            )
        self.encoder, self.decoder = encoder, decoder
        self.bottleneck, self.node_bottleneck = bottleneck, node_bottleneck

    def forward(self, graph: GraphBatch) -> GraphOutput:
        """Reconstruct a batch; in train mode bottlenecks sample."""
        tokens_BTW, nodes_BNW = self.encoder(graph)
        penalties: dict[str, Penalty] = {}
        metrics: dict[str, Tensor] = {}
        tokens = nodes = None
        if self.bottleneck is not None:
            out = self.bottleneck(tokens_BTW.transpose(1, 2))
            tokens = out.z
            penalties |= {f"tokens.{name}": value for name, value in out.penalties.items()}
            metrics |= {f"tokens.{name}": value for name, value in out.metrics.items()}
        if self.node_bottleneck is not None:
            out = self.node_bottleneck(nodes_BNW[graph.mask_BN])
            nodes = scattered(out.z, graph.mask_BN)
            penalties |= {f"nodes.{name}": value for name, value in out.penalties.items()}
            metrics |= {f"nodes.{name}": value for name, value in out.metrics.items()}
        latents = GraphLatents(tokens, nodes)
        return GraphOutput(self.decode(latents, graph), latents, penalties, metrics)

    def encode(self, graph: GraphBatch) -> GraphLatents:
        """Return latents without sampling: means, or what the decoder gets in eval mode."""
        training = self.training
        self.eval()
        try:
            tokens_BTW, nodes_BNW = self.encoder(graph)
            tokens = nodes = None
            if self.bottleneck is not None:
                tokens = self.bottleneck(tokens_BTW.transpose(1, 2)).z
            if self.node_bottleneck is not None:
                z = self.node_bottleneck(nodes_BNW[graph.mask_BN]).z
                nodes = scattered(z, graph.mask_BN)
            return GraphLatents(tokens, nodes)
        finally:
            self.train(training)

    def decode(self, latents: GraphLatents, places: GraphBatch) -> Tensor:
        """Return (B, N, C) float32 at the places of a batch, whatever its nodes hold."""
        return self.decoder(latents.joined(), places.positions_BN2, places.mask_BN).float()


def scattered(z_ED: Tensor, mask_BN: Tensor) -> Tensor:
    """Return (B, D, N): rows back at their nodes, zero where there is none."""
    full = z_ED.new_zeros(*mask_BN.shape, z_ED.shape[1])
    return full.masked_scatter(mask_BN[..., None], z_ED).transpose(1, 2)
