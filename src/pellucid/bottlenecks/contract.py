"""What every bottleneck promises: one output type, one base, one declared Jacobian.

Shape letters: B batch, C channels, P positions (zero or more axes), L residual levels.
"""

from __future__ import annotations

import abc
import dataclasses

from torch import Tensor, nn

from pellucid.records import Latent, Penalty


@dataclasses.dataclass(frozen=True)
class BottleneckOutput:
    """What a bottleneck returns for one batch.

    Args:
        z: (B, out_channels, P...) what the decoder receives, with its gradient path.
        latent: the same batch as a detachable record (mean, logvar, codes, quantized).
        penalties: named differentiable scalars, each with its weight and unit.
        metrics: named detached scalars or small tensors for the log, units in the name.
    """

    z: Tensor
    latent: Latent
    penalties: dict[str, Penalty]
    metrics: dict[str, Tensor]


class Bottleneck(nn.Module, abc.ABC):
    """Base of all bottlenecks: encoder features in, decoder latents out.

    Attributes:
        channels: channels expected from the encoder.
        out_channels: channels handed to the decoder.
        bits_per_position: bits one position costs (Σ log₂K), or None for continuous latents.
        codebook_size: K, how many codes there are (per level), or None for continuous latents.
        residual_levels: L where codes end in an axis of levels, and `forward` and `decode_codes`
            take fewer; None where a position has one code or none.
    """

    channels: int
    out_channels: int
    bits_per_position: float | None = None
    codebook_size: int | None = None
    residual_levels: int | None = None

    @abc.abstractmethod
    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        """Pass (B, channels, P...) through; in train mode sample and learn statistics."""

    @abc.abstractmethod
    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return (B, out_channels, P...) for integer codes (B, P...[, L]).

        Raises:
            PellucidError: when the bottleneck has no codes, or a code is out of range.
        """

    @abc.abstractmethod
    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return Jᵀ·gradient for the straight-through Jacobian J this bottleneck declares.

        Both tensors live in code space (after in-projection, before out-projection), shaped as
        `code_space(h)` returns them. Plain straight-through returns `gradient` unchanged.
        """

    @abc.abstractmethod
    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return the quantiser's own input for encoder features: (B, D, P...)."""

    @abc.abstractmethod
    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return the quantiser's own output for its own input, with its gradient path."""

    def at_step(self, step: int) -> None:
        """Set schedules to optimiser step `step`; called before every training step."""
