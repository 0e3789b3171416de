"""Networks: encoders, decoders and their parts; two literal tables name them for recipes."""

from torch import nn

from pellucid.nn.attention import SelfAttention
from pellucid.nn.graph import GraphDecoder, GraphEncoder
from pellucid.nn.head import Head, apply_head, head_reach
from pellucid.nn.patch import PatchDecoder, PatchEncoder
from pellucid.nn.residual import ResidualDecoder, ResidualEncoder
from pellucid.nn.seanet import SEANetDecoder, SEANetEncoder
from pellucid.nn.timm_encoder import TimmEncoder

ENCODERS: dict[str, type[nn.Module]] = {
    "residual": ResidualEncoder,
    "patch": PatchEncoder,
    "seanet": SEANetEncoder,
    "graph": GraphEncoder,
    "timm": TimmEncoder,
}
DECODERS: dict[str, type[nn.Module]] = {
    "residual": ResidualDecoder,
    "patch": PatchDecoder,
    "seanet": SEANetDecoder,
    "graph": GraphDecoder,
}

__all__ = [
    "DECODERS",
    "ENCODERS",
    "GraphDecoder",
    "GraphEncoder",
    "Head",
    "PatchDecoder",
    "PatchEncoder",
    "ResidualDecoder",
    "ResidualEncoder",
    "SEANetDecoder",
    "SEANetEncoder",
    "SelfAttention",
    "TimmEncoder",
    "apply_head",
    "head_reach",
]
