"""Vector quantisation: one codebook, one code per position.

Shape letters: B batch, C encoder channels, D code dimensions, P positions (zero or more axes),
N = B·P rows, K codes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.bottlenecks.checks import check_codes, check_features
from pellucid.bottlenecks.codebook import Codebook
from pellucid.bottlenecks.codebook_penalties import PenaltyWeights, codebook_penalties
from pellucid.bottlenecks.coded import coded_output, projected, projections
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.bottlenecks.residual import quantisation_metrics, quantise
from pellucid.bottlenecks.rows import from_rows, to_rows
from pellucid.functional.straight_through import (
    Estimator,
    check_estimator,
    declared_vjp,
    through,
    unit_vjp,
)


class VQ(Bottleneck):
    """Replace every vector by its nearest code (van den Oord et al. 2017).

    Penalties, all means over elements: "commitment" ‖z − sg(c)‖² pulls the encoder to its codes;
    with update="gradient" "codebook" ‖sg(z) − c‖² pulls the codes to the encoder; "orthogonality"
    and "usage_entropy" appear when their weight is given.

    Args:
        channels: channels expected from the encoder and handed to the decoder.
        codes: codebook size K.
        dim: code dimensions; linear maps lead there and back. None: codes live in feature space.
        cosine: put features and codes on the unit sphere (Yu et al. 2021, section 3.2).
        update: who moves the codebook, an exponential moving average or the optimiser.
        decay: of the moving averages; 0.9 follows a moving encoder (measured: +0.2 dB over 0.99
            after 300 steps), larger values average out the noise of small batches.
        commitment: weight of the commitment penalty; 0 observes.
        codebook_weight: weight of the codebook penalty; read with update="gradient" only.
        orthogonality: weight of the mean squared cosine between codes; needs update="gradient".
            None leaves it out, 0 observes.
        usage_entropy: weight of the gap between the entropy of soft code use and ln K.
            None leaves it out, 0 observes.
        usage_temperature: softness of that use, in units of the spread of distances to the codes.
        init: k-means on the first training batch, or normal numbers.
        kmeans_iterations: of that start.
        restart_threshold: EMA count below which a code is moved onto a vector of the batch;
            None: a quarter of an even split; 0: never.
        estimator: gradient through the quantiser: "straight-through" or the "rotation" trick.

    Raises:
        RecipeError: when an argument is out of range.
    """

    estimator: Estimator

    def __init__(
        self,
        channels: int,
        *,
        codes: int = 512,
        dim: int | None = None,
        cosine: bool = False,
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
        self.channels = self.out_channels = channels
        self.cosine, self.estimator = cosine, check_estimator(estimator)
        self.in_projection, self.out_projection = projections(channels, dim)
        self.codebook = Codebook(
            codes,
            channels if dim is None else dim,
            cosine=cosine,
            unit=cosine,
            update=update,
            decay=decay,
            init=init,
            kmeans_iterations=kmeans_iterations,
            restart_threshold=restart_threshold,
        )
        self.codebook_size, self.bits_per_position = codes, math.log2(codes)
        self.weights = PenaltyWeights(
            update=update,
            commitment=commitment,
            codebook=codebook_weight,
            orthogonality=orthogonality,
            usage_entropy=usage_entropy,
            usage_temperature=usage_temperature,
        )

    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        """Return the nearest codes' vectors; learn the codebook in train mode."""
        check_features(h_BCP, self.channels, where="VQ")
        with torch.autocast(h_BCP.device.type, enabled=False):
            z_ND = self._on_sphere(self.in_projection(to_rows(h_BCP).float()))
            found = quantise(z_ND, [self.codebook], learn=self.training)
            q_ND = through(z_ND, found.vectors, self.estimator)
            quantized_NC, mean_NC = self.out_projection(q_ND), self.out_projection(z_ND)
            penalties = codebook_penalties(z_ND, [self.codebook], found, self.weights)
        return coded_output(
            h_BCP,
            mean_NC=mean_NC,
            quantized_NC=quantized_NC,
            codes=found.codes[:, 0],
            penalties=penalties,
            metrics=quantisation_metrics(z_ND, found),
        )

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return (B, channels, P...) for codes (B, P...).

        Raises:
            PellucidError: when a code is not an integer in [0, K).
        """
        check_codes(codes, self.codebook.codes, where="VQ.decode_codes")
        return self.out_projection(self.codebook.lookup(codes)).movedim(-1, 1)

    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return (B, D, P...) in-projected features, before they are put on the sphere."""
        check_features(h_BCP, self.channels, where="VQ")
        return projected(h_BCP, self.in_projection)

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return the nearest codes' vectors (B, D, P...) of code-space values."""
        z_ND = self._on_sphere(to_rows(z_BDP))
        found = quantise(z_ND, [self.codebook], learn=False)
        return from_rows(through(z_ND, found.vectors, self.estimator), z_BDP)

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return Jᵀ·gradient: identity or rotation, behind the tangent projector when cosine."""
        raw_ND = to_rows(z_BCP)
        z_ND = self._on_sphere(raw_ND)
        q_ND = quantise(z_ND, [self.codebook], learn=False).vectors
        vjp_ND = declared_vjp(z_ND, q_ND, to_rows(gradient_BCP), self.estimator)
        return from_rows(unit_vjp(raw_ND, vjp_ND) if self.cosine else vjp_ND, z_BCP)

    def _on_sphere(self, z_ND: Tensor) -> Tensor:
        return F.normalize(z_ND, dim=1) if self.cosine else z_ND
