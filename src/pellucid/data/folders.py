"""Open a folder of image files: at any depth, in a stable order, grouped and labelled by name."""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pellucid.data.reading import EXTENSIONS, FileReader
from pellucid.data.sources import Grouping, Source
from pellucid.errors import DataError


def open_folder(
    folder: Path,
    group: Grouping = "file",
    float_range: tuple[float, float] = (0.0, 1.0),
) -> Source:
    """List the images below a folder; top-level folders are classes when every image is in one.

    Raises:
        DataError: when there is no image below it.
    """
    paths, ignored = [], collections.Counter()
    for file in _walk(folder):
        if file.suffix.lower() in EXTENSIONS:
            paths.append(file)
        else:
            ignored[file.suffix.lower() or "no extension"] += 1
    if not paths:
        arrays = sum(ignored[suffix] for suffix in (".npy", ".npz"))
        raise DataError(
            "no images in this folder",
            where=folder,
            expected=f"files ending in {', '.join(EXTENSIONS)}, at any depth",
            found=_count_types(ignored),
            hint="an array is opened by naming the file: data.path=FILE.npz" if arrays else None,
        )
    paths.sort(key=lambda path: path.relative_to(folder).as_posix())
    names = [path.relative_to(folder).as_posix() for path in paths]
    tops = [name.split("/")[0] if "/" in name else None for name in names]
    classes = sorted({top for top in tops if top is not None})
    labelled = len(classes) > 1 and None not in tops
    return Source(
        where=str(folder),
        names=tuple(names),
        groups=tuple(group_name(name, group) for name in names),
        reader=FileReader(paths, float_range),
        labels=tuple(classes.index(str(top)) for top in tops) if labelled else None,
        classes=tuple(classes) if labelled else (),
        ignored=dict(ignored),
    )


def group_name(name: str, group: Grouping) -> str:
    """Return the group of a file: itself, its folder, or its path without a trailing number.

    With "stem", `ann/frame_003.png` and `ann/frame-4.png` share the group `ann/frame`.
    """
    if group == "folder":
        return name.rpartition("/")[0] or "."
    if group == "stem":
        stem = name.rpartition(".")[0]
        return re.sub(r"[-_ .]*\d+$", "", stem) or stem
    return name


def _walk(folder: Path) -> Iterator[Path]:
    """Yield visible files at any depth, following links but never in circles."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _count_types(ignored: dict[str, int]) -> str:
    if not ignored:
        return "no files at all"
    return ", ".join(f"{count} × {suffix}" for suffix, count in sorted(ignored.items())[:8])
