"""Look-up-free quantisation: the sign of every dimension is a bit of the code.

Shape letters: B batch, C encoder channels, D bits, P positions (zero or more axes), N = B·P rows,
K = 2^D codes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.bottlenecks.checks import check_arguments, check_codes, check_features
from pellucid.bottlenecks.coded import code_metrics, coded_output, projected, projections
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.bottlenecks.rows import to_rows
from pellucid.functional.binary import bit_entropy_gap, bits_to_codes, codes_to_bits, sign
from pellucid.functional.straight_through import through
from pellucid.records import Penalty

MOST_BITS = 20
"""Use of 2^20 codes is still counted one by one."""


class LFQ(Bottleneck):
    """Quantise to sign(z) with a straight-through gradient; no codebook to learn or to lose.

    Penalties: "commitment" mean (z − sign(z))²; "bit_entropy" mean_n H(p_n) − H(mean_n p_n) per bit
    in bits, −1 when every vector is sure and every bit even (Yu et al. 2023, eq. 5).

    Args:
        channels: channels expected from the encoder and handed to the decoder; when they differ
            from `bits`, linear maps lead in and out.
        bits: D; the codebook has 2^D codes.
        commitment: weight of the commitment penalty; 0 observes.
        bit_entropy: weight of the entropy penalty; 0 observes.
        temperature: softness of the bits in it, in units of z.

    Raises:
        RecipeError: when an argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        bits: int = 9,
        commitment: float = 0.25,
        bit_entropy: float = 0.1,
        temperature: float = 0.25,
    ) -> None:
        super().__init__()
        rules = {
            "bits": (1 <= bits <= MOST_BITS, f"1 … {MOST_BITS}", bits),
            "commitment": (commitment >= 0, "≥ 0", commitment),
            "bit_entropy": (bit_entropy >= 0, "≥ 0", bit_entropy),
            "temperature": (temperature > 0, "> 0", temperature),
        }
        check_arguments("LFQ", rules)
        self.channels = self.out_channels = channels
        self.bits, self.codes = bits, 2**bits
        self.codebook_size = self.codes
        self.bits_per_position = float(bits)
        self.commitment, self.bit_entropy, self.temperature = commitment, bit_entropy, temperature
        dim = None if channels == bits else bits
        self.in_projection, self.out_projection = projections(channels, dim)

    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        """Return sign vectors as latents; shapes in `Bottleneck`."""
        check_features(h_BCP, self.channels, where="LFQ")
        with torch.autocast(h_BCP.device.type, enabled=False):
            z_ND = self.in_projection(to_rows(h_BCP).float())
            signs_ND = sign(z_ND.detach())
            codes_N = bits_to_codes(signs_ND)
            mean_NC = self.out_projection(z_ND)
            quantized_NC = self.out_projection(through(z_ND, signs_ND))
            penalties = {
                "commitment": Penalty(
                    (z_ND - signs_ND).square().mean(), self.commitment, "mean squared latent"
                ),
                "bit_entropy": Penalty(
                    bit_entropy_gap(z_ND, self.temperature), self.bit_entropy, "bits per bit"
                ),
            }
        return coded_output(
            h_BCP,
            mean_NC=mean_NC,
            quantized_NC=quantized_NC,
            codes=codes_N,
            penalties=penalties,
            metrics=code_metrics(z_ND.detach(), signs_ND, codes_N, self.codes),
        )

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return (B, channels, P...) for codes (B, P...).

        Raises:
            PellucidError: when a code is not an integer in [0, 2^bits).
        """
        check_codes(codes, self.codes, where="LFQ.decode_codes")
        return self.out_projection(codes_to_bits(codes, self.bits)).movedim(-1, 1)

    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return (B, D, P...) in-projected features."""
        check_features(h_BCP, self.channels, where="LFQ")
        return projected(h_BCP, self.in_projection)

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return the signs of code-space values."""
        return through(z_BDP, sign(z_BDP.detach()))

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return the gradient unchanged: plain straight-through."""
        return gradient_BCP
