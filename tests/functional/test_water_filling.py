"""Reverse water-filling: closed forms, its defining condition, and the table for clean speech."""

import math
import statistics
from pathlib import Path

import pytest
import torch

from pellucid.functional.water_filling import FrameSpectra, distortion_at

SPEECH = Path(__file__).resolve().parents[3] / "shared" / "datasets" / "librispeech"


def test_white_data_follow_the_closed_form():
    white = torch.full((1, 10), 4.0)
    assert float(distortion_at(white, 10.0)) == pytest.approx(10 * 4 * 2**-2.0)
    assert float(distortion_at(torch.tensor([[3.0, 1.0]]), 0.0)) == pytest.approx(4.0)


@pytest.mark.parametrize("bits", [0.5, 3.0, 20.0, 200.0])
def test_the_water_level_spends_the_bits(bits):
    lam = torch.rand(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 6
    lam[:, 30:] = 0
    for row, distortion in zip(lam, distortion_at(lam, bits).tolist(), strict=True):
        low, high = 1e-200, float(row.max())
        for _ in range(700):  # bisection for the level, the slow plain version
            level = math.sqrt(low * high)
            kept = row[row > level]
            spent = float((0.5 * (kept / level).log2()).sum())
            low, high = (level, high) if spent > bits else (low, level)
        assert distortion == pytest.approx(float(row.clamp_max(level).sum()), rel=1e-6)


def test_more_bits_never_cost_decibels_and_the_rate_inverts():
    x = torch.randn(4, 1, 3200, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    spectra = FrameSpectra.of(x, 16_000)
    found = [spectra.snr_at(rate) for rate in (0, 1000, 4000, 16_000, 64_000)]
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found == sorted(found)
    assert spectra.snr_at(spectra.bits_for(20.0)) == pytest.approx(20.0, abs=0.1)


def test_six_more_decibels_cost_white_noise_one_bit_a_sample():
    x = torch.randn(2, 1, 32_000, generator=torch.Generator().manual_seed(0))
    spectra = FrameSpectra(torch.ones(3, 320), 50.0)
    assert spectra.snr_at(16_000 * 3) == pytest.approx(20 * math.log10(8))
    assert FrameSpectra.of(x[..., :100], 16_000) is None
    assert FrameSpectra.of(0 * x, 16_000) is None


def test_clean_speech_gives_the_known_table():
    if not SPEECH.is_dir():
        pytest.skip("the LibriSpeech excerpt is not here")
    import soundfile

    clips = [soundfile.read(path, dtype="float32")[0] for path in sorted(SPEECH.rglob("*.flac"))]
    spectra = [FrameSpectra.of(torch.from_numpy(clip)[None, None], 16_000) for clip in clips[::6]]
    table = {6: 16, 8: 19, 16: 25, 24: 30, 48: 40}  # kb/s: dB, mean over clips
    for kilobits, snr in table.items():
        found = statistics.mean(s.snr_at(1000 * kilobits) for s in spectra if s is not None)
        assert found == pytest.approx(snr, abs=1.2)
