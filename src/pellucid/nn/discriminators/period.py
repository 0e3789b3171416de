"""Multi-period discriminator: a waveform folded at several periods, each seen as an image.

Source: Kong et al. 2020, "HiFi-GAN", section 2.3 and appendix A.2.

Shape letters: B batch, C channels, T samples, R = T / period rows.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pellucid.errors import RecipeError
from pellucid.nn.discriminators.judgement import Judgement, activations

_STRIDES = (3, 3, 3, 3, 1)


class PeriodDiscriminator(nn.Module):
    """Judge (B, C, T) folded to (B, C, R, period), column by column; one scale per period.

    Periods without a common factor see different samples together. A convolution never leaves
    its column, so every score is about samples `period` apart.

    Args:
        in_channels: audio channels.
        periods: in samples.
        width: channels of the first layer; they grow fourfold per layer up to `widest`.
        widest: most channels of a layer.

    Raises:
        RecipeError: for a period or a width below 1.
    """

    axes = 1

    def __init__(
        self,
        in_channels: int = 1,
        *,
        periods: tuple[int, ...] = (2, 3, 5, 7, 11),
        width: int = 32,
        widest: int = 1024,
    ) -> None:
        super().__init__()
        if not periods or min(*periods, width, widest) < 1:
            raise RecipeError(
                "a period discriminator needs periods and channels",
                expected="whole numbers ≥ 1",
                found=f"periods {list(periods)}, width {width}, widest {widest}",
            )
        self.periods = periods
        self.scales = nn.ModuleList(_Columns(in_channels, width, widest) for _ in periods)

    def forward(self, x_BCT: Tensor) -> Judgement:
        """Return one score map per period; the end is mirrored to fill the last row."""
        pairs = [
            scale(_fold(x_BCT, period))
            for period, scale in zip(self.periods, self.scales, strict=True)
        ]
        return Judgement([score for score, _ in pairs], [features for _, features in pairs])


class _Columns(nn.Module):
    """Convolve along the rows only."""

    def __init__(self, in_channels: int, width: int, widest: int) -> None:
        super().__init__()
        wide = [in_channels, *(min(width * 4**level, widest) for level in range(len(_STRIDES)))]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (stride, 1), padding=(2, 0)))
            for (before, after), stride in zip(itertools.pairwise(wide), _STRIDES, strict=True)
        )
        self.score = weight_norm(nn.Conv2d(wide[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, x_BCRP: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = activations(self.layers, x_BCRP)
        return self.score(features[-1]), features


def _fold(x_BCT: Tensor, period: int) -> Tensor:
    missing = -x_BCT.shape[-1] % period
    if missing:
        x_BCT = F.pad(x_BCT, (0, missing), mode="reflect")
    return x_BCT.unflatten(-1, (-1, period))
