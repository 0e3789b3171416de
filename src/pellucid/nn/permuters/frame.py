"""A window of cells in a frame of its own: turned and mirrored by what its cells hold.

Shape letters: B windows, N cells, C markers, R = C + 3 + N rows of packed cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.cell_tensor import moved, unpack_graphs
from pellucid.nn.permuters.contract import Arranged, Permuter

_STILL = 1e-6  # below, in units of position, a direction is rounding noise


class Frame(Permuter):
    """Turn every window until learned directions of its cells point one way.

    With weights a_i, b_i of a cell's markers, u = Σ a_i (p_i − p̄) points down and
    v = Σ b_i (p_i − p̄) lies to its right. Turned or mirrored cells have turned directions, so the
    canonical window is the same for every angle, and what is made of it does not see how a window
    lies. Angles are continuous and have a gradient; a window without a direction (one cell, say) is
    left as it is. The order of the cells needs no permuter.

    Args:
        channels: C.
        hidden: width of the network behind the weights.

    Raises:
        RecipeError: when a size is out of range.

    Source: Kaba et al., "Equivariance with learned canonicalization functions", 2023.
    """

    group = "turns"

    def __init__(self, channels: int, hidden: int = 16) -> None:
        super().__init__()
        if channels < 1 or hidden < 1:
            raise RecipeError(
                "a frame is chosen by markers",
                where="permuter",
                expected="channels ≥ 1, hidden ≥ 1",
                found=f"channels {channels}, hidden {hidden}",
            )
        self.channels = channels
        self.weigh = nn.Sequential(
            nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, 2), nn.Tanh()
        )

    def forward(self, x_BRN1: Tensor) -> Arranged:
        """Turn a batch of packed cells."""
        graph = unpack_graphs(x_BRN1.float(), self.channels)
        mask_BN1 = graph.mask_BN[..., None].to(graph.x_BNC.dtype)
        count_B11 = mask_BN1.sum(1, keepdim=True).clamp_min(1)
        places = graph.positions_BN2
        around = (places - places.sum(1, keepdim=True) / count_B11) * mask_BN1
        u_B2, v_B2 = (self.weigh(graph.x_BNC).transpose(1, 2) @ around / count_B11).unbind(1)
        length_B = u_B2.norm(dim=1, keepdim=True)
        down = u_B2 / length_B.clamp_min(_STILL)
        across = torch.stack([-down[:, 1], down[:, 0]], 1)
        side = (v_B2 * across).sum(1, keepdim=True)
        across = torch.where(side < 0, -across, across)
        own = torch.eye(2, device=x_BRN1.device).expand(len(x_BRN1), 2, 2)
        turn_B22 = torch.where((length_B > _STILL)[..., None], torch.stack([down, across], 1), own)
        return Arranged(moved(x_BRN1, turn_B22, self.channels), turn_B22)

    def restore(self, x_hat_BRN1: Tensor, pose: Tensor) -> Tensor:
        """Turn x̂ back."""
        return moved(x_hat_BRN1, pose.transpose(1, 2), self.channels)

    @property
    def pose_bits(self) -> float:
        """An angle in single precision, and a bit for the mirror."""
        return 33.0
