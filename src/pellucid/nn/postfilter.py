"""Postfilter: a fixed linear filter between a decoder and whoever looks at its images.

Shape letters: B batch, C channels, H height, W width, K taps per side.
"""

from __future__ import annotations

from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.postfilter import filtered, identity_kernel


class Postfilter(nn.Module):
    """Filter reconstructions; the kernel is fitted after training, until then it changes nothing.

    Training never sees it: a decoder would learn to undo it.

    Args:
        channels: of the images.
        taps: positions per side of each of the two filters that are fitted, odd: the one of least
            squared error and the one that brings power back.
        strength: how much of the missing power is brought back: 0 keeps to the least squared
            error, 1 makes the power of every frequency whole.

    Raises:
        RecipeError: when `taps` is even or not in 3…31, or `strength` is not in [0, 1].
    """

    kernel_CCKK: Tensor

    def __init__(self, channels: int, taps: int = 9, strength: float = 0.5) -> None:
        super().__init__()
        if taps % 2 == 0 or not 3 <= taps <= 31:
            raise RecipeError(
                "a filter needs a middle",
                where="postfilter.taps",
                expected="an odd number from 3 to 31",
                found=taps,
            )
        if not 0 <= strength <= 1:
            raise RecipeError(
                "strength is a share of the missing power",
                where="postfilter.strength",
                expected="a number from 0 to 1",
                found=strength,
            )
        self.taps = taps
        self.strength = strength
        self.register_buffer("kernel_CCKK", identity_kernel(channels, 2 * taps - 1))

    @property
    def reach(self) -> int:
        """Pixels on each side that one output pixel depends on."""
        return self.kernel_CCKK.shape[-1] // 2

    def forward(self, x_hat_BCHW: Tensor) -> Tensor:
        """Return the filtered images, float32, of the same shape."""
        return filtered(x_hat_BCHW, self.kernel_CCKK)
