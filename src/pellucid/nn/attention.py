"""Self-attention over the positions of a feature map.

Shape letters: B batch, C channels, H height, W width, N = H·W positions, D channels per head.
"""

from __future__ import annotations

from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.attention import attend
from pellucid.nn.blocks import group_norm


class SelfAttention(nn.Module):
    """Let every position look at every other: x + W_o · softmax(QKᵀ/√D) V.

    Cost grows with N², so it belongs on the coarsest maps. Source: Vaswani et al. 2017, §3.2.

    Args:
        channels: C, of input and output.
        heads: number of heads; must divide `channels`.

    Raises:
        RecipeError: when `heads` does not divide `channels`.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise RecipeError(
                "the attention heads must divide the channels",
                where="heads",
                expected=f"a divisor of {channels}",
                found=heads,
            )
        self.heads = heads
        self.norm = group_norm(channels)
        # without bias: softmax does not see one on the keys
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C, H, W)."""
        height, width = x_BCHW.shape[-2:]
        qkv = self.to_qkv(self.norm(x_BCHW)).flatten(2)  # B, 3·C, N
        # each of q, k, v: B, heads, N, D
        q, k, v = qkv.unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        mixed = attend(q, k, v)
        mixed_BCHW = mixed.transpose(-1, -2).flatten(1, 2).unflatten(2, (height, width))
        return x_BCHW + self.out(mixed_BCHW)
