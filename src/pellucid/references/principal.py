"""Principal axes of a matrix, exact, by whichever of covariance or Gram matrix is smaller.

Shape letters: N rows (samples or patches), D columns (elements), K axes kept.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

_CHUNK = 4096
"""Rows or columns turned to float64 at a time, so that memory stays near the input's own."""


@dataclasses.dataclass(frozen=True)
class PrincipalAxes:
    """Hold the mean, the leading axes and the spectrum of the population covariance (1/N).

    Args:
        mean: (D,) float32.
        axes: (K, D) float32, orthonormal rows, largest variance first.
        eigenvalues: (min(N, D),) float64, all of them, largest first.
        rows: N, how many rows they were computed from.
    """

    mean: Tensor
    axes: Tensor
    eigenvalues: Tensor
    rows: int

    def coordinates(self, x_ND: Tensor) -> Tensor:
        """Return (N, K) coordinates along the axes."""
        return (x_ND - self.mean) @ self.axes.T

    def reconstruct(self, x_ND: Tensor, gain_K: Tensor | None = None) -> Tensor:
        """Return (N, D): mean + Σ gain·coordinate·axis (gain 1 when not given)."""
        coordinates_NK = self.coordinates(x_ND)
        if gain_K is not None:
            coordinates_NK = coordinates_NK * gain_K.to(coordinates_NK)
        return coordinates_NK @ self.axes + self.mean


def principal_axes(x_ND: Tensor, keep: int) -> PrincipalAxes:
    """Diagonalise the covariance of the rows of `x_ND` and keep the `keep` leading axes.

    Sums run in float64. Axes whose variance is below 1e-12 of the first are rounding noise and
    are not kept, so K may be smaller than `keep`.

    Args:
        x_ND: (N, D) float32, N ≥ 1.
        keep: K, at most min(N, D) are found.
    """
    n_rows, n_columns = x_ND.shape
    mean_D = torch.cat([chunk.double().mean(0) for chunk in x_ND.split(_CHUNK, dim=1)])
    if n_columns <= n_rows:
        return _from_covariance(x_ND, mean_D, keep)
    return _from_gram(x_ND, mean_D, keep)


def _from_covariance(x_ND: Tensor, mean_D: Tensor, keep: int) -> PrincipalAxes:
    covariance_DD = x_ND.new_zeros(x_ND.shape[1], x_ND.shape[1], dtype=torch.float64)
    for rows in x_ND.split(_CHUNK):
        centred = rows.double() - mean_D
        covariance_DD.addmm_(centred.T, centred)
    eigenvalues, vectors_DD = _descending(covariance_DD / len(x_ND))
    keep = min(keep, _rank(eigenvalues))
    axes_KD = vectors_DD[:, :keep].T.float().contiguous()
    return PrincipalAxes(mean_D.float(), axes_KD, eigenvalues, len(x_ND))


def _from_gram(x_ND: Tensor, mean_D: Tensor, keep: int) -> PrincipalAxes:
    n_rows = len(x_ND)
    gram_NN = x_ND.new_zeros(n_rows, n_rows, dtype=torch.float64)
    chunks = list(zip(x_ND.split(_CHUNK, dim=1), mean_D.split(_CHUNK), strict=True))
    for columns, mean in chunks:
        centred = columns.double() - mean
        gram_NN.addmm_(centred, centred.T)
    eigenvalues, vectors_NN = _descending(gram_NN / n_rows)
    keep = min(keep, _rank(eigenvalues))
    scaled_KN = (vectors_NN[:, :keep] / (n_rows * eigenvalues[:keep]).sqrt()).T
    axes = [(scaled_KN @ (columns.double() - mean)).float() for columns, mean in chunks]
    return PrincipalAxes(mean_D.float(), torch.cat(axes, dim=1), eigenvalues, n_rows)


def _descending(matrix: Tensor) -> tuple[Tensor, Tensor]:
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    return eigenvalues.flip(0).clamp_min(0), vectors.flip(1)


def _rank(eigenvalues: Tensor) -> int:
    if eigenvalues[0] <= 0:
        return 0
    return int((eigenvalues > 1e-12 * eigenvalues[0]).sum())
