"""List clips: a folder at any depth, a manifest, or one file."""

from __future__ import annotations

import collections
import csv
import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Literal

from pellucid.data.folders import group_name
from pellucid.errors import DataError, nearest

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif")
MANIFESTS = (".csv", ".tsv", ".jsonl")
_PATH_COLUMNS = ("path", "file", "audio", "audio_filepath", "clip", "filename", "wav")
_SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
_LEAST_SPEAKERS = 3  # one each for training, validation and test
Grouping = Literal["auto", "file", "folder", "stem", "speaker"]


@dataclasses.dataclass(frozen=True)
class Clips:
    """Names, places and groups of clips.

    Args:
        where: what messages call the source.
        names: unique name per clip.
        paths: its file.
        groups: what is never divided between splits: its speaker, folder or itself.
        grouped_by: how the groups came about, in words.
        ignored: files of other types per extension.
    """

    where: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    groups: tuple[str, ...]
    grouped_by: str
    ignored: dict[str, int] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)


def open_clips(path: str | Path, group: Grouping = "auto") -> Clips:
    """List the clips of a folder, of a manifest (.csv, .tsv, .jsonl), or of one audio file.

    A folder that holds exactly one manifest is read through it. A manifest needs a column named
    path, file, audio, clip or filename, relative to itself; a column speaker groups.

    Args:
        path: where the clips are.
        group: "speaker" needs a manifest that names speakers; "auto" takes speakers where at least
            three are named, else files.

    Raises:
        DataError: when there are none, or the manifest cannot be used.
    """
    place = Path(path)
    if not place.exists():
        raise DataError("no such file or folder", where=place)
    if place.is_file() and place.suffix.lower() in MANIFESTS:
        return _from_manifest(place, group)
    if place.is_file():
        if place.suffix.lower() not in EXTENSIONS:
            raise DataError("not an audio file", where=place, expected=", ".join(EXTENSIONS))
        return Clips(str(place), (place.name,), (place,), (place.name,), "file")
    manifests = [p for p in sorted(place.iterdir()) if p.suffix.lower() in MANIFESTS]
    if len(manifests) == 1:
        return _from_manifest(manifests[0], group)
    return _from_folder(place, group)


def _from_folder(folder: Path, group: Grouping) -> Clips:
    if group == "speaker":
        raise DataError(
            "a folder does not name speakers",
            where=folder,
            expected="a manifest with a column 'speaker', or data.group=folder",
        )
    files, ignored = audio_files(folder)
    if not files:
        raise DataError(
            "no audio in this folder",
            where=folder,
            expected=f"files ending in {', '.join(EXTENSIONS)}, at any depth, or one manifest",
            found=", ".join(f"{n} × {s}" for s, n in sorted(ignored.items())[:8]) or "no files",
        )
    by = "file" if group == "auto" else group
    names = [file.relative_to(folder).as_posix() for file in files]
    groups = [group_name(name, by) for name in names]
    return Clips(str(folder), tuple(names), tuple(files), tuple(groups), by, ignored)


def audio_files(folder: Path) -> tuple[list[Path], dict[str, int]]:
    """Return the visible audio files below a folder in a stable order, and counts of others."""
    files, ignored = [], collections.Counter()
    for parent, folders, inside in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in (Path(parent, name) for name in sorted(inside) if not name.startswith(".")):
            if file.suffix.lower() in EXTENSIONS:
                files.append(file)
            else:
                ignored[file.suffix.lower() or "no extension"] += 1
    return sorted(files, key=lambda f: f.relative_to(folder).as_posix()), dict(ignored)


def _from_manifest(manifest: Path, group: Grouping) -> Clips:
    rows = _rows(manifest)
    columns = list(rows[0]) if rows else []
    column = next((c for c in _PATH_COLUMNS if c in columns), None)
    if column is None:
        guess = next((g for c in columns if (g := nearest(c, _PATH_COLUMNS))), None)
        raise DataError(
            "the manifest does not say where the clips are",
            where=manifest,
            expected=f"a column named {', '.join(_PATH_COLUMNS[:5])} …",
            found=f"columns {', '.join(columns) or 'none'}",
            hint=f"rename the nearest one to '{guess}'" if guess else None,
        )
    speaker = next((c for c in _SPEAKER_COLUMNS if c in columns), None)
    if group == "speaker" and speaker is None:
        raise DataError(
            "the manifest does not name speakers",
            where=manifest,
            expected=f"a column named {' or '.join(_SPEAKER_COLUMNS)}",
            found=f"columns {', '.join(columns)}",
        )
    speakers = {row[speaker] for row in rows} if speaker else set()
    enough = len(speakers) >= _LEAST_SPEAKERS
    by_speaker = speaker is not None and (group == "speaker" or (group == "auto" and enough))
    index = _index(manifest.parent)
    names, paths = [], []
    for row in rows:
        name = str(row[column])
        names.append(name)
        paths.append(_resolve(manifest.parent, name, index))
    if len(set(names)) < len(names):
        twice = next(name for name, n in collections.Counter(names).items() if n > 1)
        raise DataError("the manifest names a clip twice", where=manifest, found=twice)
    by = "file" if group in ("auto", "speaker") else group
    groups = [
        str(row[speaker]) if by_speaker and speaker else group_name(name, by)
        for row, name in zip(rows, names, strict=True)
    ]
    return Clips(
        str(manifest),
        tuple(names),
        tuple(paths),
        tuple(groups),
        "speaker" if by_speaker else by,
    )


def _rows(manifest: Path) -> list[dict[str, Any]]:
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            if manifest.suffix.lower() == ".jsonl":
                rows = [json.loads(line) for line in file if line.strip()]
            else:
                separator = "\t" if manifest.suffix.lower() == ".tsv" else ","
                rows = list(csv.DictReader(file, delimiter=separator))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError("cannot read the manifest", where=manifest, found=error) from error
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError("the manifest holds no clips", where=manifest, expected="one row per clip")
    return rows


def _index(folder: Path) -> dict[str, Path]:
    """Return files below the manifest by their name without extension, where that is unique."""
    files, _ = audio_files(folder)
    counts = collections.Counter(file.stem for file in files)
    return {file.stem: file for file in files if counts[file.stem] == 1}


def _resolve(folder: Path, name: str, index: dict[str, Path]) -> Path:
    """Return the file a manifest means; a missing one is reported when it is read."""
    direct = folder / name
    return direct if direct.is_file() else index.get(Path(name).stem, direct)
