"""Opus, Codec2 and Speex: lengths, delays, bits of files and payload; absence is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pellucid.errors import MissingExtraError, PellucidError
from pellucid.metrics.speech_quality import stoi
from pellucid.references.audio_codecs import (
    PROGRAMS,
    CodecSetting,
    code_waveform,
    missing_programs,
    ogg_packet_sizes,
    read_wav,
    require_programs,
    wav_bytes,
)

RATE = 16000


def needs(codec: str) -> pytest.MarkDecorator:
    missing = missing_programs([codec]).get(codec)  # type: ignore[list-item]
    return pytest.mark.skipif(missing is not None, reason=str(missing))


def speech(seconds: float = 3.0) -> np.ndarray:
    """A buzz of moving pitch and formants, in syllables."""
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * t)) / RATE
    formant = 700 + 400 * np.sin(2 * np.pi * 1.3 * t)
    x = sum(np.sin(k * pitch) / (1 + ((k * 120 - formant) / 300) ** 2) for k in range(1, 30))
    x = x * np.clip(np.sin(2 * np.pi * 3.1 * t), 0, 1)
    return (0.1 * x / x.std()).astype(np.float32)


@needs("opus")
@pytest.mark.parametrize("samples", [RATE, RATE + 1, 3 * RATE - 7])
def test_opus_keeps_the_length_and_counts_its_header(samples: int) -> None:
    coded = code_waveform(speech()[:samples], RATE, CodecSetting("opus", 6))
    assert coded.x_hat_T.shape == (samples,)
    header = coded.file_bits - coded.payload_bits
    assert 8 * 60 < header < 8 * 600  # two header packets and page headers
    assert 2 < coded.payload_bits / samples * RATE / 1000 < 12


@needs("opus")
def test_more_bits_of_opus_are_better() -> None:
    x = speech()
    low, high = (code_waveform(x, RATE, CodecSetting("opus", kbps)) for kbps in (6, 24))
    assert high.payload_bits > 1.5 * low.payload_bits
    heard = [stoi(coded.x_hat_T.astype(float), x.astype(float)) for coded in (low, high)]
    assert heard[0] < heard[1] <= 1


@needs("codec2")
def test_codec2_spends_exactly_64_bits_per_20_ms_and_is_advanced() -> None:
    x = speech()
    coded = code_waveform(x, RATE, CodecSetting("codec2", 3200))
    assert coded.x_hat_T.shape == x.shape
    assert coded.file_bits == coded.payload_bits == 64 * (len(x) // 320)
    late = np.concatenate([np.zeros(320, np.float32), coded.x_hat_T[:-320]])
    heard, heard_late = (stoi(y.astype(float), x.astype(float)) for y in (coded.x_hat_T, late))
    assert heard > heard_late + 0.05


@needs("speex")
@pytest.mark.parametrize("samples", [3 * RATE, 3 * RATE - 1777])
def test_speex_is_aligned_whatever_the_length(samples: int) -> None:
    x = speech()[:samples]
    coded = code_waveform(x, RATE, CodecSetting("speex", 4))
    assert coded.x_hat_T.shape == x.shape
    correlation = float(coded.x_hat_T @ x / np.sqrt(coded.x_hat_T @ coded.x_hat_T * (x @ x)))
    assert correlation > 0.7
    assert coded.file_bits > coded.payload_bits > 0


@needs("opus")
def test_a_rate_that_opus_does_not_take_is_refused() -> None:
    with pytest.raises(PellucidError, match="sample rate"):
        code_waveform(speech(), 22050, CodecSetting("opus", 6))


def test_a_missing_program_is_said_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert set(missing_programs(["opus", "codec2", "speex"])) == set(PROGRAMS)
    assert "opus-tools" in missing_programs(["opus"])["opus"]
    with pytest.raises(MissingExtraError, match="apt install codec2"):
        require_programs(["codec2"])
    with pytest.raises(MissingExtraError, match="opusenc and opusdec not found"):
        code_waveform(speech(), RATE, CodecSetting("opus", 6))


def page(laces: list[int]) -> bytes:
    return b"OggS" + bytes(22) + bytes([len(laces)]) + bytes(laces) + bytes(sum(laces))


def test_packets_are_counted_over_laces_and_pages() -> None:
    data = page([19]) + page([255, 255]) + page([10, 255, 0, 7])
    assert ogg_packet_sizes(data) == [19, 255 + 255 + 10, 255, 7]
    with pytest.raises(PellucidError, match="no Ogg page"):
        ogg_packet_sizes(b"RIFF" + bytes(40))


def test_a_wav_comes_back_to_the_bit_and_clips_beyond_full_scale(tmp_path: Path) -> None:
    file = tmp_path / "x.wav"
    file.write_bytes(wav_bytes(np.array([0.5, -1.0, 1.5, 1 / 32768]), RATE))
    assert read_wav(file).tolist() == [0.5, -1.0, 32767 / 32768, 1 / 32768]
