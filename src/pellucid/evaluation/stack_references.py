"""References of stacks, fitted on training tiles: the mean, PCA of tiles, PCA of patches.

They work on the standardised values that fidelity is judged on, whatever the model works on: the
best a linear model can do there at the stated count of numbers.

Shape letters: N tiles, C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.data.stacks.normalisers import Chain
from pellucid.references.tile_pca import TilePCA


@dataclasses.dataclass(frozen=True)
class Judge:
    """Bring a model's values to those that fidelity is judged on: arcsinh(counts / cofactor).

    R² and correlation do not change under a further scale and offset per channel, so models
    normalised in different ways are comparable there, raw ones included.

    Args:
        chain: of the model.
        cofactor: in counts; None judges on the counts themselves.
    """

    chain: Chain
    cofactor: float | None

    def counts(self, y_NCHW: Tensor, scale_NC: Tensor | None) -> Tensor:
        """Return model values in the unit of the data."""
        return self.chain.inverse(y_NCHW, scale_NC)

    def __call__(self, counts_NCHW: Tensor) -> Tensor:
        """Return what is judged."""
        if self.cofactor is None:
            return counts_NCHW
        return torch.asinh(counts_NCHW / self.cofactor)

    @property
    def words(self) -> str:
        """Say what is judged."""
        if self.cofactor is None:
            return "counts"
        return f"arcsinh(counts / {self.cofactor:g})"


@dataclasses.dataclass(frozen=True)
class FittedReferences:
    """References by name, and the scale they work in.

    Args:
        mean_C: of the judged training values.
        std_C: likewise.
        pca: name → fitted PCA.
        nonzero_C: share of training pixels that are not zero.
        tiles: training tiles they were fitted on.
    """

    mean_C: Tensor
    std_C: Tensor
    pca: dict[str, TilePCA]
    nonzero_C: np.ndarray
    tiles: int

    def reconstruct(self, judged_NCHW: Tensor) -> dict[str, Tensor]:
        """Return every reference's answer to judged values."""
        mean, std = (v.view(1, -1, 1, 1) for v in (self.mean_C, self.std_C))
        standard = (judged_NCHW - mean) / std
        found = {"mean": mean.expand_as(judged_NCHW)}
        for name, pca in self.pca.items():
            found[name] = pca.reconstruct(standard) * std + mean
        return found

    def told(self, name: str) -> tuple[str, int]:
        """Return what a reference is, in words, and its numbers per tile."""
        if name == "mean":
            return f"mean of every marker over {self.tiles} training tiles", 0
        return self.pca[name].note, self.pca[name].numbers


def training_tiles(train_set: Any, count: int) -> Tensor:
    """Return up to `count` raw training tiles (N, C, H, W), augmented as in training."""
    own = len(train_set)
    return torch.from_numpy(
        np.stack([train_set.raw(i % own, i // own) for i in range(max(2, count))])
    )


def fit_references(
    counts_NCHW: Tensor, judge: Judge, *, numbers: Sequence[int], own: int, stride: int
) -> FittedReferences:
    """Fit PCA at every count of numbers, at the model's own, and of patches at its stride.

    Args:
        counts_NCHW: training tiles in the unit of the data.
        judge: what is judged.
        numbers: per tile.
        own: of the model.
        stride: of the model.
    """
    judged = judge(counts_NCHW)
    mean = judged.mean((0, 2, 3))
    std = judged.std((0, 2, 3)).clamp_min(1e-6)
    standard = (judged - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
    most = min(len(standard) - 1, standard[0].numel())
    pca = {f"pca-{n}": TilePCA.fit(standard, min(n, most)) for n in sorted({*numbers, own})}
    positions = (standard.shape[2] // stride) * (standard.shape[3] // stride)
    if stride < standard.shape[2] and own >= positions:
        pca[f"patch-pca-{own}"] = TilePCA.fit(standard, own, stride)
    nonzero = (counts_NCHW != 0).float().mean((0, 2, 3)).numpy()
    return FittedReferences(mean, std, pca, nonzero, len(standard))
