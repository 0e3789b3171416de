"""Every format, rate and number of channels is read as the same sound; real speakers stay apart.

The lossy ones are held against the sound that went in; MP3 may pad it, never shorten it.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pellucid.data import AudioData
from pellucid.data.audio.reading import read_recording

SPEECH = Path(__file__).resolve().parents[3] / "shared" / "datasets" / "librispeech"
RATE = 16_000


def chord(rate: int) -> np.ndarray:
    """One second of four steady tones below 3 kHz."""
    t = np.arange(rate) / rate
    return 0.1 * sum(np.sin(2 * np.pi * f * t) for f in (220, 550, 1210, 2530))


def power_at(x_T: np.ndarray, hertz: float) -> float:
    """Return the amplitude of a tone in the middle of a sound at 16 kHz."""
    middle = x_T[2000:14_000]
    t = np.arange(len(middle)) / RATE
    return 2 * abs(np.mean(middle * np.exp(-2j * np.pi * hertz * t)))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (48_000, 1)])
def test_every_format_is_the_same_sound(tmp_path: Path, suffix: str, rate: int, channels: int):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, np.tile(chord(rate)[:, None], channels), rate)
    x_T = read_recording(path, RATE).samples_T
    assert abs(len(x_T) - RATE) <= (2400 if suffix == "mp3" else 1)
    for hertz in (220, 550, 1210, 2530):
        assert power_at(x_T, hertz) == pytest.approx(0.1, rel=0.05)
    assert power_at(x_T, 4000) < 0.002


def test_real_speakers_are_in_one_split_only() -> None:
    manifest = SPEECH / "manifest.csv"
    if not manifest.is_file():
        pytest.skip("the LibriSpeech excerpt is not here")
    data = AudioData(path=str(manifest), sample_rate=RATE, length=RATE)
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    column = next(name for name in rows[0] if "speaker" in name)
    place = next(name for name in rows[0] if rows[0][name].endswith(".flac"))
    speaker = {Path(row[place]).name: row[column] for row in rows}
    found = [
        {speaker[Path(clip.name).name] for clip in split.clips}
        for split in (data.train, data.validation, data.test)
    ]
    assert all(found)
    assert sum(map(len, found)) == len(set().union(*found)) == len({*speaker.values()})
