"""The run's WAVs: read, cut to an excerpt, inlined as lossless players, drawn as spectrograms.

Shape letters: T samples, H, W pixels. Samples are float32 of full scale ±1.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import wave
from pathlib import Path

import numpy as np

from pellucid.errors import RunError
from pellucid.report.pictures import Picture, error_map

WINDOW_SECONDS = 0.032
HEIGHT = 128
MOST_COLUMNS = 360
RANGE_DB = 70.0
"""Decibels from the loudest point of the original to black."""
_COLOURS = 48


def read_samples(path: Path) -> tuple[np.ndarray, int]:
    """Read a 16-bit mono WAV as (T,) samples and its rate.

    Raises:
        RunError: when the file is missing or is no such WAV.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 1 or file.getsampwidth() != 2:
                raise RunError("a clip of this run is no 16-bit mono WAV", where=path)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            return samples.astype(np.float32) / 32768, file.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise RunError("cannot read a clip of this run", where=path, found=error) from error


def excerpt(samples_T: np.ndarray, sample_rate: int, seconds: float) -> slice:
    """Return where the loudest stretch of so many seconds lies."""
    length = round(seconds * sample_rate)
    if len(samples_T) <= length:
        return slice(0, len(samples_T))
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples_T, dtype=np.float64))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return slice(start, start + length)


def audio_uri(samples_T: np.ndarray, sample_rate: int) -> str:
    """Return a data URI that browsers play: FLAC, or WAV where soundfile is not installed."""
    pcm = np.clip(np.round(samples_T * 32768), -32768, 32767).astype("<i2")
    buffer = io.BytesIO()
    if importlib.util.find_spec("soundfile") is not None:
        import soundfile

        soundfile.write(buffer, pcm, sample_rate, format="FLAC", subtype="PCM_16")
        kind = "flac"
    else:
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(sample_rate)
            file.writeframes(pcm.tobytes())
        kind = "wav"
    return f"data:audio/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()


def log_spectrum(samples_T: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return power in dB, (H, W): frequency upwards from 0 to half the rate, time to the right."""
    window = round(WINDOW_SECONDS * sample_rate / 2) * 2
    hop = max(window // 4, -(-len(samples_T) // MOST_COLUMNS))
    padded = np.pad(samples_T, (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][
        : -(-len(samples_T) // hop)
    ]
    power_WV = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    edges = np.linspace(0, power_WV.shape[1], HEIGHT + 1).astype(int)
    bands_WH = np.add.reduceat(power_WV, edges[:-1], axis=1) / np.diff(edges)
    return 10 * np.log10(bands_WH.T[::-1] + 1e-12)


def spectrogram(spectrum_HW: np.ndarray, loudest_db: float) -> Picture:
    """Colour a spectrum: `loudest_db` is pale yellow, 70 dB below is black; an indexed PNG."""
    from PIL import Image

    share_HW = np.clip((spectrum_HW - loudest_db) / RANGE_DB + 1, 0, 1)
    image = Image.fromarray(np.round(share_HW * (_COLOURS - 1)).astype(np.uint8), mode="P")
    scale = error_map(np.arange(_COLOURS, dtype=np.float64)[None], _COLOURS - 1)
    image.putpalette(scale.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(uri, image.width, image.height, tiny=False)
