"""Patch discriminator for images: every score is about one patch, at one or more resolutions.

Source: Isola et al. 2017, "Image-to-image translation with conditional adversarial networks",
section 3.2.2 (PatchGAN); Wang et al. 2018, "pix2pixHD", section 3.2 (several resolutions). Weight
norm stands where they have batch norm, which would tie the verdict on x to its neighbours.

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pellucid.errors import RecipeError
from pellucid.nn.discriminators.judgement import Judgement, activations

_GROWTH = 8  # the widest layer is this many times the first, as in PatchGAN


class PatchDiscriminator(nn.Module):
    """Judge (B, C, H, W) patch by patch: score maps of H / 2^layers by W / 2^layers.

    A score of `layers` = 3 sees about 50 pixels. Every further scale sees the image at half the
    resolution before, so twice as far.

    Args:
        in_channels: image channels.
        width: channels of the first layer; they double per layer, up to eightfold.
        layers: halvings before the score.
        scales: resolutions.

    Raises:
        RecipeError: for a number below 1.
    """

    axes = 2

    def __init__(
        self, in_channels: int = 3, *, width: int = 64, layers: int = 3, scales: int = 1
    ) -> None:
        super().__init__()
        if min(width, layers, scales) < 1:
            raise RecipeError(
                "a patch discriminator needs channels, layers and scales",
                expected="whole numbers ≥ 1",
                found=f"width {width}, layers {layers}, scales {scales}",
            )
        self.scales = nn.ModuleList(_Patches(in_channels, width, layers) for _ in range(scales))

    def forward(self, x_BCHW: Tensor) -> Judgement:
        """Return one score map per resolution, the finest first."""
        scores, features = [], []
        for number, scale in enumerate(self.scales):
            if number:
                x_BCHW = F.avg_pool2d(x_BCHW, 3, stride=2, padding=1, count_include_pad=False)
            score, found = scale(x_BCHW)
            scores.append(score)
            features.append(found)
        return Judgement(scores, features)


class _Patches(nn.Module):
    def __init__(self, in_channels: int, width: int, layers: int) -> None:
        super().__init__()
        wide = [in_channels, *(width * min(2**level, _GROWTH) for level in range(layers + 1))]
        pairs = list(itertools.pairwise(wide))
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, 4, stride=2, padding=1))
            for before, after in pairs[:-1]
        )
        self.layers.append(weight_norm(nn.Conv2d(*pairs[-1], 3, padding=1)))
        self.score = weight_norm(nn.Conv2d(wide[-1], 1, 3, padding=1))

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = activations(self.layers, x_BCHW)
        return self.score(features[-1]), features
