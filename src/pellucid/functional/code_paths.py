"""Search several residual codebooks together: keep the best few partial sums, not the best one.

The nearest code of a level need not lead to the nearest sum. Keeping `beam` partial sums per vector
lowers the error of the sum at the same bits, and a decoder does not see the difference.

Source: Chen, Guan & Wang 2010, "Approximate nearest neighbor search by residual vector
quantization", section 3; Babenko & Lempitsky 2014, "Additive quantization", section 3.2.

Shape letters: N vectors, D dimensions, K codes, L levels, P partial sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.functional.nearest_code import CodeTable

_SCORES = 2**21
"""Most distances at a time: 8 MiB, which stay in the outer cache."""


def best_paths(
    z_ND: Tensor, tables: Sequence[CodeTable], vectors: Sequence[Tensor], beam: int
) -> Tensor:
    """Return (N, L) codes whose sum of vectors is near z, by beam search.

    The caller sees to it that products are done in full precision.

    Args:
        z_ND: (N, D) float32.
        tables: one codebook per level, as the search reads it, compared by distance.
        vectors: (K, D) of each level.
        beam: P, partial sums kept per vector; 1 is the search level by level.
    """
    rows = max(1, _SCORES // (beam * vectors[0].shape[0]))
    return torch.cat([_paths(part_ND, tables, vectors, beam) for part_ND in z_ND.split(rows)])


def _paths(
    z_ND: Tensor, tables: Sequence[CodeTable], vectors: Sequence[Tensor], beam: int
) -> Tensor:
    count = len(z_ND)
    left_NPD = z_ND[:, None]
    codes_NPl = torch.zeros(count, 1, 0, dtype=torch.int64, device=z_ND.device)
    for table, vectors_KD in zip(tables, vectors, strict=True):
        codes = len(vectors_KD)
        distances_NR = _distances(left_NPD.flatten(0, 1), table).view(count, -1)
        kept = min(beam, distances_NR.shape[1])
        best_NP = distances_NR.topk(kept, dim=1, largest=False).indices
        parents_NP, new_NP = best_NP // codes, best_NP % codes
        left_NPD = _rows(left_NPD, parents_NP) - F.embedding(new_NP, vectors_KD)
        codes_NPl = torch.cat([_rows(codes_NPl, parents_NP), new_NP[..., None]], dim=2)
    return codes_NPl[:, 0]  # sorted: the first sum is the nearest


def _distances(left_MD: Tensor, table: CodeTable) -> Tensor:
    """Return (M, K) half squared distances."""
    keys_MD = left_MD - table.origin_D
    keys_ME = F.pad(keys_MD, (0, 1), value=1.0)
    half_M1 = 0.5 * keys_MD.square().sum(1, keepdim=True)
    return torch.addmm(half_M1, keys_ME, table.queries_KE.t(), alpha=-1)


def _rows(values_NPX: Tensor, index_NP: Tensor) -> Tensor:
    """Return values at index_NP along P."""
    return values_NPX.gather(1, index_NP[..., None].expand(-1, -1, values_NPX.shape[2]))
