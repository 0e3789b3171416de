"""Quantise rows level by level, each level what is left over; VQ is the one-level case.

The loop keeps no graph. The caller puts *one* straight-through on the sum, and the commitment
penalty's gradient is known in closed form, so the encoder gets its gradient once however many
levels there are.

Shape letters: N rows, D dimensions, K codes, L levels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pellucid.bottlenecks.codebook import Codebook
from pellucid.functional.code_paths import best_paths
from pellucid.functional.code_statistics import CodeSums, code_counts, perplexity, usage
from pellucid.functional.nearest_code import CodeTable, full_precision


@dataclasses.dataclass(frozen=True)
class Quantised:
    """Rows after quantisation; nothing here carries a gradient.

    Args:
        vectors: (N, D) sum of the chosen vectors over each row's levels.
        codes: (N, L) int64; −1 where a row does without the level.
        remainder: (N, D) what was left after a level, averaged over each row's levels.
        commitment: scalar mean square of what was left, averaged over levels and elements.
        errors: (L,) mean square of what is left after each level, over all rows.
        counts: (L, K) how many rows chose each code, over all rows.
        sums: per level, counts and sums of the rows that chose each code; empty unless learning.
    """

    vectors: Tensor
    codes: Tensor
    remainder: Tensor
    commitment: Tensor
    errors: Tensor
    counts: Tensor
    sums: tuple[CodeSums, ...]


@torch.no_grad()
def quantise(
    z_ND: Tensor,
    codebooks: Iterable[Codebook],
    *,
    learn: bool,
    used_N: Tensor | None = None,
    beam: int = 1,
) -> Quantised:
    """Search level after level, and let the codebooks learn when asked to.

    Args:
        z_ND: (N, D) float32 rows.
        codebooks: one per level.
        learn: initialise, restart and update codebook statistics; codebooks in eval mode, which
            a second stage of training freezes, never do.
        used_N: (N,) how many levels each row's sum takes, ≥ 1; None takes all. Every level still
            learns from all rows.
        beam: partial sums that the search keeps per row; 1 while learning.
    """
    codebooks = list(codebooks)
    learn = learn and all(codebook.training for codebook in codebooks)
    left_ND = z_ND.detach()
    vectors_ND, remainder_ND = torch.zeros_like(left_ND), torch.zeros_like(left_ND)
    squares_N = left_ND.new_zeros(left_ND.shape[0])
    codes, errors, counts, sums = [], [], [], []
    paths_NL = search_levels(left_ND, codebooks, beam) if beam > 1 else None
    for level, codebook in enumerate(codebooks):
        if learn:
            codebook.prepare(left_ND)
        codes_N = codebook.search(left_ND) if paths_NL is None else paths_NL[:, level]
        chosen_ND = codebook.lookup(codes_N)
        if learn:
            sums.append(codebook.observe(left_ND, codes_N))
        counts.append(sums[-1].counts if learn else code_counts(codes_N, codebook.codes))
        left_ND = left_ND - chosen_ND
        square_N = torch.linalg.vector_norm(left_ND, dim=1).square()
        errors.append(square_N.mean() / z_ND.shape[1])
        if used_N is None:
            vectors_ND += chosen_ND
            remainder_ND += left_ND
            squares_N += square_N
        else:
            uses_N = used_N > level
            codes_N = codes_N.where(uses_N, -1)
            vectors_ND += chosen_ND * uses_N[:, None]
            remainder_ND += left_ND * uses_N[:, None]
            squares_N += square_N * uses_N
        codes.append(codes_N)
    levels = len(codes) if used_N is None else used_N.float()
    return Quantised(
        vectors=vectors_ND,
        codes=torch.stack(codes, dim=1),
        remainder=remainder_ND / (levels if used_N is None else used_N[:, None]),
        commitment=(squares_N / levels).mean() / z_ND.shape[1],
        errors=torch.stack(errors),
        counts=torch.stack(counts),
        sums=tuple(sums),
    )


@torch.no_grad()
def search_levels(z_ND: Tensor, codebooks: Sequence[Codebook], beam: int) -> Tensor:
    """Return the (N, L) codes of float32 rows: level by level, or the best of `beam` paths."""
    if beam > 1:
        tables = [CodeTable.of(codebook.table()) for codebook in codebooks]
        with full_precision(z_ND.device.type):
            return best_paths(z_ND, tables, [codebook.table() for codebook in codebooks], beam)
    codes = []
    for codebook in codebooks:
        codes.append(codebook.search(z_ND))
        z_ND = z_ND - codebook.lookup(codes[-1])
    return torch.stack(codes, -1)


def draw_levels(h_BCP: Tensor, levels: int, dropout: float) -> Tensor | None:
    """Return (N,) how many levels each row uses, one draw per sample; None when none drops any.

    Args:
        h_BCP: (B, C, P...) features, N = B·P rows.
        levels: L.
        dropout: probability that a sample uses only its first n levels, n uniform in 1…L.
    """
    if dropout == 0:
        return None
    batch, device = h_BCP.shape[0], h_BCP.device
    drawn_B = torch.randint(1, levels + 1, (batch,), device=device)
    drops_B = torch.rand(batch, device=device) < dropout
    return torch.where(drops_B, drawn_B, levels).repeat_interleave(math.prod(h_BCP.shape[2:]))


def quantisation_metrics(z_ND: Tensor, found: Quantised) -> dict[str, Tensor]:
    """Return batch perplexity, usage, quantisation error E‖z − q‖²/Var(z), and the RMS of z.

    With several levels perplexity and usage are averages, and the per-level numbers stand beside.
    """
    z_ND = z_ND.detach()
    # Not z.var(dim=0): along rows it takes as long as the search.
    variance = torch.linalg.vector_norm(z_ND - z_ND.mean(dim=0)).square() / z_ND.numel()
    variance = variance.clamp(min=1e-12)
    perplexity_L, usage_L = perplexity(found.counts), usage(found.counts)
    metrics = {
        "perplexity": perplexity_L.mean(),
        "usage": usage_L.mean(),
        "quantisation_error_ratio": (z_ND - found.vectors).square().mean() / variance,
        "latent_rms": torch.linalg.vector_norm(z_ND) / z_ND.numel() ** 0.5,
    }
    if len(perplexity_L) > 1:
        metrics["perplexity_per_level"] = perplexity_L
        metrics["usage_per_level"] = usage_L
        metrics["quantisation_error_ratio_per_level"] = found.errors / variance
    return metrics
