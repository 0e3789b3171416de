"""Which file becomes which: the files to code and the names of what is written."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path

from pellucid.errors import DataError


@dataclasses.dataclass(frozen=True)
class Job:
    """One file to read and one to write.

    Args:
        name: in reports.
        source: to read.
        target: to write.
        alone: it was named itself, not found in a folder.
    """

    name: str
    source: Path
    target: Path
    alone: bool


def find_jobs(
    path: Path,
    extensions: tuple[str, ...],
    written: str,
    *,
    out: str | Path | None,
    suffix: str,
) -> tuple[list[Job], Path]:
    """Return the jobs and where their files go.

    A folder is searched at any depth and its structure kept; `a.wav` becomes `a.plc`, and
    `a.wav.plc` where `a.flac` lies beside it.

    Args:
        path: a file or a folder.
        extensions: files of a folder that are taken.
        written: extension of what is written.
        out: file, or folder for a folder; an existing folder takes a single file too.
        suffix: of the folder beside `path` when `out` is None.

    Raises:
        DataError: when there is nothing to do, or a file would be written over itself.
    """
    if path.is_file():
        target = _single_target(path, written, out)
        if target.resolve() == path.resolve():
            raise DataError("a file cannot be written over itself", where=path, expected="-o OTHER")
        return [Job(path.name, path, target, alone=True)], target
    if not path.is_dir():
        raise DataError("no such file or folder", where=path)
    names = sorted(
        file.relative_to(path)
        for file in path.rglob("*")
        if file.suffix.lower() in extensions
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not names:
        raise DataError(
            "nothing in this folder can be coded", where=path, expected=", ".join(extensions)
        )
    folder = Path(out) if out is not None else path.with_name(path.resolve().name + suffix)
    if folder.is_file():
        raise DataError("a folder is needed to write a folder into", where=folder)
    wanted = collections.Counter(name.with_suffix(written) for name in names)
    jobs = []
    for name in names:
        target = name.with_suffix(written)
        if wanted[target] > 1:
            target = name.with_name(name.name + written)
        jobs.append(Job(name.as_posix(), path / name, folder / target, alone=False))
    return jobs, folder


def _single_target(path: Path, written: str, out: str | Path | None) -> Path:
    """Return the file that a single one becomes; never, unasked, the name of an original."""
    swapped = path.with_suffix(written).name
    if out is not None:
        return Path(out) / swapped if Path(out).is_dir() else Path(out)
    if path.suffix.lower() == ".plc":
        swapped = f"{path.stem}.decoded{written}"
    return path.with_name(swapped)
