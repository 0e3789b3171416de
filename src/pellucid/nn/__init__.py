"""Networks: encoders, decoders and their parts; two literal tables name them for recipes."""

from torch import nn

from pellucid.nn.attention import SelfAttention
from pellucid.nn.head import Head, apply_head, head_reach
from pellucid.nn.patch import PatchDecoder, PatchEncoder
from pellucid.nn.residual import ResidualDecoder, ResidualEncoder

ENCODERS: dict[str, type[nn.Module]] = {"residual": ResidualEncoder, "patch": PatchEncoder}
DECODERS: dict[str, type[nn.Module]] = {"residual": ResidualDecoder, "patch": PatchDecoder}

__all__ = [
    "DECODERS",
    "ENCODERS",
    "Head",
    "PatchDecoder",
    "PatchEncoder",
    "ResidualDecoder",
    "ResidualEncoder",
    "SelfAttention",
    "apply_head",
    "head_reach",
]
