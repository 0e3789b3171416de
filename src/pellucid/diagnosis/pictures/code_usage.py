"""How often each code is used, most used first, beside k-means with as many vectors.

Shape letters: M latent vectors, d channels, K codes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.pictures.thinning import curve, evenly
from pellucid.diagnosis.plot import Plot
from pellucid.diagnosis.probes.codes import LevelUse, code_use

VECTORS = 4096
"""Vectors assigned to the k-means codes: enough for a picture, a few milliseconds."""


def code_usage(case: Case) -> Plot | None:
    """Draw the level that leaves most unexplained against k-means."""
    uses = case.measure(code_use)
    codes = case.latent.codes
    if not uses or codes is None:
        return None
    level = max(range(len(uses)), key=lambda i: _lost(uses[i]))
    use = uses[level]
    columns = codes if len(uses) > 1 else codes.unsqueeze(-1)
    index = columns[..., level].flatten().long()
    index = index[index >= 0]
    own = _shares(index, use.size)
    series = [curve("this model", own)]
    reference = _kmeans_shares(case, columns.flatten(0, -2), uses, level)
    if reference is not None:
        series.append(curve("k-means on the same latents", reference, reference=True))
    where = f"level {level + 1} of {len(uses)}: " if len(uses) > 1 else ""
    return Plot(
        kind="bars" if use.size <= 64 else "lines",
        title=f"{where}use of the {use.size} codes, {use.used} ever used",
        x_label="code, by use",
        y_label="share of positions, %",
        series=tuple(series),
    )


def _lost(use: LevelUse) -> float:
    """Return how many times more variance is left than k-means leaves (0 where unknown)."""
    ratio = use.residual_share / max(use.kmeans_share, 1e-12)
    return ratio if ratio == ratio else 0.0


def _kmeans_shares(case: Case, codes_ML: Tensor, uses: list[LevelUse], level: int) -> Tensor | None:
    """Assign what the level received to its k-means codes; None where it cannot be known."""
    book = uses[level].kmeans_book
    if book is None or level > len(case.subject.codebooks):
        return None
    mean = case.latent.mean
    vectors = mean.movedim(1, -1).reshape(-1, mean.shape[1]).float()
    if len(vectors) != len(codes_ML):
        return None
    kept = evenly(len(vectors), VECTORS)
    residual = vectors[kept]
    for before in range(level):
        own = case.subject.codebooks[before].detach().float().cpu()
        residual = residual - own[codes_ML[kept, before].long()]
    nearest = torch.cdist(residual, book).argmin(1)
    return _shares(nearest, uses[level].size)


def _shares(index_M: Tensor, size: int) -> Tensor:
    """Return (K,) shares in per cent, largest first."""
    counts = torch.bincount(index_M, minlength=size).double()
    return 100 * counts.sort(descending=True).values / max(1, len(index_M))
