"""What canonical inputs look like: a slowly moving mean that new ones are matched to.

Shape letters: C channels, S side of the grid.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Template(nn.Module):
    """Hold the mean of canonical grids; it starts as noise, which breaks the symmetry.

    Matching to the mean of what was matched before is generalised Procrustes analysis
    (Gower 1975), online: each step can only lower the distance to the template.

    Args:
        channels: C.
        side: S.
        decay: of the moving mean per training step; 1 keeps the noise.
    """

    mean: Tensor

    def __init__(self, channels: int, side: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("mean", torch.randn(channels, side, side))

    @torch.no_grad()
    def follow(self, canonical_BCSS: Tensor) -> None:
        """Move towards the mean of a batch of canonical grids, of all processes where several."""
        mean = canonical_BCSS.mean(0).to(self.mean.dtype)
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(mean)
            mean = mean / dist.get_world_size()
        self.mean.lerp_(mean, 1 - self.decay)
