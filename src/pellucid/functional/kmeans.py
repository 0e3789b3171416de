"""Lloyd's k-means on float32 vectors, on one process or summed over several.

Shape letters: N vectors, D dimensions, K codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.functional.code_statistics import CodeSums, code_sums
from pellucid.functional.nearest_code import nearest_code


@dataclasses.dataclass(frozen=True)
class KMeans:
    """A fitted codebook.

    Args:
        vectors: (K, D) float32 centres.
        counts: (K,) float32 vectors that were nearest to each centre in the last assignment.
    """

    vectors: Tensor
    counts: Tensor


def spread_rows(n: int | Tensor, k: int, step: int | Tensor, device: torch.device) -> Tensor:
    """Return K row numbers in [0, n), spread evenly, different at every step.

    Row i of step s is ⌊n · frac((s·K + i)·φ)⌋, φ the golden ratio, in 32-bit integers: the same on
    every process and device, without a random state to save and without reading back from a GPU.
    Rows repeat only when n < 2.24·K (the three-distance theorem).
    """
    sequence_K = torch.arange(k, device=device, dtype=torch.int64) + step * k
    return ((sequence_K * 0x9E3779B9) & 0xFFFFFFFF) * n >> 32


def kmeans(
    z_ND: Tensor,
    k: int,
    *,
    iterations: int = 10,
    cosine: bool = False,
    unit: bool = False,
    draw: Callable[[Tensor, int, int], Tensor] | None = None,
    total: Callable[[CodeSums], CodeSums] | None = None,
) -> KMeans:
    """Fit K centres by Lloyd's algorithm, moving empty centres onto vectors at every iteration.

    Args:
        z_ND: (N, D) vectors (this process's part of them).
        k: number of centres; may exceed N, in which case some centres repeat.
        iterations: assignments and updates.
        cosine: assign by direction.
        unit: normalise the centres after each update (spherical k-means).
        draw: (z_ND, k, step) -> (k, D) vectors to start from; default evenly spread rows.
        total: sums statistics over processes; default this process alone.

    Returns:
        Centres and how many vectors each holds.
    """
    draw = draw or _draw_here
    z_ND = z_ND.detach().float()
    vectors_KD = draw(z_ND, k, 0)
    counts_K = vectors_KD.new_ones(k)
    for iteration in range(1, iterations + 1):
        sums = code_sums(z_ND, nearest_code(z_ND, vectors_KD, cosine=cosine), k)
        sums = total(sums) if total else sums
        counts_K = sums.counts
        means_KD = sums.sums / counts_K.clamp(min=1)[:, None]
        last = iteration == iterations
        empty_KD = vectors_KD if last else draw(z_ND, k, iteration)
        vectors_KD = torch.where(counts_K[:, None] > 0, means_KD, empty_KD)
        if unit:
            vectors_KD = F.normalize(vectors_KD, dim=1)
    return KMeans(vectors_KD, counts_K)


def _draw_here(z_ND: Tensor, k: int, step: int) -> Tensor:
    return z_ND[spread_rows(z_ND.shape[0], k, step, z_ND.device)]
