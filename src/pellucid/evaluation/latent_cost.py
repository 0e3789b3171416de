"""What latents cost, counted over a pass: use of codes, or a Gaussian's rate.

Shape letters: B batch, P positions, L residual levels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pellucid.metrics.codes import CodeUsage
from pellucid.metrics.latent import GaussianRate
from pellucid.records import Latent

_SORTED = 1024  # dimensions whose KL is written


class LatentCost:
    """Accumulate the codes or the posteriors of a model's latents.

    Args:
        bits_per_position: of the bottleneck; None where there are no codes.
    """

    def __init__(self, bits_per_position: float | None) -> None:
        self.bits_per_position = bits_per_position
        self.usage: CodeUsage | None = None
        self.rate: GaussianRate | None = None
        self.positions = 0
        self.shape: tuple[int, ...] = ()

    def update(self, latent: Latent, groups: list[str]) -> None:
        """Count one batch."""
        self.shape = tuple(latent.mean.shape[1:])
        if latent.codes is not None and self.bits_per_position is not None:
            self._count(latent.codes, latent.mean.dim() - 2, self.bits_per_position)
        elif latent.logvar is not None:
            self.rate = self.rate or GaussianRate()
            self.rate.update(latent.mean.float(), latent.logvar.float(), groups)

    def _count(self, codes: Tensor, position_axes: int, bits_per_position: float) -> None:
        """Count codes; an axis beyond the positions holds residual levels of equal size."""
        levels = codes.shape[-1] if codes.dim() - 1 > position_axes else 1
        if self.usage is None:
            self.usage = CodeUsage(round(2 ** (bits_per_position / levels)), levels)
        self.usage.update(codes)
        self.positions = codes[0].numel() // levels

    def codes_json(self) -> dict[str, Any]:
        """Return the use of every level's codes, or {} without codes."""
        return {} if self.usage is None else {"levels": self.usage.per_level()}

    def to_json(self, numbers: int, *, resamples: int, seed: int) -> dict[str, Any]:
        """Return the latent's shape, its numbers per sample, and a Gaussian's rate.

        Args:
            numbers: per sample, as `Reconstructor.numbers` counts them.
            resamples: of the bootstrap.
            seed: of the bootstrap.
        """
        node: dict[str, Any] = {"shape": list(self.shape), "numbers": numbers}
        if self.rate is not None:
            found = self.rate.compute(resamples=resamples, seed=seed)
            node.update({name: value.to_json() for name, value in found.items()})
            per_dimension = self.rate.kl_per_dimension.sort(descending=True).values
            node["kl_sorted_nats"] = [round(v, 5) for v in per_dimension[:_SORTED].tolist()]
        return node
