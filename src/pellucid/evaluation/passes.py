"""A model as deployed, and held-out samples in batches: what every pass over them needs.

No loader is used: creating one draws from the global random state, which an evaluation leaves
alone.

Shape letters: B batch, C channels, H height, W width, P positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.precision import Precision, autocast_for
from pellucid.records import Latent
from pellucid.references.samples import items


@dataclasses.dataclass(frozen=True)
class Batch:
    """Hold some held-out samples: x and target (B, C, H, W), and who they are."""

    x: Tensor
    target: Tensor
    indices: list[int]
    groups: list[str]
    labels: list[int] | None


def batches(dataset: Any, indices: Sequence[int], batch_size: int) -> Iterator[Batch]:
    """Yield the samples at `indices`, in order.

    Raises:
        DataError: when samples of a batch differ in shape.
    """
    for start in range(0, len(indices), batch_size):
        chosen = list(indices[start : start + batch_size])
        found = items(dataset, chosen)
        shapes = {tuple(item["x"].shape) for item in found}
        if len(shapes) > 1:
            raise DataError("held-out samples differ in shape", found=sorted(shapes)[:4])
        yield Batch(
            x=torch.stack([item["x"] for item in found]),
            target=torch.stack([item["target"] for item in found]),
            indices=chosen,
            groups=[str(item["group"]) for item in found],
            labels=[int(item["label"]) for item in found] if "label" in found[0] else None,
        )


class Reconstructor:
    """Run an autoencoder as deployed: evaluation mode, no gradients, stated precision.

    Args:
        autoencoder: left as it was found, modes included.
        precision: "float32", "bf16" or "auto".
    """

    def __init__(self, autoencoder: Autoencoder, precision: Precision) -> None:
        self.autoencoder = autoencoder
        self.precision: Precision = precision
        parameter = next(autoencoder.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device

    @torch.no_grad()
    def __call__(self, x_BCHW: Tensor) -> tuple[Tensor, Latent]:
        """Return x̂ (float32) and the latent of a batch."""
        with autocast_for(self.device, self.precision):
            latent = self.autoencoder.encode(x_BCHW.to(self.device))
            return self.autoencoder.decode(latent).float(), latent

    @torch.no_grad()
    def decode(self, z_BCP: Tensor) -> Tensor:
        """Return x̂ (float32) of latents."""
        with autocast_for(self.device, self.precision):
            return self.autoencoder.decode(z_BCP.to(self.device)).float()

    @torch.no_grad()
    def numbers(self, latent_shape: tuple[int, ...]) -> int:
        """Count the numbers per sample of a latent (C, P...).

        They are counted where the bottleneck quantises, after its own in-projection: that is the
        size a linear model has to match.
        """
        bottleneck = self.autoencoder.bottleneck
        h = torch.zeros(1, bottleneck.channels, *latent_shape[1:], device=self.device)
        return bottleneck.code_space(h)[0].numel()
