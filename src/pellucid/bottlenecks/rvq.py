"""Residual vector quantisation: several codebooks, each coding what the ones before left over.

Shape letters: B batch, C encoder channels, D code dimensions, P positions (zero or more axes),
N = B·P rows, K codes, L levels.
"""

from __future__ import annotations

import math
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
from pellucid.bottlenecks.coded import coded_output, projected, projections
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.bottlenecks.residual import (
    draw_levels,
    quantisation_metrics,
    quantise,
    search_levels,
)
from pellucid.bottlenecks.rows import from_rows, to_rows
from pellucid.functional.straight_through import Estimator, check_estimator, declared_vjp, through


class RVQ(Bottleneck):
    """Sum one code per level (Zeghidour et al. 2021, algorithm 1); several bit rates in one model.

    There is one straight-through on the sum, so the encoder's gradient does not grow with the
    number of levels, and all penalties are averages over levels. Penalties as in `VQ`.

    Args:
        channels: channels expected from the encoder and handed to the decoder.
        levels: number of codebooks L.
        codes: size K of each.
        dim: code dimensions; linear maps lead there and back. None: codes live in feature space.
        cosine: search by direction (codes keep their length, so that residuals shrink).
        beam: partial sums that the search keeps per vector when the model codes; more find nearer
            sums at the same bits, and take longer. Training searches level by level.
        dropout: share of training samples that use only their first n levels, n uniform in 1…L
            (Kumar et al. 2023, section 3.2); their codes beyond are −1.
        update, decay, commitment, codebook_weight, orthogonality, usage_entropy,
        usage_temperature, init, kmeans_iterations, restart_threshold, estimator: as in `VQ`.

    Raises:
        RecipeError: when an argument is out of range.
    """

    estimator: Estimator

    def __init__(
        self,
        channels: int,
        *,
        levels: int = 8,
        codes: int = 1024,
        dim: int | None = None,
        cosine: bool = False,
        beam: int = 1,
        dropout: float = 0.0,
        update: Literal["ema", "gradient"] = "ema",
        decay: float = 0.9,
        commitment: float = 0.25,
        codebook_weight: float = 1.0,
        orthogonality: float | None = None,
        usage_entropy: float | None = None,
        usage_temperature: float = 0.25,
        init: Literal["kmeans", "normal"] = "kmeans",
        kmeans_iterations: int = 10,
        restart_threshold: float | None = None,
        estimator: Literal["straight-through", "rotation"] = "straight-through",
    ) -> None:
        super().__init__()
        check_residual_arguments("RVQ", levels, dropout)
        rules = {
            "beam": (beam >= 1, "an integer ≥ 1", beam),
            "cosine": (
                not cosine or beam == 1,
                "false with a beam: paths compare distances",
                cosine,
            ),
        }
        check_arguments("RVQ", rules)
        self.channels = self.out_channels = channels
        self.levels = self.residual_levels = levels
        self.codes = self.codebook_size = codes
        self.beam, self.dropout = beam, dropout
        self.estimator = check_estimator(estimator)
        self.in_projection, self.out_projection = projections(channels, dim)
        self.codebooks = nn.ModuleList(
            Codebook(
                codes,
                channels if dim is None else dim,
                cosine=cosine,
                update=update,
                decay=decay,
                init=init,
                kmeans_iterations=kmeans_iterations,
                restart_threshold=restart_threshold,
            )
            for _ in range(levels)
        )
        self.bits_per_position = levels * math.log2(codes)
        self.weights = PenaltyWeights(
            update=update,
            commitment=commitment,
            codebook=codebook_weight,
            orthogonality=orthogonality,
            usage_entropy=usage_entropy,
            usage_temperature=usage_temperature,
        )

    def forward(self, h_BCP: Tensor, *, levels: int | None = None) -> BottleneckOutput:
        """Return the sum of each position's codes; learn the codebooks in train mode.

        Args:
            h_BCP: (B, channels, P...) features.
            levels: quantise with the first n levels only; None takes all, or in train mode as many
                as `dropout` draws.

        Raises:
            PellucidError: for other shapes, or a number of levels outside 1…L.
        """
        check_features(h_BCP, self.channels, where="RVQ")
        codebooks = self.first(levels)
        with torch.autocast(h_BCP.device.type, enabled=False):
            z_ND = self.in_projection(to_rows(h_BCP).float())
            dropout = self.dropout if self.training and levels is None else 0.0
            used_N = draw_levels(h_BCP, self.levels, dropout)
            beam = 1 if self.training else self.beam
            found = quantise(z_ND, codebooks, learn=self.training, used_N=used_N, beam=beam)
            q_ND = through(z_ND, found.vectors, self.estimator)
            quantized_NC, mean_NC = self.out_projection(q_ND), self.out_projection(z_ND)
            penalties = codebook_penalties(z_ND, codebooks, found, self.weights)
        return coded_output(
            h_BCP,
            mean_NC=mean_NC,
            quantized_NC=quantized_NC,
            codes=found.codes,
            penalties=penalties,
            metrics=quantisation_metrics(z_ND, found),
        )

    @torch.no_grad()
    def encode_codes(self, h_BCP: Tensor, *, levels: int | None = None) -> Tensor:
        """Return the codes (B, P..., n) that `forward` gives in eval mode, and nothing else.

        Args:
            h_BCP: (B, channels, P...) features.
            levels: as in `forward`.

        Raises:
            PellucidError: as `forward` does.
        """
        codebooks = self.first(levels)
        codes_NL = search_levels(to_rows(self.code_space(h_BCP)), codebooks, self.beam)
        return codes_NL.view(h_BCP.shape[0], *h_BCP.shape[2:], len(codebooks))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return (B, channels, P...) for codes (B, P..., n) of the first n ≤ L levels.

        Fewer levels are a lower bit rate; −1 stands for a level that was not sent.

        Raises:
            PellucidError: when a code is not an integer in [−1, K), or there are too many levels.
        """
        check_residual_codes(codes, self.codes, self.levels, where="RVQ.decode_codes")
        total = 0.0
        for codebook, level in zip(self.first(codes.shape[-1]), codes.unbind(-1), strict=True):
            total = total + codebook.lookup(level.clamp(min=0)) * (level >= 0).unsqueeze(-1)
        return self.out_projection(total).movedim(-1, 1)

    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return (B, D, P...) in-projected features."""
        check_features(h_BCP, self.channels, where="RVQ")
        return projected(h_BCP, self.in_projection)

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return the sum of all levels' codes (B, D, P...) for code-space values."""
        z_ND = to_rows(z_BDP)
        return from_rows(through(z_ND, self._quantise_all(z_ND), self.estimator), z_BDP)

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return Jᵀ·gradient: once the identity, or the rotation of z to the sum."""
        z_ND = to_rows(z_BCP)
        vjp_ND = declared_vjp(z_ND, self._quantise_all(z_ND), to_rows(gradient_BCP), self.estimator)
        return from_rows(vjp_ND, z_BCP)

    def _quantise_all(self, z_ND: Tensor) -> Tensor:
        beam = 1 if self.training else self.beam
        return quantise(z_ND, self.first(None), learn=False, beam=beam).vectors

    def first(self, levels: int | None) -> list[Codebook]:
        """Return the codebooks of the first levels; None means all.

        Raises:
            PellucidError: when there are not so many.
        """
        levels = check_levels(levels, self.levels, where="RVQ")
        return list(self.codebooks)[:levels]  # type: ignore[arg-type]
