"""Residual vector quantisation whose levels each look for codes in a small space of their own.

Shape letters: B batch, C encoder channels, D code dimensions, P positions (zero or more axes),
N = B·P rows, K codes, L levels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from pellucid.bottlenecks.checks import (
    check_arguments,
    check_features,
    check_levels,
    check_residual_arguments,
    check_residual_codes,
)
from pellucid.bottlenecks.codebook import Codebook
from pellucid.bottlenecks.codebook_penalties import PenaltyWeights, codebook_penalties
from pellucid.bottlenecks.coded import coded_output
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.bottlenecks.residual import Quantised, draw_levels, quantise
from pellucid.bottlenecks.rows import from_rows, to_rows
from pellucid.functional.code_statistics import perplexity, usage
from pellucid.functional.straight_through import through
from pellucid.records import Penalty


class Level(nn.Module):
    """Code what is left over: r ↦ W_out·c(W_in·r).

    Args:
        channels: C.
        codebook: its K vectors of D numbers.
    """

    def __init__(self, channels: int, codebook: Codebook) -> None:
        super().__init__()
        self.in_projection = nn.Linear(channels, codebook.dim)
        self.codebook = codebook
        self.out_projection = nn.Linear(codebook.dim, channels)


@dataclasses.dataclass(frozen=True)
class _Coded:
    """Rows after all levels.

    Args:
        quantized: (N, C) sum of the levels that a row uses, with its gradient path.
        unquantized: (N, C) the same sum with nothing rounded.
        levels: per level, its rows before quantisation (N, D) and what became of them.
    """

    quantized: Tensor
    unquantized: Tensor
    levels: list[tuple[Tensor, Quantised]]


class FactorisedRVQ(Bottleneck):
    """Sum one code per level, each found in D ≪ C dimensions (Kumar et al. 2023, section 3.2).

    q = Σ_l W_out,l·c_l, with r_1 = h, r_{l+1} = r_l − W_out,l·c_l and c_l the code nearest to
    W_in,l·r_l. Every level has maps of its own: with `RVQ(dim=8)` all levels together could say
    no more than eight numbers. Each level is straight-through in its own space, so that the
    gradient to h is that of I − Π_l (I − W_out,l·W_in,l): it does not grow with the levels.

    Penalties as in `VQ`, averaged over levels, in the levels' own spaces.

    Args:
        channels: channels expected from the encoder and handed to the decoder.
        levels: number of levels L.
        codes: size K of each codebook.
        dim: D.
        cosine: search by direction; codes keep their length, so that they say how loud it is.
        dropout: share of training samples that use only their first n levels, n uniform in 1…L;
            their codes beyond are −1. Every level still learns from all samples.
        update, decay, commitment, codebook_weight, init, kmeans_iterations, restart_threshold: as
            in `VQ`.

    Raises:
        RecipeError: when an argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        levels: int = 12,
        codes: int = 1024,
        dim: int = 8,
        cosine: bool = True,
        dropout: float = 0.5,
        update: Literal["ema", "gradient"] = "gradient",
        decay: float = 0.9,
        commitment: float = 0.25,
        codebook_weight: float = 1.0,
        init: Literal["kmeans", "normal"] = "kmeans",
        kmeans_iterations: int = 10,
        restart_threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_residual_arguments("FactorisedRVQ", levels, dropout)
        fits = 1 <= dim <= channels
        check_arguments("FactorisedRVQ", {"dim": (fits, f"1 … {channels}, the channels", dim)})
        self.channels = self.out_channels = channels
        self.residual_levels, self.codebook_size, self.dropout = levels, codes, dropout
        self.bits_per_position = levels * math.log2(codes)
        self.levels = nn.ModuleList(
            Level(
                channels,
                Codebook(
                    codes,
                    dim,
                    cosine=cosine,
                    update=update,
                    decay=decay,
                    init=init,
                    kmeans_iterations=kmeans_iterations,
                    restart_threshold=restart_threshold,
                ),
            )
            for _ in range(levels)
        )
        self.weights = PenaltyWeights(
            update=update,
            commitment=commitment,
            codebook=codebook_weight,
            orthogonality=None,
            usage_entropy=None,
            usage_temperature=1.0,
        )

    def forward(self, h_BCP: Tensor, *, levels: int | None = None) -> BottleneckOutput:
        """Return the sum of each position's levels; learn the codebooks in train mode.

        Args:
            h_BCP: (B, channels, P...) features.
            levels: quantise with the first n levels only; None takes all, or in train mode as many
                as `dropout` draws.

        Raises:
            PellucidError: for other shapes, or a number of levels outside 1…L.
        """
        check_features(h_BCP, self.channels, where="FactorisedRVQ")
        chosen = self._first(levels)
        with torch.autocast(h_BCP.device.type, enabled=False):
            h_NC = to_rows(h_BCP).float()
            dropout = self.dropout if self.training and levels is None else 0.0
            used_N = draw_levels(h_BCP, len(self.levels), dropout)
            coded = self._code(h_NC, chosen, learn=self.training, used_N=used_N)
            penalties = self._penalties(coded, chosen)
        codes_NL = torch.cat([found.codes for _, found in coded.levels], dim=1)
        if used_N is not None:
            level_L = torch.arange(len(chosen), device=codes_NL.device)
            codes_NL = codes_NL.where(level_L < used_N[:, None], -1)
        return coded_output(
            h_BCP,
            mean_NC=coded.unquantized,
            quantized_NC=coded.quantized,
            codes=codes_NL,
            penalties=penalties,
            metrics=_metrics(coded),
        )

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return (B, channels, P...) for codes (B, P..., n) of the first n ≤ L levels.

        Fewer levels are a lower bit rate; −1 stands for a level that was not sent.

        Raises:
            PellucidError: when a code is not an integer in [−1, K), or there are too many levels.
        """
        where = "FactorisedRVQ.decode_codes"
        check_residual_codes(codes, self.codebook_size or 0, len(self.levels), where=where)
        total = 0.0
        for level, codes_l in zip(self._first(codes.shape[-1]), codes.unbind(-1), strict=True):
            vectors = level.out_projection(level.codebook.lookup(codes_l.clamp(min=0)))
            total = total + vectors * (codes_l >= 0).unsqueeze(-1)
        return total.movedim(-1, 1)  # type: ignore[union-attr]

    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return the features: the levels' own spaces lie inside the quantiser."""
        check_features(h_BCP, self.channels, where="FactorisedRVQ")
        return h_BCP.float()

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return the sum of all levels (B, C, P...) for features."""
        return from_rows(
            self._code(to_rows(z_BDP), self._first(None), learn=False).quantized, z_BDP
        )

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return Jᵀ·gradient with J = I − Π_l (I − W_out,l·W_in,l)."""
        gradient_NC = to_rows(gradient_BCP)
        left_NC = gradient_NC
        for level in reversed(self._first(None)):
            inner_ND = left_NC @ level.out_projection.weight
            left_NC = left_NC - inner_ND @ level.in_projection.weight
        return from_rows(gradient_NC - left_NC, z_BCP)

    def _code(
        self,
        h_NC: Tensor,
        chosen: Sequence[Level],
        *,
        learn: bool,
        used_N: Tensor | None = None,
    ) -> _Coded:
        left_NC, plain_NC = h_NC, h_NC
        total_NC = torch.zeros_like(h_NC)
        levels = []
        for index, level in enumerate(chosen):
            z_ND = level.in_projection(left_NC)
            found = quantise(z_ND, [level.codebook], learn=learn)
            part_NC = level.out_projection(through(z_ND, found.vectors))
            left_NC = left_NC - part_NC
            plain_NC = plain_NC - level.out_projection(level.in_projection(plain_NC))
            total_NC = total_NC + (
                part_NC if used_N is None else part_NC * (used_N > index)[:, None]
            )
            levels.append((z_ND, found))
        return _Coded(total_NC, h_NC - plain_NC, levels)

    def _penalties(self, coded: _Coded, chosen: Sequence[Level]) -> dict[str, Penalty]:
        """Average each penalty over the levels."""
        each = [
            codebook_penalties(z_ND, [level.codebook], found, self.weights)
            for level, (z_ND, found) in zip(chosen, coded.levels, strict=True)
        ]
        return {
            name: Penalty(torch.stack([p[name].value for p in each]).mean(), one.weight, one.unit)
            for name, one in each[0].items()
        }

    def _first(self, levels: int | None) -> list[Level]:
        count = check_levels(levels, len(self.levels), where="FactorisedRVQ")
        return list(self.levels)[:count]  # type: ignore[arg-type]


def _metrics(coded: _Coded) -> dict[str, Tensor]:
    """Return use of the codes per level, and how much of the features rounding changed."""
    counts_LK = torch.cat([found.counts for _, found in coded.levels])
    plain_NC, quantized_NC = coded.unquantized.detach(), coded.quantized.detach()
    variance = torch.linalg.vector_norm(plain_NC - plain_NC.mean(dim=0)).square()
    error = torch.linalg.vector_norm(plain_NC - quantized_NC).square()
    perplexity_L, usage_L = perplexity(counts_LK), usage(counts_LK)
    return {
        "perplexity": perplexity_L.mean(),
        "usage": usage_L.mean(),
        "quantisation_error_ratio": error / variance.clamp(min=1e-12 * plain_NC.numel()),
        "latent_rms": torch.linalg.vector_norm(plain_NC) / plain_NC.numel() ** 0.5,
        "perplexity_per_level": perplexity_L,
        "usage_per_level": usage_L,
    }
