"""The null bottleneck: everything passes, nothing is charged."""

from __future__ import annotations

from torch import Tensor

from pellucid.bottlenecks.checks import check_features
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.errors import PellucidError
from pellucid.records import Latent


class Identity(Bottleneck):
    """Pass features through unchanged: a plain autoencoder, and the rest's testing ground.

    Args:
        channels: channels expected from the encoder and handed to the decoder.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.out_channels = channels

    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        """Return the features as latents, without penalties; shapes in `Bottleneck`."""
        check_features(h_BCP, self.channels, where="Identity")
        return BottleneckOutput(h_BCP, Latent(mean=h_BCP), {}, {})

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Raise: there are no codes.

        Raises:
            PellucidError: always.
        """
        raise PellucidError(
            "an identity bottleneck has no codes",
            where="Identity.decode_codes",
            expected="a bottleneck with codes: vq, rvq or fsq",
            found=f"codes {tuple(codes.shape)}",
        )

    def code_space(self, h_BCP: Tensor) -> Tensor:
        """Return the features: code space is feature space."""
        return h_BCP

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        """Return the latents unchanged."""
        return z_BDP

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        """Return the gradient unchanged: the Jacobian is the identity."""
        return gradient_BCP
