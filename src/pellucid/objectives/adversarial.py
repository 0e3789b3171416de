"""Losses of the two players, and the distance between a discriminator's features.

Each function takes one tensor per scale (a period, a window, a resolution) and returns the mean
over scales, so adding a discriminator does not change what a weight means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

GanLoss = Literal["hinge", "least-squares"]

ADVERSARIAL, FEATURES = "adversarial", "features"
"""Names of the two terms an adversary adds to an objective."""

_SILENT = 1e-8  # a layer that answers nothing to x is not divided by


def discriminator_loss(real: Sequence[Tensor], fake: Sequence[Tensor], loss: GanLoss) -> Tensor:
    """Return what the discriminator minimises.

    hinge: mean max(0, 1 − D(x)) + mean max(0, 1 + D(x̂));
    least squares: mean (1 − D(x))² + mean D(x̂)².

    Args:
        real: per scale the scores of x, any shape.
        fake: per scale the scores of x̂, cut from the autoencoder's graph.
        loss: which of the two.

    Source: Lim & Ye 2017, "Geometric GAN"; Mao et al. 2017, "Least squares GAN".
    """
    if loss == "hinge":
        pairs = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in _pairs(real, fake)]
    else:
        pairs = [(1 - r).square().mean() + f.square().mean() for r, f in _pairs(real, fake)]
    return torch.stack(pairs).mean()


def generator_loss(fake: Sequence[Tensor], loss: GanLoss) -> Tensor:
    """Return what the autoencoder minimises: max(0, 1 − D(x̂)), or its square without the max.

    Args:
        fake: per scale the scores of x̂.
        loss: "hinge" or "least-squares".

    Source: Défossez et al. 2022, section 3.4 (hinge); Mao et al. 2017 (least squares).
    """
    short = [1 - score.float() for score in fake]
    parts = [F.relu(s).mean() if loss == "hinge" else s.square().mean() for s in short]
    return torch.stack(parts).mean()


def feature_matching(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the mean over layers of ‖Dˡ(x) − Dˡ(x̂)‖₁ / ‖Dˡ(x)‖₁.

    Relative, so that no layer counts more for being loud. Its gradient reaches x̂ only.

    Args:
        real: per scale the features of x, layer by layer.
        fake: the same of x̂.

    Source: Défossez et al. 2022, section 3.4.
    """
    parts = []
    for layers, theirs in zip(real, fake, strict=True):
        for x, x_hat in zip(layers, theirs, strict=True):
            goal = x.detach().float()
            size = goal.abs().mean().clamp_min(_SILENT)
            parts.append(F.l1_loss(x_hat.float(), goal) / size)
    return torch.stack(parts).mean()


def _pairs(real: Sequence[Tensor], fake: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(r.float(), f.float()) for r, f in zip(real, fake, strict=True)]
