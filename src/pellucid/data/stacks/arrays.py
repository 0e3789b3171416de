"""NumPy files of stacks: .npy C×H×W or N×C×H×W (memory-mapped), .npz with one array per region.

An .npz may hold `channels`, the names as strings. Arrays of Python objects are never loaded.

Shape letters: C channels, H height, W width, N regions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pellucid.data.stacks.panel import Panel
from pellucid.data.stacks.regions import (
    InMemory,
    Region,
    UnreadableRegion,
    default_names,
    unique_names,
)

EXTENSIONS = (".npy", ".npz")


def open_arrays(path: Path, panel: Panel | None = None) -> list[Region]:
    """List the regions of a NumPy file.

    Raises:
        UnreadableRegion: when it is damaged, holds Python objects or no C×H×W array.
        DataError: when the panel has another number of channels.
    """
    try:
        if path.suffix.lower() == ".npy":
            named = {"": np.load(path, mmap_mode="r", allow_pickle=False)}
        else:
            with np.load(path, allow_pickle=False) as file:
                named = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError) as error:
        raise UnreadableRegion("cannot be read as plain numbers", error) from error
    labels = named.pop("channels", None)
    names = None if labels is None else tuple(str(label) for label in labels.ravel())
    found = []
    for key, array in named.items():
        if array.dtype.kind not in "iuf" or array.ndim not in (3, 4):
            continue
        stacks = array[None] if array.ndim == 3 else array
        for number, stack in enumerate(stacks):
            parts = (path.stem, key, str(number) if len(stacks) > 1 else "")
            found.append(("_".join(part for part in parts if part), stack))
    if not found:
        raise UnreadableRegion(
            "no C×H×W array", ", ".join(f"{k or 'array'} {a.shape}" for k, a in named.items())
        )
    return [_region(path, name, stack, names, panel) for name, stack in found]


def _region(
    path: Path,
    name: str,
    stack_CHW: np.ndarray,
    names: tuple[str, ...] | None,
    panel: Panel | None,
) -> Region:
    count, height, width = stack_CHW.shape
    if panel is not None and names is None:
        kept, names = panel.select(count, path)
        stack_CHW = stack_CHW if len(kept) == count else stack_CHW[list(kept)]
    if names is None or len(names) != len(stack_CHW):
        names = default_names(len(stack_CHW))
    pixels = InMemory(stack_CHW)
    return Region(name, path.stem, path, unique_names(names), height, width, pixels)
