"""Take samples out of whatever holds them: a tensor, a dataset or a loader.

Shape letters: N samples, ... the shape of one sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import DataError


def collect(data: Any, count: int, *, key: str = "target") -> Tensor:
    """Stack up to `count` samples, evenly spaced over the set, without any randomness.

    Args:
        data: a tensor (N, ...), a map-style dataset, or an iterable of batches; items are x,
            (x, ...) or a dict with `key` (or "x").
        count: how many at most; a loader is read from its start until it is reached.
        key: which entry of a dict.

    Returns:
        (n, ...) float32.

    Raises:
        DataError: when there are no samples, or their shapes differ.
    """
    if isinstance(data, Tensor):
        if len(data) == 0:
            raise DataError("no samples to measure", expected="at least one", found=0)
        return data[torch.tensor(spaced(len(data), count), device=data.device)].float()
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        samples = [entry(item, key) for item in items(data, spaced(len(data), count))]
    else:
        samples = _first_of_batches(data, count, key)
    if not samples:
        raise DataError("no samples to measure", expected="at least one", found=0)
    shapes = {tuple(sample.shape) for sample in samples}
    if len(shapes) > 1:
        raise DataError(
            "samples differ in shape",
            expected="one shape (crop or resize in the recipe's data section)",
            found=sorted(shapes)[:4],
        )
    return torch.stack(samples).float()


def items(data: Any, indices: Sequence[int]) -> list[Any]:
    """Return the items of a map-style dataset, in one call where it offers one."""
    if hasattr(data, "__getitems__"):
        return list(data.__getitems__(list(indices)))
    return [data[index] for index in indices]


def entry(item: Any, key: str = "target") -> Tensor:
    """Return the tensor inside one item or batch: x, (x, ...) or a dict with `key` or "x"."""
    if isinstance(item, Mapping):
        return torch.as_tensor(item[key] if key in item else item["x"])
    if isinstance(item, tuple | list):
        return torch.as_tensor(item[0])
    return torch.as_tensor(item)


def affordable(elements: int) -> int:
    """Return how many samples of `elements` numbers fit into half a GiB of float32."""
    return max(2, 2**27 // elements)


def spaced(total: int, count: int) -> list[int]:
    """Return min(total, count) increasing indices spread evenly over range(total)."""
    count = min(total, count)
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def _first_of_batches(batches: Iterable[Any], count: int, key: str) -> list[Tensor]:
    samples: list[Tensor] = []
    for batch in batches:
        samples.extend(entry(batch, key))
        if len(samples) >= count:
            break
    return samples[:count]
