"""Read one clip into samples. The rules, all of them:

* WAV, FLAC, OGG, MP3, Opus and AIFF by libsndfile; integer formats become float32 in [−1, 1).
* Several channels become their mean.
* Any rate becomes the wanted one by soxr at its high quality.
* NaN or infinite samples make a clip unreadable; floats beyond ±1 are kept and noted.

Shape letters: T samples.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from pellucid.data.audio.clipping import clipped_share
from pellucid.errors import DataError, require

LONGEST_SECONDS = 4 * 3600


class UnreadableClip(Exception):  # noqa: N818 - it states a fact that is counted
    """One file cannot be used; `reason` is a category that reports count by."""

    def __init__(self, reason: str, detail: object = "") -> None:
        super().__init__(reason, str(detail))
        self.reason = reason
        self.detail = str(detail)


@dataclasses.dataclass(frozen=True)
class Recording:
    """One clip as read.

    Args:
        samples_T: float32, mono, at the wanted rate.
        sample_rate: of the file, in hertz.
        channels: of the file.
        format: libsndfile's name of the format.
        clipped: share of samples in flat runs at the peak, of the worst channel, before resampling,
            which would round them.
        notes: rules that changed something.
    """

    samples_T: np.ndarray
    sample_rate: int
    channels: int
    format: str
    clipped: float
    notes: tuple[str, ...] = ()


def read_recording(path: Path, sample_rate: int) -> Recording:
    """Read a file as mono samples at `sample_rate`.

    Raises:
        UnreadableClip: when the file is missing, broken, empty or not finite.
    """
    soundfile = require("soundfile", extra="audio", purpose="reading audio")
    if not path.is_file():
        raise UnreadableClip("missing", path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.frames > LONGEST_SECONDS * file.samplerate:
                raise UnreadableClip("too long", f"{file.frames / file.samplerate:.0f} s")
            samples_TC = file.read(dtype="float32", always_2d=True)
            rate, channels, kind = file.samplerate, file.channels, file.format
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        raise UnreadableClip("broken", error) from error
    if not len(samples_TC):
        raise UnreadableClip("empty", "no samples")
    if not np.isfinite(samples_TC).all():
        raise UnreadableClip("not finite", "NaN or infinity")
    clipped = max(clipped_share(channel_T) for channel_T in samples_TC.T)
    notes = []
    samples_T = samples_TC[:, 0] if channels == 1 else samples_TC.mean(axis=1)
    if channels > 1:
        notes.append(f"mean of {channels} channels")
    if rate != sample_rate:
        samples_T = resample(samples_T, rate, sample_rate)
        notes.append(f"resampled from {rate} Hz")
    if float(np.abs(samples_TC).max()) > 1.0:
        notes.append("beyond ±1")
    return Recording(
        np.ascontiguousarray(samples_T, np.float32), rate, channels, kind, clipped, tuple(notes)
    )


def resample(samples_T: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Return the samples at another rate, round(T · wanted / rate) of them.

    Raises:
        DataError: when a rate is not positive.
    """
    if min(rate, wanted) <= 0:
        raise DataError("a sample rate is positive", found=f"{rate} → {wanted}")
    if rate == wanted:
        return samples_T
    soxr = require("soxr", extra="audio", purpose="changing the sample rate")
    return soxr.resample(samples_T, rate, wanted, quality="HQ").astype(np.float32)
