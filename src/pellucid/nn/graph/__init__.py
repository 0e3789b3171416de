"""Graph networks: masked transformers over nodes, as encoder and decoder."""

from pellucid.nn.graph.decoder import GraphDecoder
from pellucid.nn.graph.encoder import GraphEncoder
from pellucid.nn.graph.nodes import NodeDecoder, NodeEncoder
from pellucid.nn.graph.transformer import GraphTransformer, RelativeBias

__all__ = [
    "GraphDecoder",
    "GraphEncoder",
    "GraphTransformer",
    "NodeDecoder",
    "NodeEncoder",
    "RelativeBias",
]
