"""Frozen results that travel between rooms.

Shape letters: B batch, C channels, P positions (any number of axes), L residual levels.
Latents are channels-first (B, C, P...); codes are (B, P...) with residual levels last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Latent:
    """What an encoder says about a batch.

    Args:
        mean: (B, C, P...) the latent before sampling or quantisation, in the decoder's space.
        logvar: (B, C, P...) log-variance in nats of a Gaussian posterior, or None.
        codes: (B, P...[, L]) integer codes, or None.
        quantized: (B, C, P...) what the decoder receives when codes are used, or None.
        pose: what a permuter did to the input, (B, 8), (B, slots, nodes) or (B, 2, 2), or None;
            side information that puts x̂ back into the input's order.
        told: what the decoder is told of the input and nothing codes, e.g. where its cells lie, or
            None.
    """

    mean: Tensor
    logvar: Tensor | None = None
    codes: Tensor | None = None
    quantized: Tensor | None = None
    pose: Tensor | None = None
    told: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Penalty:
    """A differentiable scalar that a bottleneck asks the objective to minimise.

    Args:
        value: scalar, before weighting; its unit is stated by `unit`.
        weight: its multiplier; 0 means observe.
        unit: e.g. "nats per sample", "mean squared latent".
    """

    value: Tensor
    weight: float
    unit: str


@dataclasses.dataclass(frozen=True)
class TermValue:
    """One term of an objective, measured on one batch (value and weighted are scalars)."""

    value: Tensor
    weight: float
    weighted: Tensor


@dataclasses.dataclass(frozen=True)
class MetricValue:
    """One evaluated number with its interval and the convention it was measured under.

    Args:
        value: the number.
        unit: e.g. "dB", "bits per pixel", "1" for a ratio.
        low: lower end of the 95 % interval, or None where there is none.
        high: upper end, or None.
        n: how many independent samples (or groups) stand behind it.
        convention: range, window, rounding, averaging: whatever changes the number.
    """

    value: float
    unit: str
    low: float | None
    high: float | None
    n: int
    convention: str

    def to_json(self) -> dict[str, Any]:
        """Return the plain dictionary written to evaluation.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, node: Mapping[str, Any]) -> MetricValue:
        """Read what `to_json` wrote."""
        return cls(**node)
