"""No permuter: the order of the input is the order that is learned."""

from __future__ import annotations

from torch import Tensor

from pellucid.nn.permuters.contract import Arranged, Permuter


class Off(Permuter):
    """Leave every input as it is; latents depend on its order."""

    def forward(self, x_BCHW: Tensor) -> Arranged:
        """Return x, without a pose."""
        return Arranged(x_BCHW, None)

    def restore(self, x_hat_BCHW: Tensor, pose: Tensor) -> Tensor:
        """Return x̂."""
        return x_hat_BCHW

    @property
    def pose_bits(self) -> float:
        """None."""
        return 0.0
