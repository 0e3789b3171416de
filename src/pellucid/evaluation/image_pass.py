"""One pass of a model over held-out images, measuring everything on the way.

Shape letters: B batch, C channels, H height, W width, D elements.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pellucid.evaluation.latent_cost import LatentCost
from pellucid.evaluation.passes import Batch, Reconstructor, batches
from pellucid.evaluation.protocol import Protocol, Steps
from pellucid.functional.value_range import ValueRange
from pellucid.metrics.paired import PairedImages
from pellucid.records import Latent


@dataclasses.dataclass
class Pass:
    """Accumulate what a pass over the set measures.

    Args:
        value_range: of the samples.
        latent: nothing counted yet.
    """

    value_range: ValueRange
    latent: LatentCost
    paired: PairedImages = dataclasses.field(init=False)
    samples: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    labels: list[int] = dataclasses.field(default_factory=list)
    colourless: list[bool] = dataclasses.field(default_factory=list)
    variance: ElementVariance = dataclasses.field(default_factory=lambda: ElementVariance())

    def __post_init__(self) -> None:
        self.paired = PairedImages(self.value_range)
        self.samples = {key: [] for key in ("index", "name", "group", "digest", "mse")}

    def update(self, batch: Batch, x_hat_BCHW: Tensor, latent: Latent) -> None:
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
        self.latent.update(latent, batch.groups)


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
    bits = reconstruct.autoencoder.bottleneck.bits_per_position
    result = Pass(protocol.value_range, LatentCost(bits))
    for batch in batches(dataset, indices, protocol.batch_size):
        x_hat, latent = reconstruct(batch.x)
        result.update(batch, x_hat, latent)
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
