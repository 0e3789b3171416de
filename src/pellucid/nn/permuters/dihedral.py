"""The dihedral permuter: the best of a tile's eight orientations, exactly.

Shape letters: B batch, C channels, H height, W width, S side of the grid, G the eight elements.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.functional.dihedral import ORDER, orbit, turn_back, turn_by
from pellucid.nn.permuters.checks import check_sizes, grid_means
from pellucid.nn.permuters.contract import Arranged, Permuter
from pellucid.nn.permuters.template import Template


class Dihedral(Permuter):
    """Turn every tile to its orientation nearest the template: g* = argmin_g ‖pool(g·x) − T‖².

    The minimum over all eight is exact, so g*·x is the same for all orientations of a tile and so
    are its latents. A tile that is its own mirror image (an empty one, say) has several nearest
    orientations: its latents are the same for all, its reconstruction is drawn in one of them.

    Args:
        channels: C of the data.
        side: S, the grid on which orientations are told apart.
        decay: of the template's moving mean, in train mode.

    Raises:
        RecipeError: when a size is out of range.

    Source: Kaba et al., "Equivariance with learned canonicalization functions", 2023, with the
    energy minimised over the whole group.
    """

    group = "dihedral"

    def __init__(self, channels: int, side: int = 6, decay: float = 0.99) -> None:
        super().__init__()
        check_sizes(channels=channels, side=side, decay=decay)
        self.side = side
        self.template = Template(channels, side, decay)

    def forward(self, x_BCHW: Tensor) -> Arranged:
        """Turn a batch.

        Raises:
            PellucidError: when the tiles are not square, or do not divide into S × S.
        """
        grids_BGCSS = orbit(grid_means(x_BCHW, self.side))
        # float64: two orientations must not change places by rounding
        fit_BG = torch.einsum("bgchw,chw->bg", grids_BGCSS.double(), self.template.mean.double())
        best = fit_BG.argmax(1)
        pose = F.one_hot(best, ORDER).to(x_BCHW.dtype)
        if self.training:
            self.template.follow(grids_BGCSS[torch.arange(len(best)), best])
        used = pose.mean(0)
        metrics = {"orientation_entropy": torch.special.entr(used).sum() / math.log(ORDER)}
        return Arranged(turn_by(x_BCHW, pose), pose, metrics=metrics)

    def restore(self, x_hat_BCHW: Tensor, pose: Tensor) -> Tensor:
        """Turn x̂ back."""
        return turn_back(x_hat_BCHW, pose)

    @property
    def pose_bits(self) -> float:
        """Three: one of eight."""
        return math.log2(ORDER)
