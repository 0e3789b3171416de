"""One region of multiplexed tissue: its channel names and a way to read a window of its pixels.

A region holds no pixels. What a file type adds is a `Pixels`; everything above it (normalisers,
tiles, reports) sees regions alone.

Shape letters: C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

_WHOLE = 256 * 1024**2
_END = 1024**2


class UnreadableRegion(Exception):  # noqa: N818 - it states a fact that is counted
    """One region cannot be used; `reason` is a category that reports count by."""

    def __init__(self, reason: str, detail: object = "") -> None:
        super().__init__(reason, str(detail))
        self.reason, self.detail = reason, str(detail)

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


class Pixels(Protocol):
    """Read windows; `streams` says that a window costs about its own size, not the whole file."""

    @property
    def streams(self) -> bool: ...

    def read(self, channels: Sequence[int], rows: slice, columns: slice) -> np.ndarray:
        """Return (len(channels), rows, columns) in the file's own number type."""
        ...


@dataclasses.dataclass(frozen=True)
class Region:
    """Name one region and say how to read it.

    Args:
        name: unique in its set; masks of the region have the same name.
        slide: what it was cut from; regions of one slide share a batch.
        path: the file or store.
        channels: names, in the order of the values.
        height: pixels.
        width: pixels.
        pixels: reads windows.
        patient: where a table beside the files names one.
    """

    name: str
    slide: str
    path: Path
    channels: tuple[str, ...]
    height: int
    width: int
    pixels: Pixels
    patient: str | None = None

    def read(
        self,
        channels: Sequence[int] | None = None,
        rows: slice = slice(None),
        columns: slice = slice(None),
    ) -> np.ndarray:
        """Return a window (C, h, w) in the file's own number type.

        Raises:
            UnreadableRegion: when the file is damaged.
        """
        chosen = range(len(self.channels)) if channels is None else channels
        rows = slice(*rows.indices(self.height))
        columns = slice(*columns.indices(self.width))
        return self.pixels.read(list(chosen), rows, columns)

    def digest(self) -> str:
        """Return a 64-bit hexadecimal hash of name and content.

        Of a file beyond 256 MB the size, the first and the last megabyte are hashed; of a store
        (a folder) the names and sizes of its files.
        """
        told = hashlib.blake2b(self.name.encode(), digest_size=8)
        if self.path.is_dir():
            for file in sorted(p for p in self.path.rglob("*") if p.is_file()):
                told.update(f"{file.relative_to(self.path)} {file.stat().st_size}\n".encode())
            return told.hexdigest()
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            if size <= _WHOLE:
                told.update(hashlib.file_digest(file, "blake2b").digest())
            else:
                told.update(f"{size}".encode() + file.read(_END))
                file.seek(-_END, 2)
                told.update(file.read(_END))
        return told.hexdigest()


@dataclasses.dataclass(frozen=True)
class InMemory:
    """Pixels that are held already.

    Args:
        values_CHW: any number type; may be memory-mapped.
    """

    values_CHW: np.ndarray
    streams: bool = True

    def read(self, channels: Sequence[int], rows: slice, columns: slice) -> np.ndarray:
        """Return a copy of a window."""
        return np.stack([self.values_CHW[channel, rows, columns] for channel in channels])


def default_names(count: int) -> tuple[str, ...]:
    """Return "channel 0" … where a file names none."""
    return tuple(f"channel {number}" for number in range(count))


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, the second and later of equal ones numbered."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)
