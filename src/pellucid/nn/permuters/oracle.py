"""The oracle permuter: every node into the slot where it fits best, exactly.

Shape letters: B batch, C channels, H height, W width, S side of the grid, N = S² nodes and slots.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.functional.assignment import best_assignment
from pellucid.nn.graph.encoder import from_patches, patches
from pellucid.nn.permuters.checks import check_sizes, grid_means, patch_of
from pellucid.nn.permuters.contract import Arranged, Permuter
from pellucid.nn.permuters.template import Template


class Oracle(Permuter):
    """Assign patches to slots at the least total squared distance, Σ_k ‖x_π(k) − T_k‖².

    The Hungarian optimum over all N! orders, of the means of a patch's channels. Where patches go
    is side information of log₂ N! bits; what latents hold does not depend on it.

    Args:
        channels: C of the data.
        side: S.
        decay: of the slots' moving means, in train mode.

    Raises:
        RecipeError: when a size is out of range.
    """

    group = "nodes"

    def __init__(self, channels: int, side: int = 6, decay: float = 0.99) -> None:
        super().__init__()
        check_sizes(channels=channels, side=side, decay=decay)
        self.side = side
        self.template = Template(channels, side, decay)

    def forward(self, x_BCHW: Tensor) -> Arranged:
        """Order the patches of a batch.

        Raises:
            PellucidError: when the tiles do not divide into S × S patches.
        """
        means = grid_means(x_BCHW, self.side)
        nodes_BNC = means.flatten(2).transpose(1, 2).double()
        # Σ‖x‖² and Σ‖T‖² are the same for every order: only the products matter
        gain_BKN = (nodes_BNC @ self.template.mean.flatten(1).double()).transpose(1, 2)
        pose = best_assignment(gain_BKN).to(x_BCHW.dtype)
        if self.training:
            slots_BKC = pose @ nodes_BNC.to(pose.dtype)
            self.template.follow(slots_BKC.transpose(1, 2).unflatten(2, (self.side, self.side)))
        return Arranged(reordered(x_BCHW, pose, self.side), pose)

    def restore(self, x_hat_BCHW: Tensor, pose: Tensor) -> Tensor:
        """Put the patches of x̂ back where they came from."""
        return reordered(x_hat_BCHW, pose.transpose(1, 2), self.side)

    @property
    def pose_bits(self) -> float:
        """log₂ N!."""
        return math.lgamma(self.side**2 + 1) / math.log(2)


def reordered(x_BCHW: Tensor, pose_BKN: Tensor, side: int) -> Tensor:
    """Return the tile whose slot k holds Σ_n pose[k, n] · patch n."""
    patch = patch_of(x_BCHW, side)
    slots_BKC = torch.bmm(pose_BKN.to(x_BCHW.dtype), patches(x_BCHW, patch))
    return from_patches(slots_BKC, side, side, patch)
