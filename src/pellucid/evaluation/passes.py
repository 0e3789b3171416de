"""One pass of a model over held-out samples, measuring everything on the way.

No loader is used: creating one draws from the global random state, which an evaluation leaves
alone.

Shape letters: B batch, C channels, H height, W width, P positions, N samples, D elements.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.evaluation.protocol import Protocol, Steps
from pellucid.functional.value_range import ValueRange
from pellucid.metrics.codes import CodeUsage
from pellucid.metrics.latent import GaussianRate
from pellucid.metrics.paired import PairedImages
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


@dataclasses.dataclass
class Pass:
    """Accumulate what a pass over the set measures.

    Args:
        value_range: of the samples.
    """

    value_range: ValueRange
    paired: PairedImages = dataclasses.field(init=False)
    usage: CodeUsage | None = None
    rate: GaussianRate | None = None
    positions: int = 0
    latent_shape: tuple[int, ...] = ()
    samples: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    labels: list[int] = dataclasses.field(default_factory=list)
    colourless: list[bool] = dataclasses.field(default_factory=list)
    variance: ElementVariance = dataclasses.field(default_factory=lambda: ElementVariance())

    def __post_init__(self) -> None:
        self.paired = PairedImages(self.value_range)
        self.samples = {key: [] for key in ("index", "name", "group", "digest", "mse")}

    def update(
        self, batch: Batch, x_hat_BCHW: Tensor, latent: Latent, bits_per_position: float | None
    ) -> None:
        """Measure one batch."""
        target = batch.target.to(x_hat_BCHW.device)
        self.paired.update(x_hat_BCHW, target, batch.groups)
        error_B = (x_hat_BCHW - target).square().flatten(1).double().mean(1)
        self.samples["mse"] += error_B.tolist()
        self.samples["index"] += batch.indices
        self.samples["group"] += batch.groups
        self.samples["digest"] += [
            _digest(image) for image in self.value_range.to_uint8(batch.target)
        ]
        self.labels += batch.labels or []
        self.colourless += _colourless(batch.target, self.value_range).tolist()
        self.variance.update(batch.target)
        self.latent_shape = tuple(latent.mean.shape[1:])
        if latent.codes is not None and bits_per_position is not None:
            self._count(latent.codes, latent.mean.dim() - 2, bits_per_position)
        elif latent.logvar is not None:
            self.rate = self.rate or GaussianRate()
            self.rate.update(latent.mean.float(), latent.logvar.float(), batch.groups)

    def _count(self, codes: Tensor, position_axes: int, bits_per_position: float) -> None:
        """Count codes; an axis beyond the positions holds residual levels of equal size."""
        levels = codes.shape[-1] if codes.dim() - 1 > position_axes else 1
        if self.usage is None:
            self.usage = CodeUsage(round(2 ** (bits_per_position / levels)), levels)
        self.usage.update(codes)
        self.positions = codes[0].numel() // levels


class ElementVariance:
    """Accumulate Var(x) around the mean sample, per element, averaged over elements."""

    def __init__(self) -> None:
        self._n = 0
        self._sum_D: Tensor | None = None
        self._sum_squares = 0.0

    def update(self, x_BCHW: Tensor) -> None:
        """Add a batch."""
        x_BD = x_BCHW.flatten(1).double().cpu()
        self._sum_D = x_BD.sum(0) if self._sum_D is None else self._sum_D + x_BD.sum(0)
        self._sum_squares += float(x_BD.square().sum())
        self._n += len(x_BD)

    def value(self) -> float:
        """Return the unbiased variance (N − 1), N ≥ 2."""
        assert self._sum_D is not None
        around_mean = self._sum_squares - float(self._sum_D.square().sum()) / self._n
        return max(0.0, around_mean) / (self._n - 1) / self._sum_D.numel()


def sweep(
    reconstruct: Reconstructor,
    dataset: Any,
    indices: Sequence[int],
    protocol: Protocol,
    steps: Steps,
) -> Pass:
    """Run the model over the samples at `indices` and measure.

    Args:
        reconstruct: the model.
        dataset: map-style, items {"x", "target", "group"[, "label"]}; `name(index)` is used
            where it has one.
        indices: which samples.
        protocol: of the evaluation.
        steps: advanced by the samples done.
    """
    result = Pass(protocol.value_range)
    bits = reconstruct.autoencoder.bottleneck.bits_per_position
    for batch in batches(dataset, indices, protocol.batch_size):
        x_hat, latent = reconstruct(batch.x)
        result.update(batch, x_hat, latent, bits)
        steps.advance(len(batch.indices))
    named = getattr(dataset, "name", None)
    result.samples["name"] = [
        named(i) if callable(named) else f"sample {i}" for i in result.samples["index"]
    ]
    for name, values in result.paired.per_image.items():
        result.samples[name] = np.round(values, 6).tolist()
    return result


def _digest(image: Tensor) -> str:
    return hashlib.blake2b(image.cpu().numpy().tobytes(), digest_size=8).hexdigest()


def _colourless(x_BCHW: Tensor, value_range: ValueRange) -> Tensor:
    """Return (B,) whether the channels of each 8-bit image are equal."""
    levels = value_range.to_uint8(x_BCHW)
    return (levels == levels[:, :1]).flatten(1).all(1)
