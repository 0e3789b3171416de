"""Keep the first batches that pass by: loaders and their random states are never touched.

Shape letters: N samples, B one batch, C channels, P positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import DataError

MAX_ELEMENTS = 8_000_000
"""32 MB in float32: 256 samples of 3×96×96."""


_NAMES = ("x", "image", "images", "audio", "waveform", "pixel_values", "input")


class Kept:
    """The first samples of a loader, with whatever came beside them.

    Args:
        samples: how many to keep.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.batches: list[Any] = []
        self.count = 0
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether enough has been kept."""
        return self._closed or self.count >= self.samples

    def close(self) -> None:
        """Keep no more: from here on the loader repeats itself."""
        self._closed = self.count > 0

    def add(self, batch: Any) -> None:
        """Copy a batch to the CPU, until there are enough."""
        if self.full:
            return
        x = x_of(batch)
        if x.numel() == 0 or (self.batches and x.shape[1:] != x_of(self.batches[0]).shape[1:]):
            return
        self.samples = min(self.samples, max(4, MAX_ELEMENTS // max(1, x[0].numel())))
        self.batches.append(_mapped(batch, lambda t: t.detach().to("cpu", copy=True)))
        self.count += len(x)

    def x(self) -> Tensor:
        """Return the samples (N, C, P...) as ordinary float32 tensors."""
        # Lightning validates in inference mode; a clone made outside of it can be trained on.
        return torch.cat([x_of(b).clone().float() for b in self.batches])[: self.samples]

    def around(self, x_BCP: Tensor) -> Any:
        """Return a batch as the loader gives it, holding these samples and their companions.

        Labels, targets and the like are those of the nearest kept sample: for samples that were
        kept, their own.
        """
        known = torch.cat([x_of(b).flatten(1).float() for b in self.batches])
        nearest = torch.cdist(x_BCP.detach().flatten(1).float().cpu(), known.clone()).argmin(1)
        place = [(i, j) for i, b in enumerate(self.batches) for j in range(len(x_of(b)))]
        rows = [place[int(n)] for n in nearest]
        return _rebuilt(self.batches, self.batches[0], (), rows, x_BCP)


def x_of(batch: Any) -> Tensor:
    """Take x out of a batch: x, (x, ...) or {"x": x} (or the first image-like entry of a dict).

    Raises:
        DataError: when there is no tensor of samples in it.
    """
    found = _at(batch, path_of_x(batch))
    assert isinstance(found, Tensor)
    return found


def path_of_x(batch: Any) -> tuple[Any, ...]:
    """Return the keys that lead to x."""
    if isinstance(batch, Tensor):
        return ()
    if isinstance(batch, (tuple, list)) and batch:
        return (0, *path_of_x(batch[0]))
    if isinstance(batch, Mapping):
        wide = [k for k, v in batch.items() if isinstance(v, Tensor) and v.ndim >= 3]
        for key in (*_NAMES, *wide):
            if isinstance(batch.get(key), Tensor):
                return (key,)
    raise DataError(
        "the doctor finds no samples in a batch",
        expected="x, (x, ...) or {'x': x}",
        found=type(batch).__name__,
        hint="give Doctor(subject=...) and batches that start with the input",
    )


def _at(node: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


def _mapped(node: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to every tensor of a batch, keeping its structure."""
    if isinstance(node, Tensor):
        return change(node)
    if isinstance(node, Mapping):
        return {k: _mapped(v, change) for k, v in node.items()}
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return type(node)(*(_mapped(v, change) for v in node))
    if isinstance(node, (list, tuple)):
        return type(node)(_mapped(v, change) for v in node)
    return node


def _rebuilt(
    batches: list[Any], node: Any, path: tuple[Any, ...], rows: list[tuple[int, int]], x: Tensor
) -> Any:
    """Gather the given rows of every per-sample entry; x itself goes where x was."""
    if isinstance(node, Tensor):
        if path == path_of_x(batches[0]):
            return x
        if node.ndim == 0 or len(node) != len(x_of(batches[0])):
            return node.clone().to(x.device)  # not one per sample
        return torch.stack([_at(batches[i], path)[j].clone() for i, j in rows]).to(x.device)
    if isinstance(node, Mapping):
        return {k: _rebuilt(batches, v, (*path, k), rows, x) for k, v in node.items()}
    if isinstance(node, (list, tuple)):
        parts = [_rebuilt(batches, v, (*path, i), rows, x) for i, v in enumerate(node)]
        return type(node)(*parts) if hasattr(node, "_fields") else type(node)(parts)
    return node
