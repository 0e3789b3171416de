"""Statistics of the whole batch, however many processes share it.

Without an initialised process group everything here is the plain single-process computation; with
one, every process computes the same numbers that one process would with the concatenated batch.
Shape letters: N vectors of this process, D dimensions, K codes.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from pellucid.functional.code_statistics import CodeSums
from pellucid.functional.kmeans import spread_rows


def processes() -> int:
    """Return how many processes share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def total_sums(sums: CodeSums) -> CodeSums:
    """Add counts and sums over the processes, in one message."""
    if processes() == 1:
        return sums
    packed = torch.cat([sums.sums, sums.counts[:, None]], dim=1)
    dist.all_reduce(packed)
    return CodeSums(packed[:, -1].contiguous(), packed[:, :-1].contiguous())


def total_rows(z_ND: Tensor) -> int | Tensor:
    """Return how many vectors all processes hold together."""
    return z_ND.shape[0] if processes() == 1 else _rows_per_process(z_ND).sum()


def draw_rows(z_ND: Tensor, k: int, step: int | Tensor) -> Tensor:
    """Return (k, D) vectors spread evenly over the whole batch, the same on every process.

    Args:
        z_ND: (N, D) this process's vectors; N may differ between processes.
        k: how many to draw.
        step: draws at different steps differ.
    """
    if processes() == 1:
        return z_ND[spread_rows(z_ND.shape[0], k, step, z_ND.device)]
    rows_R = _rows_per_process(z_ND)
    wanted_K = spread_rows(rows_R.sum(), k, step, z_ND.device)
    local_K = wanted_K - rows_R[: dist.get_rank()].sum()
    mine_K = (local_K >= 0) & (local_K < z_ND.shape[0])
    drawn_KD = z_ND[local_K.clamp(0, z_ND.shape[0] - 1)] * mine_K[:, None]
    dist.all_reduce(drawn_KD)  # exactly one process adds a row that is not zero
    return drawn_KD


def _rows_per_process(z_ND: Tensor) -> Tensor:
    """Return (processes,) int64 numbers of vectors, without reading back from a GPU."""
    rows_R = torch.zeros(processes(), dtype=torch.int64, device=z_ND.device)
    rows_R[dist.get_rank()] = z_ND.shape[0]
    dist.all_reduce(rows_R)
    return rows_R
