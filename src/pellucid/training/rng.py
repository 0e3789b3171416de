"""The state of every global random generator, as text that survives a kill.

One text per process: torch on the CPU, torch on the process's accelerator, numpy, Python.
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist


def capture(device: torch.device) -> str:
    """Return this process's generators as JSON text."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    version, internal, gauss_next = random.getstate()
    node = {
        "torch": _text(torch.get_rng_state()),
        "cuda": _text(torch.cuda.get_rng_state(device)) if device.type == "cuda" else None,
        "numpy": [kind, [int(key) for key in keys], int(position), int(has_gauss), float(gauss)],
        "python": [version, list(internal), gauss_next],
    }
    return json.dumps(node)


def restore(state: str, device: torch.device) -> None:
    """Set this process's generators to what `capture` returned."""
    node = json.loads(state)
    torch.set_rng_state(_bytes(node["torch"]))
    if device.type == "cuda" and node["cuda"] is not None:
        torch.cuda.set_rng_state(_bytes(node["cuda"]), device)
    kind, keys, *rest = node["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss_next = node["python"]
    random.setstate((version, tuple(internal), gauss_next))


def seed_all(seed: int) -> None:
    """Seed torch (all devices), numpy and Python from one number."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


@contextlib.contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """Leave every global generator as it was found, whatever happens inside."""
    state = capture(device)
    try:
        yield
    finally:
        restore(state, device)


def capture_all(device: torch.device) -> list[str]:
    """Return the generators of every process, by rank; all processes must call it."""
    mine = capture(device)
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [mine]
    # torch's object collectives pickle; padded bytes do the same without
    data = torch.frombuffer(bytearray(mine.encode()), dtype=torch.uint8).to(device)
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([data.numel()], device=device))
    longest = int(max(size.item() for size in sizes))
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: data.numel()] = data
    rows = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(rows, padded)
    return [
        bytes(row[: int(size.item())].cpu().numpy()).decode()
        for row, size in zip(rows, sizes, strict=True)
    ]


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
