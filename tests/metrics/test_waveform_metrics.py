"""Waveform metrics: closed forms of known faults, and failures that are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pellucid.errors import DataError, PellucidError
from pellucid.metrics.speech_quality import DNSMOS, Visqol
from pellucid.metrics.waveform_errors import (
    Unmeasurable,
    advanced,
    bandwidth,
    dc,
    delay,
    level_error,
    log_mel_distance,
    log_spectral_distance,
)
from pellucid.metrics.waveforms import PairedWaveforms, waveform_measures

RATE = 16000
DNSMOS_FILE = Path(__file__).parents[2].parent / "shared/datasets/weights/dnsmos/sig_bak_ovr.onnx"


def noise(seconds: float = 2.0, rms: float = 0.1, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=round(seconds * RATE))
    return rms * (x - x.mean()) / x.std()


def syllables(seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    """A buzz with moving formants and pauses: enough of speech for PESQ and STOI."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(2 * np.pi * 0.7 * t)) / RATE
    formant = 700 + 400 * np.sin(2 * np.pi * 1.3 * t + rng.uniform(0, 6))
    x = sum(np.sin(k * pitch) / (1 + ((k * 120 - formant) / 300) ** 2) for k in range(1, 30))
    envelope = np.clip(np.sin(2 * np.pi * 3.1 * t), 0, 1)
    x = x * envelope + 0.001 * rng.normal(size=len(t))
    return 0.1 * x / x.std()


def measured(x_hat: np.ndarray, x: np.ndarray, **options: bool) -> dict[str, float | None]:
    paired = PairedWaveforms(RATE, waveform_measures(RATE), **options)
    paired.update(x_hat, x, name="clip", group="a")
    return {name: values[0] for name, values in paired.per_clip.items()}


def test_a_gain_is_a_level_error_and_nothing_else() -> None:
    x = noise()
    assert level_error(0.5 * x, x) == pytest.approx(-6.0206, abs=1e-3)
    assert log_mel_distance(0.5 * x, x, RATE) == pytest.approx(6.0206, abs=1e-3)
    assert log_spectral_distance(0.5 * x, x) == pytest.approx(6.0206, abs=0.05)  # few bins < floor
    assert bandwidth(0.5 * x, x) == 1
    found = measured(0.5 * x, x)
    assert found["snr"] == pytest.approx(6.0206, abs=1e-3)
    assert found["si_sdr"] is not None
    assert found["si_sdr"] > 60


def test_an_offset_is_seen_by_dc_and_by_both_ratios() -> None:
    x = noise(rms=0.1)
    assert dc(x + 0.01, x) == pytest.approx(-20, abs=1e-3)
    assert dc(x, x) < -75
    found = measured(x + 0.01, x)
    assert found["snr"] == pytest.approx(20, abs=1e-3)
    assert found["si_sdr"] == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("lag", [-230, -1, 0, 1, 37, 799])
def test_a_shift_is_found_and_compensated_only_when_asked(lag: int) -> None:
    x = noise()
    late = advanced(x, -lag)
    assert delay(late, x, RATE) == lag
    if lag:
        assert measured(late, x)["snr"] < 3
        assert measured(late, x, compensate_delay=True)["snr"] > 10


def test_an_inverted_wave_has_the_lag_of_its_peak() -> None:
    x = noise()
    assert delay(-advanced(x, -12), x, RATE) == 12


def test_no_lag_is_made_up_where_nothing_correlates() -> None:
    with pytest.raises(Unmeasurable, match="no lag"):
        delay(noise(seed=1), noise(seed=0), RATE)


def test_noise_of_known_power_gives_the_ratio() -> None:
    x, n = noise(seed=0), noise(rms=0.01, seed=1)
    assert measured(x + n, x)["snr"] == pytest.approx(20, abs=1e-6)


def test_half_the_band_is_half_the_roll_off() -> None:
    x = noise()
    spectrum = np.fft.rfft(x)
    spectrum[len(spectrum) // 2 :] = 0
    assert bandwidth(np.fft.irfft(spectrum, len(x)), x) == pytest.approx(0.5, abs=0.01)
    with pytest.raises(Unmeasurable, match="silent"):
        bandwidth(np.zeros(RATE), x[:RATE])


def test_a_copy_is_perfect_and_noise_lowers_every_opinion() -> None:
    x = syllables()
    copy, noisy = measured(x, x), measured(x + 0.05 * noise(3.0, rms=1.0), x)
    assert copy["pesq"] == pytest.approx(4.644, abs=0.01)
    assert copy["stoi"] == pytest.approx(1, abs=1e-6)
    assert (copy["delay"], copy["log_mel"], copy["level_error"]) == (0, 0, 0)
    for name in ("pesq", "stoi", "snr", "si_sdr"):
        assert noisy[name] < copy[name], name


def test_other_rates_are_heard_at_16_khz() -> None:
    import soxr

    x = soxr.resample(syllables(), RATE, 48000)
    paired = PairedWaveforms(48000, waveform_measures(48000))
    paired.update(x, x, name="clip", group="a")
    assert paired.per_clip["pesq"][0] == pytest.approx(4.644, abs=0.01)
    assert "resampled to 16 kHz" in paired.compute()["pesq"].convention


def test_a_failure_is_counted_and_named_and_never_averaged_in() -> None:
    x = syllables()
    paired = PairedWaveforms(RATE, waveform_measures(RATE))
    paired.update(x, x, name="good", group="a")
    paired.update(syllables(seed=1), syllables(seed=1), name="also good", group="b")
    paired.update(noise(0.2), noise(0.2), name="short", group="c")
    found = paired.compute(resamples=50)
    assert paired.per_clip["stoi"][2] is None
    assert set(paired.failures["stoi"]) == {"short"}
    assert found["stoi"].value == pytest.approx(1, abs=1e-6)
    assert found["stoi"].n == 2
    assert "not measurable on 1 of 3 clips" in found["stoi"].convention
    assert found["snr"].n == 3


def test_a_metric_without_any_clip_has_no_value() -> None:
    paired = PairedWaveforms(RATE, waveform_measures(RATE))
    paired.update(np.zeros(RATE), np.zeros(RATE), name="silence", group="a")
    found = paired.compute()
    assert found["pesq"].n == 0
    assert np.isnan(found["pesq"].value)
    assert found["pesq"].low is None


def test_intervals_are_over_speakers() -> None:
    paired = PairedWaveforms(RATE, waveform_measures(RATE)[2:5])
    for clip in range(6):
        x = noise(1.0, seed=clip)
        paired.update(x + noise(1.0, rms=0.01 * (1 + clip % 2), seed=50 + clip), x,
                      name=str(clip), group="ab"[clip % 2])  # fmt: skip
    assert paired.compute(resamples=100)["snr"].n == 2


@pytest.mark.parametrize(
    ("x_hat", "message"),
    [
        (np.zeros(3), "differ in length"),
        (np.full(RATE, np.nan), "not finite"),
        (np.zeros((1, RATE)), "a clip is"),
    ],
)
def test_bad_waveforms_are_refused_by_name(x_hat: np.ndarray, message: str) -> None:
    paired = PairedWaveforms(RATE, waveform_measures(RATE))
    with pytest.raises(PellucidError, match=message) as refused:
        paired.update(x_hat, noise(1.0), name="clip-7", group="a")
    assert "clip-7" in str(refused.value)


def test_nothing_measured_is_said() -> None:
    with pytest.raises(PellucidError, match="no clip"):
        PairedWaveforms(RATE, waveform_measures(RATE)).compute()


def test_dnsmos_prefers_speech_to_noise() -> None:
    if not DNSMOS_FILE.is_file():
        pytest.skip(f"no DNSMOS network at {DNSMOS_FILE}")
    network = DNSMOS(str(DNSMOS_FILE))
    x = syllables()
    assert 1 <= network(noise(3.0), x) < network(x, x) <= 5


def test_another_file_is_no_dnsmos_network(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"not a network")
    with pytest.raises(DataError, match="no DNSMOS network"):
        waveform_measures(RATE, dnsmos=str(wrong))


@pytest.mark.slow
def test_visqol_knows_a_copy() -> None:
    measure, x = Visqol(), syllables(1.0)
    assert measure(x, x) > measure(x + noise(1.0, rms=0.1), x)
    assert "mapping" in measure.mapping
