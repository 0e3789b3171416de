"""Turn a tensor, a Dataset or a loader into one bounded tensor of samples.

Shape letters: N samples, C channels, P positions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.patience import Failure, patiently
from pellucid.errors import DataError

MAX_SAMPLES = 2048
MAX_ELEMENTS = 48_000_000
"""About 200 MB in float32: enough for 512 samples of 3×128×128 twice over."""

LEAST = 4
"""Samples below which nothing can be said."""

PATIENCE = 10
"""How many times the reading budget a single item is waited for: workers take time to start."""


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples on the CPU in float32.

    Args:
        x: (N, C, P...).
        batch: the batch size of the loader they came from, or None.
        note: what was taken, in words.
        trouble: what went wrong while reading, or None.
    """

    x: Tensor
    batch: int | None
    note: str
    trouble: str | None = None

    def __len__(self) -> int:
        return len(self.x)


def read_samples(source: Any, *, where: str, clock: Clock, limit: int = MAX_SAMPLES) -> Samples:
    """Read at most `limit` samples, as long as the clock allows.

    Args:
        source: a tensor or array, a map-style Dataset, or an iterable of x, (x, ...) or {"x": x}.
        where: "train" or "validation", for messages.
        clock: the time that may be spent reading.
        limit: samples at most.

    Raises:
        DataError: when it is empty, constant, not finite, or not samples.
    """
    if isinstance(source, np.ndarray):
        source = torch.from_numpy(source)
    if isinstance(source, Tensor):
        return _checked(_spaced(source, limit), None, len(source), where)
    length = len(source) if hasattr(source, "__len__") else None
    if length == 0:
        raise DataError("there are no samples", where=where, found="an empty data source")
    if length is not None and _is_map_style(source):
        indices = _indices(length, limit)
        items = (source[int(i)] for i in indices)
        parts, _, trouble = _collect(items, where, clock, limit, single=True)
        return _checked(torch.stack(parts), None, length, where, trouble)
    if not isinstance(source, Iterable):
        raise DataError(
            "cannot read samples",
            where=where,
            expected="a tensor, a Dataset, or a loader",
            found=type(source).__name__,
        )
    parts, batch, trouble = _collect(source, where, clock, limit, single=False)
    return _checked(torch.cat(parts)[:limit], batch, None, where, trouble)


def _is_map_style(source: Any) -> bool:
    """Say whether items are single samples: Datasets are; loaders and lists hold batches."""
    if isinstance(source, (list, tuple)) or hasattr(source, "batch_size"):
        return False
    return hasattr(source, "__getitem__")


def _collect(
    items: Iterable[Any], where: str, clock: Clock, limit: int, *, single: bool
) -> tuple[list[Tensor], int | None, str | None]:
    """Take items until there are enough, or time is out, or the source ends early or fails."""
    parts: list[Tensor] = []
    trouble: str | None = None
    count = elements = 0
    shape: tuple[int, ...] | None = None
    for item in patiently(items, PATIENCE * clock.budget_seconds):
        if isinstance(item, Failure):
            trouble = item.words
            break
        x = _x_of(item, where)
        if x.ndim == 0:
            raise DataError("an item is a single number, no sample", where=where)
        inner = tuple(x.shape) if single else tuple(x.shape[1:])
        if shape is not None and inner != shape:
            raise DataError(
                "samples have different shapes", where=where, expected=shape, found=inner
            )
        shape = inner
        parts.append(x)
        count += 1 if single else len(x)
        elements += x.numel()
        if count >= limit or elements >= MAX_ELEMENTS or (clock.out and count >= 16):
            break
    if trouble is not None and count < LEAST:
        raise DataError("the samples could not be read", where=where, found=trouble)
    if count == 0:
        raise DataError("there are no samples", where=where, found="a source that yields nothing")
    return parts, None if single else len(parts[0]), trouble


def _x_of(item: Any, where: str) -> Tensor:
    """Take x out of what a data source yields."""
    if isinstance(item, Mapping):
        if "x" not in item:
            raise DataError(
                "a dictionary of data must hold 'x'", where=where, found=", ".join(map(str, item))
            )
        item = item["x"]
    elif isinstance(item, (tuple, list)):
        if not item:
            raise DataError("an item holds nothing", where=where)
        item = item[0]
    if isinstance(item, np.ndarray):
        item = torch.from_numpy(item)
    if not isinstance(item, Tensor):
        raise DataError(
            "an item is no tensor",
            where=where,
            expected="x, (x, ...) or {'x': x}",
            found=type(item).__name__,
        )
    return item.detach().cpu()


def _indices(length: int, limit: int) -> Tensor:
    """Return at most `limit` evenly spaced indices, so that ordered data are all represented."""
    count = min(length, limit)
    return torch.linspace(0, length - 1, count).round().long()


def _spaced(x_NCP: Tensor, limit: int) -> Tensor:
    """Take evenly spaced samples of a tensor, within the limits."""
    if x_NCP.ndim == 0 or len(x_NCP) == 0:
        return x_NCP
    per_sample = max(1, math.prod(x_NCP.shape[1:]))
    limit = max(2, min(limit, MAX_ELEMENTS // per_sample))
    return x_NCP[_indices(len(x_NCP), limit).to(x_NCP.device)].detach().cpu()


def _checked(
    x_NCP: Tensor, batch: int | None, total: int | None, where: str, trouble: str | None = None
) -> Samples:
    """Refuse what nothing could be learned from, and say what was taken."""
    if x_NCP.ndim < 2 or x_NCP.numel() == 0:
        raise DataError(
            "there are no samples",
            where=where,
            expected="(N, C, H, W) images or stacks, or (N, 1, T) audio",
            found=tuple(x_NCP.shape),
        )
    if x_NCP.is_complex() or x_NCP.dtype == torch.bool:
        raise DataError("samples must be real numbers", where=where, found=x_NCP.dtype)
    x_NCP = x_NCP.float().contiguous()
    bad = ~torch.isfinite(x_NCP).flatten(1).all(1)
    if bool(bad.any()):
        raise DataError(
            f"{int(bad.sum())} of {len(x_NCP)} samples hold NaN or infinity",
            where=where,
            expected="finite numbers",
            found=f"first at sample {int(bad.nonzero()[0])}",
            hint="remove or repair these samples before training on them",
        )
    if len(x_NCP) < LEAST:
        raise DataError(
            "too few samples to diagnose anything",
            where=where,
            expected=f"at least {LEAST}, better 256",
            found=len(x_NCP),
        )
    spread = float((x_NCP - x_NCP[:1]).abs().max())
    if spread <= 1e-7 * max(1.0, float(x_NCP.abs().max())):
        raise DataError(
            "all samples are the same",
            where=where,
            expected="data that vary",
            found=f"largest difference {spread:.1e}",
            hint="check the loader: constant data have nothing to reconstruct",
        )
    known = "" if total is None or total == len(x_NCP) else f" of {total}"
    note = f"{len(x_NCP)}{known} samples of {where}"
    return Samples(x_NCP, batch, note, None if trouble is None else f"reading {where}: {trouble}")
