"""Prepared pixels by index: decoded and resized once, then sliced.

Shape letters: H height, W width, C channels.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import Any

import numpy as np

from pellucid.data.preparing import Preparation
from pellucid.data.sources import Reader
from pellucid.errors import DataError


class PixelCache:
    """Hold prepared images up to a budget of memory; prepare the others when they are asked for.

    Forked workers share the memory. Pickling writes the pixels once to a temporary file, which the
    unpickled copy memory-maps, so spawned workers share them too; the file lives as long as the
    cache that wrote it, so a pickled cache is for worker processes and not for keeping.

    Args:
        reader: reads image i.
        preparation: channels and size.
        images_HWC: prepared images, None where the budget was spent.
    """

    def __init__(
        self, reader: Reader, preparation: Preparation, images_HWC: list[np.ndarray | None]
    ) -> None:
        self.reader: Reader | None = reader
        self.preparation = preparation
        self._images = images_HWC
        self._file: str | None = None

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> np.ndarray:
        """Return (H, W, C) pixels, uint8 or float32 in [0, 1]; not to be written to."""
        held = self._images[index]
        if held is not None:
            return held
        assert self.reader is not None  # dropped only when every image is held
        picture = self.reader.read(index, self.preparation.short_side)
        return self.preparation(picture.pixels_HWC)

    @property
    def megabytes(self) -> float:
        """Memory of the held pixels in 10⁶ bytes."""
        return sum(image.nbytes for image in self._images if image is not None) / 1e6

    def __getstate__(self) -> dict[str, Any]:
        if self._file is None:
            self._file = self._spill()
        complete = all(image is not None for image in self._images)
        forms = [None if im is None else (im.shape, im.dtype.str) for im in self._images]
        return {
            "reader": None if complete else self.reader,
            "preparation": self.preparation,
            "forms": forms,
            "file": self._file,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.reader, self.preparation = state["reader"], state["preparation"]
        self._file = state["file"]
        empty = os.path.getsize(state["file"]) == 0
        raw = None if empty else np.memmap(state["file"], np.uint8, "r")
        self._images, offset = [], 0
        for form in state["forms"]:
            if form is None:
                self._images.append(None)
                continue
            image = np.ndarray(form[0], form[1], raw, offset)
            self._images.append(image)
            offset += _aligned(image.nbytes)

    def _spill(self) -> str:
        descriptor, name = tempfile.mkstemp(prefix="pellucid-pixels-")
        weakref.finalize(self, _remove, name, os.getpid())
        try:
            with os.fdopen(descriptor, "wb") as file:
                for image in self._images:
                    if image is not None:
                        data = np.ascontiguousarray(image)
                        file.write(data.data)
                        file.write(bytes(_aligned(data.nbytes) - data.nbytes))
        except OSError as error:
            raise DataError(
                "cannot write the pixels for worker processes",
                where=name,
                found=error.strerror or error,
                hint="free space there, set TMPDIR, or load without worker processes",
            ) from error
        return name


def _aligned(size: int) -> int:
    return (size + 15) // 16 * 16


def _remove(name: str, owner: int) -> None:
    """Delete the file in the process that wrote it; a forked worker must not."""
    if os.getpid() == owner and os.path.exists(name):
        os.unlink(name)
