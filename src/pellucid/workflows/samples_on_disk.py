"""Read what is coded and write what is decoded, in the formats people have.

Shape letters: H height, W width, C channels, T samples.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pellucid.atomic_files import write_atomically
from pellucid.errors import DataError, require

if TYPE_CHECKING:
    from pellucid.workflows.coder import Coder

FULL_SCALE = 32768
"""Of 16 bits."""
_SOUND = {".wav": "WAV", ".flac": "FLAC"}


def sample_extensions(kind: str) -> tuple[str, ...]:
    """Return the extensions of files that can be encoded."""
    if kind == "audio":
        from pellucid.data.audio.clips import EXTENSIONS

        return EXTENSIONS
    from pellucid.data.reading import EXTENSIONS as PICTURES

    return PICTURES


def read_samples(path: Path, coder: Coder) -> np.ndarray:
    """Return (T,) float32 at the coder's rate, or (H, W, C) uint8.

    Raises:
        DataError: when the file cannot be used.
    """
    if coder.kind == "audio":
        from pellucid.data.audio.reading import UnreadableClip, read_recording

        try:
            return read_recording(path, coder.sample_rate).samples_T
        except UnreadableClip as problem:
            raise DataError(
                f"this clip cannot be read: {problem.reason}", where=path, found=problem.detail
            ) from problem
    from pellucid.data.preparing import to_channels
    from pellucid.data.reading import UnreadableImage, read_picture

    try:
        pixels_HWC = to_channels(read_picture(path).pixels_HWC, coder.channels)
    except UnreadableImage as problem:
        raise DataError(
            f"this picture cannot be read: {problem.reason}", where=path, found=problem.detail
        ) from problem
    if pixels_HWC.dtype != np.uint8:
        pixels_HWC = np.rint(pixels_HWC * 255).astype(np.uint8)
    return pixels_HWC


def write_samples(path: Path, samples: np.ndarray, coder: Coder) -> int | None:
    """Write 16-bit WAV or FLAC, or PNG; return how many audio samples were clipped.

    Raises:
        DataError: when the extension is of another format.
    """
    known = tuple(_SOUND) if coder.kind == "audio" else (".png",)
    if path.suffix.lower() not in known:
        raise DataError("cannot write this format", where=path, expected=", ".join(known))
    buffer = io.BytesIO()
    clipped = None
    if coder.kind == "audio":
        soundfile = require("soundfile", extra="audio", purpose="writing audio")
        whole_T, clipped = to_int16(samples)
        soundfile.write(
            buffer,
            whole_T,
            coder.sample_rate,
            format=_SOUND[path.suffix.lower()],
            subtype="PCM_16",
        )
    else:
        from PIL import Image

        Image.fromarray(samples[..., 0] if samples.shape[-1] == 1 else samples).save(
            buffer, format="PNG"
        )
    write_atomically(path, buffer.getvalue())
    return clipped


def to_int16(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Return int16 samples and how many of them did not fit and were clipped."""
    scaled = np.rint(samples.astype(np.float64) * FULL_SCALE)
    clipped = int(np.count_nonzero((scaled < -FULL_SCALE) | (scaled > FULL_SCALE - 1)))
    return scaled.clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16), clipped
