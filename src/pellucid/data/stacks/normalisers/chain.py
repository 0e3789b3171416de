"""Normalisers one after the other: fitted in order, inverted in reverse, saved as one file.

Shape letters: B batch, C channels, P positions, N pixels.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.data.stacks.normalisers.contract import Normaliser
from pellucid.data.stacks.normalisers.per_sample import PerSample
from pellucid.errors import DataError, RecipeError, RunError

Step = Normaliser | PerSample


class Chain:
    """Apply steps in order.

    Args:
        steps: name and normaliser, in order; at most one of them per sample.
        channels: names of the channels it was fitted on; set by `fit`.

    Raises:
        RecipeError: when two steps work per sample.
    """

    def __init__(self, steps: Sequence[tuple[str, Step]], channels: Sequence[str] = ()) -> None:
        self.steps, self.channels = list(steps), tuple(channels)
        if sum(isinstance(step, PerSample) for _, step in self.steps) > 1:
            raise RecipeError(
                "one step at most works per sample", where="data.normalise", expected="one scale"
            )

    @property
    def per_sample(self) -> bool:
        """Whether a scale belongs to every sample."""
        return any(isinstance(step, PerSample) for _, step in self.steps)

    @property
    def mixes(self) -> bool:
        """Whether the model works on mixtures of channels."""
        return any(isinstance(step, Normaliser) and step.mixes for _, step in self.steps)

    def fit(self, x_NC: Tensor, channels: Sequence[str]) -> Chain:
        """Fit every step on what the ones before it make of (N, C) training pixels.

        A per-sample step is passed over: it has nothing to fit, and pixels have no sample.
        """
        self.channels = tuple(channels)
        for _, step in self.steps:
            if isinstance(step, Normaliser):
                step.fit(x_NC)
                x_NC = step.forward(x_NC)
        return self

    def forward(self, x_BCP: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return normalised values, and the (B, C) scale where a step works per sample."""
        scale_BC = None
        for _, step in self.steps:
            if isinstance(step, PerSample):
                scale_BC = step.measure(x_BCP)
                x_BCP = x_BCP / scale_BC.view(*scale_BC.shape, *[1] * (x_BCP.ndim - 2))
            else:
                x_BCP = step.forward(x_BCP)
        return x_BCP.float(), scale_BC

    def inverse(self, y_BCP: Tensor, scale_BC: Tensor | None = None) -> Tensor:
        """Return values in the unit of the data.

        Raises:
            DataError: when a step works per sample and its scale is missing.
        """
        return self._back(y_BCP, scale_BC, self.steps)

    def to_markers(self, y_BCP: Tensor, scale_BC: Tensor | None = None) -> Tensor:
        """Undo only what mixes channels or works per sample, and all that came after it.

        The result is per marker and on one scale for all samples: where markers are judged.
        """
        first = next(
            (
                place
                for place, (_, step) in enumerate(self.steps)
                if isinstance(step, PerSample) or step.mixes
            ),
            len(self.steps),
        )
        return self._back(y_BCP, scale_BC, self.steps[first:])

    def _back(
        self, y_BCP: Tensor, scale_BC: Tensor | None, steps: Sequence[tuple[str, Step]]
    ) -> Tensor:
        for _, step in reversed(steps):
            if isinstance(step, Normaliser):
                y_BCP = step.inverse(y_BCP)
                continue
            if scale_BC is None:
                raise DataError(
                    "the scale of each sample is needed to come back to its values",
                    where="per-sample",
                    expected="(samples, channels)",
                )
            y_BCP = y_BCP * scale_BC.to(y_BCP).view(*scale_BC.shape, *[1] * (y_BCP.ndim - 2))
        return y_BCP

    def describe(self) -> list[str]:
        """Return the steps in words, with their settings."""
        found = []
        for name, step in self.steps:
            settings = ", ".join(f"{key} {value}" for key, value in _settings(step).items())
            found.append(f"{name} ({settings})" if settings else name)
        return found

    def save(self, path: Path) -> None:
        """Write the fitted numbers as safetensors; names and settings are its metadata.

        Raises:
            RunError: when it cannot be written.
        """
        from safetensors.torch import save

        from pellucid.atomic_files import write_atomically

        tensors = {
            f"{place}.{key}": value.contiguous()
            for place, (_, step) in enumerate(self.steps)
            if isinstance(step, Normaliser)
            for key, value in step.state().items()
        }
        told = {
            "channels": json.dumps(self.channels),
            "steps": json.dumps([{"kind": name, **_settings(step)} for name, step in self.steps]),
        }
        write_atomically(path, save(tensors or {"none": torch.zeros(1)}, metadata=told))

    @classmethod
    def load(cls, path: Path) -> Chain:
        """Read what `save` wrote; nothing in it is executed.

        Raises:
            RunError: when it is missing or of another form.
        """
        from safetensors import SafetensorError, safe_open

        from pellucid.data.stacks.normalisers import NORMALISERS

        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            steps: list[tuple[str, Step]] = []
            for place, node in enumerate(json.loads(told["steps"])):
                kind = node.pop("kind")
                step = NORMALISERS[kind](**node)
                if isinstance(step, Normaliser):
                    prefix = f"{place}."
                    step.load_state(
                        {k.removeprefix(prefix): v for k, v in tensors.items()
                         if k.startswith(prefix)}
                    )  # fmt: skip
                steps.append((kind, step))
            return cls(steps, json.loads(told["channels"]))
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise RunError("this is no normaliser", where=path, found=error) from error


def _settings(step: Step) -> dict[str, Any]:
    names = inspect.signature(type(step)).parameters
    return {name: getattr(step, name) for name in names if hasattr(step, name)}
