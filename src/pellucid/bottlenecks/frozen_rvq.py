"""A residual quantiser that has stopped learning: what it needs for coding, prepared once.

A live codec quantises one position every few milliseconds, where preparing twelve codebooks for
the search, and all that training wants to know besides, cost far more than the search.

Shape letters: C encoder channels, D code dimensions, N positions, K codes, L levels, R = L·K + 1.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.bottlenecks.checks import check_codes, check_levels
from pellucid.bottlenecks.rvq import RVQ
from pellucid.functional.code_paths import best_paths
from pellucid.functional.nearest_code import CodeTable, full_precision


class FrozenRVQ:
    """Code rows as `RVQ` does in eval mode, with the weights it has now.

    Args:
        rvq: what it learns later is not seen here.
    """

    @torch.no_grad()
    def __init__(self, rvq: RVQ) -> None:
        self.levels, self.codes, self.beam = rvq.levels, rvq.codes, rvq.beam
        self.in_projection = copy.deepcopy(rvq.in_projection).requires_grad_(False)
        self.out_projection = copy.deepcopy(rvq.out_projection).requires_grad_(False)
        codebooks = rvq.first(None)
        self.vectors = [codebook.table().float().clone() for codebook in codebooks]
        self.tables = [CodeTable.of(c.table(), cosine=c.cosine) for c in codebooks]
        # All levels in one table; its last row stands for a level that was not sent.
        self.rows_RD = torch.cat([*self.vectors, torch.zeros_like(self.vectors[0][:1])])
        self.starts_L = torch.arange(self.levels, device=self.rows_RD.device) * self.codes

    @torch.inference_mode()
    def encode(self, h_NC: Tensor, levels: int | None = None) -> Tensor:
        """Return the codes (N, n) of the first n levels; None takes all.

        Raises:
            PellucidError: for a number of levels outside 1…L.
        """
        levels = check_levels(levels, self.levels, where="FrozenRVQ")
        left_ND = self.in_projection(h_NC.float())
        codes = []
        with full_precision(h_NC.device.type):
            if self.beam > 1:
                return best_paths(left_ND, self.tables[:levels], self.vectors[:levels], self.beam)
            for table, vectors_KD in zip(self.tables[:levels], self.vectors, strict=False):
                codes.append(table.search(left_ND))
                left_ND = left_ND - F.embedding(codes[-1], vectors_KD)
        return torch.stack(codes, 1)

    @torch.inference_mode()
    def decode(self, codes_NL: Tensor) -> Tensor:
        """Return (N, C) of codes of the first levels; −1 stands for a level that was not sent.

        Raises:
            PellucidError: when a code is not an integer in [−1, K), or there are too many levels.
        """
        check_codes(codes_NL, self.codes, where="FrozenRVQ", lowest=-1)
        levels = check_levels(codes_NL.shape[1], self.levels, where="FrozenRVQ")
        rows_NL = codes_NL + self.starts_L[:levels]
        rows_NL = rows_NL.masked_fill_(codes_NL < 0, len(self.rows_RD) - 1)
        return self.out_projection(F.embedding(rows_NL, self.rows_RD).sum(1))
