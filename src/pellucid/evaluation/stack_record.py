"""The result of an evaluation of stacks, as written to evaluation.json."""

from __future__ import annotations

import dataclasses
from typing import Any

from pellucid.records import MetricValue


@dataclasses.dataclass(frozen=True)
class StackReference:
    """A reference measured on the same tiles.

    Args:
        metrics: as the model's.
        note: what it is, how it was fitted.
        numbers: per tile.
    """

    metrics: dict[str, MetricValue]
    note: str
    numbers: int

    def to_json(self) -> dict[str, Any]:
        """Return metrics, note and numbers side by side."""
        node: dict[str, Any] = {name: value.to_json() for name, value in self.metrics.items()}
        return {**node, "note": self.note, "numbers": self.numbers}


@dataclasses.dataclass(frozen=True)
class StackEvaluation:
    """Hold everything measured on one held-out split.

    Args:
        split: "test" or "validation".
        weights: which weights were evaluated.
        precision: in which the model computed.
        judged: the values that fidelity is judged on, in words.
        metrics: over live markers: r2, r2_worst_decile, pearson, cosine, gradient_error, r2_counts,
            masked_r2 where measured, and the cost in bits.
        markers: one node per fed channel: name, live, nonzero_train, nonzero_held_out, r2, r2_low,
            r2_high (live ones), pearson, gradient, r2_counts, references (name → R²), masked_r2.
        references: "mean", "pca-64", "pca-256", "pca-own", "patch-pca".
        differences: reference → metric → this model minus it, the same blocks drawn.
        latent: shape, numbers per tile, and a Gaussian's rate.
        codes: {"levels": …}, or empty.
        remarks: what else a reader must know.
        samples: columns over the tiles: index, name, group, digest, fvu. What `compare` pairs.
        kind: "stacks", or "cells" where windows of cells were measured.
    """

    split: str
    weights: str
    precision: str
    judged: str
    metrics: dict[str, MetricValue]
    markers: list[dict[str, Any]]
    references: dict[str, StackReference]
    differences: dict[str, dict[str, MetricValue]]
    latent: dict[str, Any]
    codes: dict[str, Any]
    remarks: tuple[str, ...]
    samples: dict[str, list[Any]]
    kind: str = "stacks"

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and numbers; "kind" tells what was measured."""
        node = dataclasses.asdict(self)
        node["references"] = {name: one.to_json() for name, one in self.references.items()}
        return node
