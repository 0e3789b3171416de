"""Look at clips before anything is trained: what is there, what is broken, which recipe fits."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from pellucid.data.audio.clips import EXTENSIONS, MANIFESTS, audio_files, open_clips
from pellucid.data.audio.report import AudioReport, describe
from pellucid.data.audio.scan import Progress, scan
from pellucid.data.report import Suggestion
from pellucid.errors import DataError

_RATE = 16000


def is_audio(path: str | Path) -> bool:
    """Say whether a path is an audio file, a manifest, or a folder with more audio than else."""
    place = Path(path)
    if place.is_file():
        return place.suffix.lower() in EXTENSIONS + MANIFESTS
    if not place.is_dir():
        return False
    files, ignored = audio_files(place)
    images = sum(ignored.get(suffix, 0) for suffix in (".png", ".jpg", ".jpeg", ".tif", ".tiff"))
    return len(files) > images


def inspect_audio(
    source: str | Path,
    *,
    sample_rate: int = _RATE,
    shortest_seconds: float = 1.0,
    limit: int = 2000,
    progress: Progress | None = None,
) -> AudioReport:
    """Examine a folder, a manifest or a file of clips.

    Args:
        source: path.
        sample_rate: wanted, in hertz.
        shortest_seconds: clips below are counted as too short.
        limit: most clips to read, evenly spread over the list.
        progress: called with (done, total).

    Raises:
        DataError: when there is nothing usable.
    """
    clips = open_clips(source)
    step = max(1, -(-len(clips) // limit))
    indices = range(0, len(clips), step)
    shortest = round(shortest_seconds * sample_rate)
    seen = scan(clips, sample_rate, shortest=shortest, indices=indices, progress=progress)
    if not seen.usable:
        first = seen.skipped[0]
        raise DataError(
            "none of the clips can be used",
            where=clips.where,
            found=f"{len(seen.skipped)} unusable; the first is {clips.names[first.index]} "
            f"({first.reason}: {first.detail})",
        )
    report = describe(clips, seen, sample_rate, examined=len(indices), splits={})
    remarks = (f"every {step}th of {len(clips)} clips was read",) if step > 1 else ()
    return dataclasses.replace(report, suggestions=suggest(report), remarks=remarks)


def suggest(report: AudioReport) -> tuple[Suggestion, ...]:
    """Return the recipes that fit, best first."""
    minutes = report.seconds["total"] / 60
    place = f"data.path={shlex.quote(report.source)}"
    tiny = Suggestion(
        "speech-codec-tiny",
        f"{report.count} clips, {minutes:.1f} minutes, {report.groups} groups by "
        f"{report.grouped_by}: small enough for a CPU",
        f"pellucid train speech-codec-tiny {place}",
    )
    if minutes < 60:
        return (tiny,)
    full = Suggestion(
        "speech-codec",
        f"{minutes / 60:.0f} hours: enough for the full model, on a GPU",
        f"pellucid train speech-codec {place}",
    )
    return (full, tiny)
