"""Binary spherical quantisation: directions, and the sign of every dimension is a bit.

Shape letters: B batch, C encoder channels, D bits, P positions (zero or more axes), N = B·P rows,
K = 2^D codes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.bottlenecks.checks import check_arguments, check_codes, check_features
from pellucid.bottlenecks.coded import code_metrics, coded_output, projected, projections
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.bottlenecks.lfq import MOST_BITS
from pellucid.bottlenecks.rows import from_rows, to_rows
from pellucid.functional.binary import bit_entropy_gap, bits_to_codes, codes_to_bits, sign
from pellucid.functional.straight_through import through, unit_vjp
from pellucid.records import Penalty


class BSQ(Bottleneck):
    """Project to the unit sphere, u = z/‖z‖, and quantise to the corner q = sign(u)/√D.

    The quantisation error is bounded, so there is no commitment. The penalty "bit_entropy" is that
    of LFQ with bits that are sure at |u| ~ T/√D. The Jacobian declared is that of z ↦ u, behind a
    plain straight-through.

    Source: Zhao et al. 2024, "Image and video tokenization with binary spherical quantization",
    section 3.2.

    Args:
        channels: channels expected from the encoder and handed to the decoder; when they differ
            from `bits`, linear maps lead in and out.
        bits: D; the codebook has 2^D codes.
        bit_entropy: weight of the entropy penalty; 0 observes.
        temperature: softness of the bits in it, in units of 1/√D.

    Raises:
        RecipeError: when an argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        bits: int = 9,
        bit_entropy: float = 0.1,
        temperature: float = 0.25,
    ) -> None:
        super().__init__()
        rules = {
            "bits": (2 <= bits <= MOST_BITS, f"2 … {MOST_BITS}", bits),
            "bit_entropy": (bit_entropy >= 0, "≥ 0", bit_entropy),
            "temperature": (temperature > 0, "> 0", temperature),
        }
        check_arguments("BSQ", rules)
        self.channels = self.out_channels = channels
        self.bits, self.codes = bits, 2**bits
        self.codebook_size = self.codes
        self.bits_per_position = float(bits)
        self.bit_entropy, self.temperature = bit_entropy, temperature
        dim = None if channels == bits else bits
        self.in_projection, self.out_projection = projections(channels, dim)

    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        """Return corners of the cube inside the sphere as latents; shapes in `Bottleneck`."""
        check_features(h_BCP, self.channels, where="BSQ")
        with torch.autocast(h_BCP.device.type, enabled=False):
            u_ND = F.normalize(self.in_projection(to_rows(h_BCP).float()), dim=1)
            q_ND = sign(u_ND.detach()) * self._side
            codes_N = bits_to_codes(q_ND)
            mean_NC = self.out_projection(u_ND)
            quantized_NC = self.out_projection(through(u_ND, q_ND))
            gap = bit_entropy_gap(u_ND, self.temperature * self._side)
        return coded_output(
            h_BCP,
            mean_NC=mean_NC,
            quantized_NC=quantized_NC,
            codes=codes_N,
            penalties={"bit_entropy": Penalty(gap, self.bit_entropy, "bits per bit")},
            metrics=code_metrics(u_ND.detach(), q_ND, codes_N, self.codes),
        )

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return (B, channels, P...) for codes (B, P...).

        Raises:
            PellucidError: when a code is not an integer in [0, 2^bits).
        """
        check_codes(codes, self.codes, where="BSQ.decode_codes")
        q_BPD = codes_to_bits(codes, self.bits) * self._side
        return self.out_projection(q_BPD).movedim(-1, 1)

    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return (B, D, P...) in-projected features, before the sphere."""
        check_features(h_BCP, self.channels, where="BSQ")
        return projected(h_BCP, self.in_projection)

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return the corner nearest to the direction of code-space values."""
        u_BDP = F.normalize(z_BDP, dim=1)
        return through(u_BDP, sign(u_BDP.detach()) * self._side)

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return the tangent projector of the sphere applied to the gradient."""
        return from_rows(unit_vjp(to_rows(z_BCP), to_rows(gradient_BCP)), z_BCP)

    @property
    def _side(self) -> float:
        """Half the side of the cube whose corners lie on the unit sphere."""
        return self.bits**-0.5
