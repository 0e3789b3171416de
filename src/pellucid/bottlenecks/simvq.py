"""SimVQ: fixed random vectors seen through one learned linear map.

Shape letters: B batch, C encoder channels, D code dimensions, P positions (zero or more axes),
N = B·P rows, K codes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.bottlenecks.checks import check_arguments, check_codes, check_features
from pellucid.bottlenecks.coded import code_metrics, coded_output, projected, projections
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.bottlenecks.rows import from_rows, to_rows
from pellucid.functional.nearest_code import nearest_code
from pellucid.functional.straight_through import Estimator, check_estimator, declared_vjp, through
from pellucid.records import Penalty


class SimVQ(Bottleneck):
    """Quantise to the nearest of c_k = W·e_k, with fixed random e_k and a learned W.

    A gradient to one code moves W and with it every code, so none is left behind and the codebook
    does not collapse. Penalties, means over elements: "commitment" ‖z − sg(c)‖² and "codebook"
    ‖sg(z) − c‖².

    Source: Zhu et al. 2024, "Addressing representation collapse in vector quantized models with one
    linear layer", section 4.

    Args:
        channels: channels expected from the encoder and handed to the decoder.
        codes: codebook size K.
        dim: code dimensions; linear maps lead there and back. None: codes live in feature space.
        commitment: weight of the commitment penalty; 0 observes.
        codebook_weight: weight of the codebook penalty.
        estimator: gradient through the quantiser: "straight-through" or the "rotation" trick.

    Raises:
        RecipeError: when an argument is out of range.
    """

    fixed: Tensor
    estimator: Estimator

    def __init__(
        self,
        channels: int,
        *,
        codes: int = 512,
        dim: int | None = None,
        commitment: float = 0.25,
        codebook_weight: float = 1.0,
        estimator: Literal["straight-through", "rotation"] = "straight-through",
    ) -> None:
        super().__init__()
        rules = {
            "codes": (codes >= 2, "an integer ≥ 2", codes),
            "dim": (dim is None or dim >= 1, "an integer ≥ 1, or null", dim),
            "commitment": (commitment >= 0, "≥ 0", commitment),
            "codebook_weight": (codebook_weight > 0, "> 0: nothing else moves the codes", 0),
        }
        check_arguments("SimVQ", rules)
        self.channels = self.out_channels = channels
        self.codes = self.codebook_size = codes
        self.bits_per_position = math.log2(codes)
        self.commitment, self.codebook_weight = commitment, codebook_weight
        self.estimator = check_estimator(estimator)
        self.in_projection, self.out_projection = projections(channels, dim)
        width = channels if dim is None else dim
        self.register_buffer("fixed", torch.randn(codes, width) * width**-0.5)
        self.codebook_map = nn.Linear(width, width, bias=False)

    def table(self) -> Tensor:
        """Return the (K, D) vectors that the codes stand for."""
        return self.codebook_map(self.fixed)

    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        """Return the nearest codes' vectors; shapes in `Bottleneck`."""
        check_features(h_BCP, self.channels, where="SimVQ")
        with torch.autocast(h_BCP.device.type, enabled=False):
            z_ND = self.in_projection(to_rows(h_BCP).float())
            table_KD = self.table()
            codes_N = nearest_code(z_ND.detach(), table_KD.detach())
            chosen_ND = F.embedding(codes_N, table_KD)
            q_ND = through(z_ND, chosen_ND.detach(), self.estimator)
            quantized_NC, mean_NC = self.out_projection(q_ND), self.out_projection(z_ND)
            pull = (z_ND - chosen_ND.detach()).square().mean()
            push = (z_ND.detach() - chosen_ND).square().mean()
        return coded_output(
            h_BCP,
            mean_NC=mean_NC,
            quantized_NC=quantized_NC,
            codes=codes_N,
            penalties={
                "commitment": Penalty(pull, self.commitment, "mean squared latent"),
                "codebook": Penalty(push, self.codebook_weight, "mean squared latent"),
            },
            metrics=code_metrics(z_ND.detach(), chosen_ND.detach(), codes_N, self.codes),
        )

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return (B, channels, P...) for codes (B, P...).

        Raises:
            PellucidError: when a code is not an integer in [0, K).
        """
        check_codes(codes, self.codes, where="SimVQ.decode_codes")
        return self.out_projection(F.embedding(codes.long(), self.table())).movedim(-1, 1)

    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return (B, D, P...) in-projected features."""
        check_features(h_BCP, self.channels, where="SimVQ")
        return projected(h_BCP, self.in_projection)

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return the nearest codes' vectors (B, D, P...) of code-space values."""
        z_ND = to_rows(z_BDP)
        return from_rows(through(z_ND, self._nearest(z_ND), self.estimator), z_BDP)

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return Jᵀ·gradient: the identity or the rotation."""
        z_ND = to_rows(z_BCP)
        vjp_ND = declared_vjp(z_ND, self._nearest(z_ND), to_rows(gradient_BCP), self.estimator)
        return from_rows(vjp_ND, z_BCP)

    @torch.no_grad()
    def _nearest(self, z_ND: Tensor) -> Tensor:
        table_KD = self.table()
        return table_KD[nearest_code(z_ND, table_KD)]
