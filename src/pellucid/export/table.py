"""Features of many samples with all that is needed to use them rightly.

Shape letters: N samples, D numbers, C channels, P positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pellucid.errors import RunError
from pellucid.models.layers import Layer

VERSION = 1


@dataclasses.dataclass(frozen=True)
class Ragged:
    """Maps of different sizes, one after another.

    Args:
        values: (total,) float32.
        shapes: (N, axes) of each map.
    """

    values: np.ndarray
    shapes: np.ndarray

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> np.ndarray:
        sizes = self.shapes.prod(axis=1)
        start = int(sizes[: range(len(self))[index]].sum())
        shape = tuple(self.shapes[index].tolist())
        return np.asarray(self.values[start : start + int(np.prod(shape))]).reshape(shape)


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Hold one row per sample, and which model, layers and pooling made it.

    Args:
        model: SHA-256 of the model's weights and form, hexadecimal.
        run: name of the run.
        layers: the maps, in order.
        pool: "mean", "max", "flatten", or "none" for whole maps.
        samples: columns about the samples, each (N,): `name`, `split`, `group`, and what else is
            known (`label`, place of the crop, …).
        columns: (D,) names of the numbers; empty for whole maps.
        x: (N, D) float32, or None for whole maps.
        maps: {layer: (N, C, P…) or `Ragged`}; empty where pooled.
        skipped: (name, reason) of files that could not be used.
    """

    model: str
    run: str
    layers: tuple[Layer, ...]
    pool: str
    samples: Mapping[str, np.ndarray]
    columns: tuple[str, ...] = ()
    x: np.ndarray | None = None
    maps: Mapping[str, np.ndarray | Ragged] = dataclasses.field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.samples["name"])

    def layer(self, name: str) -> np.ndarray | Ragged:
        """Return one layer: its columns of `x` (N, D), or its maps.

        Raises:
            RunError: when the table does not hold it.
        """
        names = [layer.name for layer in self.layers]
        if name not in names:
            raise RunError("these features lack a layer", expected=", ".join(names), found=name)
        if self.x is None:
            return self.maps[name]
        own = [i for i, column in enumerate(self.columns) if column.startswith(f"{name}.")]
        return self.x[:, own[0] : own[-1] + 1]

    def require_model(self, model: str, *, run: object, where: object = None) -> FeatureTable:
        """Return the table when `model` made it.

        Raises:
            RunError: when another model did.
        """
        if self.model != model:
            raise RunError(
                "these features belong to another model",
                where=where,
                expected=f"features of {run} (model {model[:16]}…)",
                found=f"features of {self.run} (model {self.model[:16]}…)",
                hint=f"pellucid features {run} writes its own",
            )
        return self

    def about(self) -> dict[str, Any]:
        """Return what every format writes beside the numbers, as plain JSON."""
        return {
            "version": VERSION,
            "model": self.model,
            "run": self.run,
            "pool": self.pool,
            "layers": [dataclasses.asdict(layer) for layer in self.layers],
            "skipped": [list(pair) for pair in self.skipped],
        }


def from_about(about: Any, where: object) -> dict[str, Any]:
    """Turn what `about` wrote back into arguments of `FeatureTable`.

    Raises:
        RunError: when it is not that, or of another version.
    """
    try:
        version = about["version"]
        if version != VERSION:
            raise RunError(
                "these features have another format", where=where, expected=VERSION, found=version
            )
        layers = tuple(
            Layer(str(node["name"]), int(node["channels"]), node["reduction"])
            for node in about["layers"]
        )
        return {
            "model": str(about["model"]),
            "run": str(about["run"]),
            "pool": str(about["pool"]),
            "layers": layers,
            "skipped": tuple((str(name), str(reason)) for name, reason in about["skipped"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            "this is no features file",
            where=where,
            expected="a file that `pellucid features` wrote",
        ) from error
