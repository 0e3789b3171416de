"""Look at every clip once: read, measure, keep, or say why not.

Shape letters: T samples.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from pellucid.data.audio.clips import Clips
from pellucid.data.audio.loudness import active_level_db
from pellucid.data.audio.reading import Recording, UnreadableClip, read_recording
from pellucid.errors import DataError

Progress = Callable[[int, int], object]
SILENT_DB = -70.0
"""Clips whose active level lies below are silent."""
CLIPPED_SHARE = 1e-3
"""Share of samples in flat runs at the peak from which a clip is called clipped."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one usable clip showed.

    Args:
        index: its place in the list.
        length: T, samples at the wanted rate.
        sample_rate: of the file.
        channels: of the file.
        format: of the file.
        notes: rules that changed something.
        digest: hash of the samples.
        level_db: active level, dB of full scale.
        peak: largest magnitude.
        offset: mean of the samples.
        clipped: share of the file's samples in flat runs at the peak.
    """

    index: int
    length: int
    sample_rate: int
    channels: int
    format: str
    notes: tuple[str, ...]
    digest: str
    level_db: float
    peak: float
    offset: float
    clipped: float


@dataclasses.dataclass(frozen=True)
class Skipped:
    """One clip that cannot be used."""

    index: int
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Scan:
    """Measurements of the usable clips, the others, and samples (None over the budget)."""

    usable: list[Measurement]
    skipped: list[Skipped]
    samples: list[np.ndarray | None]


def scan(
    clips: Clips,
    sample_rate: int,
    *,
    shortest: int,
    cache_bytes: int = 0,
    strict: bool = False,
    indices: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Read every clip (or `indices`).

    Args:
        clips: what to read.
        sample_rate: wanted, in hertz.
        shortest: samples a clip must have.
        cache_bytes: how many bytes of samples to keep.
        strict: stop at the first clip that cannot be used.
        indices: which clips; default all.
        progress: called with (done, total).

    Raises:
        DataError: with `strict`, naming the first clip that cannot be used and why.
    """
    order = range(len(clips)) if indices is None else indices
    usable: list[Measurement] = []
    skipped: list[Skipped] = []
    kept: list[np.ndarray | None] = [None] * len(clips)
    held = 0
    for done, index in enumerate(order):
        try:
            recording = read_recording(clips.paths[index], sample_rate)
            measured = measure(index, recording, sample_rate)
            _check(measured, shortest, sample_rate)
        except UnreadableClip as problem:
            if strict:
                raise DataError(
                    f"a clip cannot be used: {problem.reason}",
                    where=clips.paths[index],
                    found=problem.detail or None,
                ) from problem
            skipped.append(Skipped(index, problem.reason, problem.detail))
        else:
            usable.append(measured)
            if held + recording.samples_T.nbytes <= cache_bytes:
                kept[index] = recording.samples_T
                held += recording.samples_T.nbytes
        if progress is not None:
            progress(done + 1, len(order))
    return Scan(usable, skipped, kept)


def measure(index: int, recording: Recording, sample_rate: int) -> Measurement:
    """Measure one recording."""
    samples_T = recording.samples_T
    digest = hashlib.blake2b(samples_T.tobytes(), digest_size=8).hexdigest()
    return Measurement(
        index=index,
        length=len(samples_T),
        sample_rate=recording.sample_rate,
        channels=recording.channels,
        format=recording.format,
        notes=recording.notes,
        digest=digest,
        level_db=active_level_db(samples_T, sample_rate),
        peak=float(np.abs(samples_T).max()),
        offset=float(samples_T.mean(dtype=np.float64)),
        clipped=recording.clipped,
    )


def _check(measured: Measurement, shortest: int, sample_rate: int) -> None:
    if measured.level_db < SILENT_DB:
        raise UnreadableClip("silent", f"{measured.level_db:.0f} dB")
    if measured.length < shortest:
        raise UnreadableClip(
            "too short",
            f"{measured.length / sample_rate:.2f} s, {shortest / sample_rate:.2f} s are needed",
        )
