"""References of cells, fitted on training cells: the mean, PCA of cells, and the window's own mean.

They work on the standardised values that fidelity is judged on. A window of n cells costs a PCA of
cells k·n numbers, so k is chosen to cost what the model's latent costs at the mean n.

Shape letters: E cells, C markers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.evaluation.stack_references import Judge
from pellucid.references.principal import PrincipalAxes, principal_axes

WINDOW = "window-mean"


@dataclasses.dataclass(frozen=True)
class CellReferences:
    """References by name, and the scale they work in.

    Args:
        mean_C: of the judged training values.
        std_C: likewise.
        pca: name → axes over markers.
        nonzero_C: share of training cells that are not zero.
        cells: training cells they were fitted on.
        fair: name of the one with as many numbers as the model, or "" where that is every marker.
    """

    mean_C: Tensor
    std_C: Tensor
    pca: Mapping[str, PrincipalAxes]
    nonzero_C: np.ndarray
    cells: int
    fair: str

    def reconstruct(self, judged_EC: Tensor, sizes: Sequence[int]) -> dict[str, Tensor]:
        """Return every reference's answer to judged cells of windows of these sizes."""
        standard = (judged_EC - self.mean_C) / self.std_C
        found = {"mean": self.mean_C.expand_as(judged_EC)}
        for name, axes in self.pca.items():
            found[name] = axes.reconstruct(standard) * self.std_C + self.mean_C
        parts = judged_EC.split(list(sizes))
        found[WINDOW] = torch.cat([part.mean(0, keepdim=True).expand_as(part) for part in parts])
        return found

    def told(self, name: str) -> tuple[str, int]:
        """Return what a reference is, and its numbers: per cell, or of the window's mean."""
        if name == "mean":
            return f"mean of every marker over {self.cells} training cells", 0
        if name == WINDOW:
            return "every cell answered by the mean of its window, all markers", len(self.mean_C)
        kept = len(self.pca[name].axes)
        return f"PCA of cells: {kept} numbers per cell, fitted on {self.cells} of train", kept


def fit_cell_references(
    counts_EC: Tensor, judge: Judge, *, numbers: Sequence[int], per_cell: float
) -> CellReferences:
    """Fit PCA at every count of numbers per cell, and at the model's own.

    Args:
        counts_EC: training cells in the unit of the data.
        judge: what is judged.
        numbers: per cell; those that are no fewer than the markers are left out.
        per_cell: numbers of the model's latent over the cells of a window.
    """
    judged = judge(counts_EC)
    mean = judged.mean(0)
    std = judged.std(0, correction=0).clamp_min(1e-6)
    own = max(1, round(per_cell))
    most = min(len(judged) - 1, judged.shape[1] - 1)
    kept = sorted({n for n in (*numbers, own) if 1 <= n <= most})
    standard = (judged - mean) / std
    return CellReferences(
        mean,
        std,
        {f"cell-pca-{n}": principal_axes(standard, n) for n in kept},
        (counts_EC != 0).float().mean(0).numpy(),
        len(judged),
        f"cell-pca-{own}" if own <= most else "",
    )
