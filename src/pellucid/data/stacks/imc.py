"""Imaging mass cytometry as the instrument writes it: MCD and TXT, read by readimc.

A `Region` per acquisition, named as steinbock names its images: `<file>_<acquisition, 3 digits>`.
Values are ion counts after dual-count calibration, float32.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.stacks.panel import Panel
from pellucid.data.stacks.regions import Region, UnreadableRegion, unique_names
from pellucid.errors import PellucidError, first_line, require

_PURPOSE = "reading MCD and TXT"
_SUFFIX = re.compile(r"_ROI_\d+(_\d+)?$")


@dataclasses.dataclass(frozen=True)
class ImcPixels:
    """Read one acquisition whole and cut the window from it.

    Args:
        path: MCD or TXT.
        acquisition: id in the MCD; None for a TXT.
        kept: places of the channels that are used, among those of the file.
    """

    path: Path
    acquisition: int | None
    kept: tuple[int, ...]
    streams: bool = False

    def read(self, channels: Sequence[int], rows: slice, columns: slice) -> np.ndarray:
        """Return a window; the last acquisition that was read stays in memory."""
        whole_CHW = _acquisition(self.path, self.acquisition)
        return whole_CHW[[self.kept[channel] for channel in channels], rows, columns]


def open_mcd(path: Path, panel: Panel | None = None) -> list[Region]:
    """List the acquisitions of an MCD.

    Raises:
        UnreadableRegion: when the file is truncated or no MCD.
        DataError: when the panel keeps a tag that an acquisition lacks.
    """
    readimc = require("readimc", extra="tissue", purpose=_PURPOSE)
    regions = []
    try:
        with readimc.MCDFile(path) as file:
            for slide in file.slides:
                several = len(file.slides) > 1
                name = f"{path.stem}_slide{slide.id}" if several else path.stem
                regions += [_region(path, name, a, panel) for a in slide.acquisitions]
    except PellucidError:
        raise
    except Exception as error:  # readimc lets parsers' and the system's errors through
        raise UnreadableRegion("truncated or corrupt MCD", first_line(error)) from error
    if not regions:
        raise UnreadableRegion("no acquisition in the MCD")
    return regions


def open_txt(path: Path, panel: Panel | None = None) -> list[Region]:
    """Read the one acquisition of a TXT.

    Raises:
        UnreadableRegion: when the file cannot be read.
        DataError: when the panel keeps a tag that the file lacks.
    """
    readimc = require("readimc", extra="tissue", purpose=_PURPOSE)
    try:
        with readimc.TXTFile(path) as file:
            tags, labels = tuple(file.channel_names), tuple(file.channel_labels)
        height, width = _acquisition(path, None).shape[1:]
    except UnreadableRegion:
        raise
    except Exception as error:
        raise UnreadableRegion("truncated or corrupt TXT", first_line(error)) from error
    kept, names = _named(tags, labels, panel, path)
    slide = _SUFFIX.sub("", path.stem)
    return [
        Region(path.stem, slide, path, names, height, width, ImcPixels(path, None, tuple(kept)))
    ]


def _region(path: Path, slide: str, acquisition: Any, panel: Panel | None) -> Region:
    kept, names = _named(
        tuple(acquisition.channel_names), tuple(acquisition.channel_labels), panel, path
    )
    return Region(
        f"{path.stem}_{acquisition.id:03d}",
        slide,
        path,
        names,
        acquisition.height_px,
        acquisition.width_px,
        ImcPixels(path, acquisition.id, tuple(kept)),
    )


def _named(
    tags: tuple[str, ...], labels: tuple[str, ...], panel: Panel | None, where: object
) -> tuple[Sequence[int], tuple[str, ...]]:
    if panel is not None:
        kept, names = panel.select_tags(tags, where)
        return kept, tuple(names)
    names = [label or tag for label, tag in zip(labels, tags, strict=True)]
    return range(len(tags)), unique_names(names)


@functools.lru_cache(maxsize=1)
def _acquisition(path: Path, number: int | None) -> np.ndarray:
    """Return (C, H, W) float32."""
    import readimc

    try:
        if number is None:
            with readimc.TXTFile(path) as file:
                return np.asarray(file.read_acquisition(), np.float32)
        with readimc.MCDFile(path) as file:
            found = next(a for s in file.slides for a in s.acquisitions if a.id == number)
            return np.asarray(file.read_acquisition(found), np.float32)
    except Exception as error:
        raise UnreadableRegion("truncated or corrupt acquisition", first_line(error)) from error
