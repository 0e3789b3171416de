"""Each fault of a waveform lands in its own bar and only there, at its closed-form height.

Shape letters: N samples, T time.
"""

import dataclasses
import math

import pytest
import torch

from pellucid.functional.waveform_error import Stations, find_lag, take_apart

RATE = 16_000


@pytest.fixture(scope="module")
def speech():
    """(24, 1, 8192) speech-like sounds: gliding harmonics under formants, syllables, a little air.

    Scaled to unit variance, without DC.
    """
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(8192) / RATE
    f0 = 90 + 110 * torch.rand(24, 1, generator=generator)
    glide = 1 + 0.2 * torch.rand(24, 1, generator=generator) * torch.sin(2 * math.pi * 3 * t)
    phase = 2 * math.pi * (f0 * glide).cumsum(-1) / RATE
    x = torch.zeros(24, 8192)
    for k in range(1, 40):
        f = k * f0
        formants = sum(
            a * torch.exp(-(((f - c) / w) ** 2))
            for a, c, w in ((1, 500, 250), (0.4, 1500, 400), (0.15, 2600, 500))
        )
        offset = 6.3 * torch.rand(24, 1, generator=generator)
        x += formants * torch.sin(k * phase + offset)
    air = torch.randn(24, 8192, generator=generator)
    x = x * (0.1 + torch.sin(2 * math.pi * 4 * t).clamp_min(0)) + 0.05 * air
    x = x - x.mean()
    return (x / x.std())[:, None]


def shares(found: Stations) -> dict[str, float]:
    """Return what each repair takes of the deployed error, and what is left."""
    order = ("deployed", "delay", "gain", "dc", "bandwidth", "phase")
    errors = [getattr(found, name) for name in order]
    taken = {
        name: (before - after) / errors[0]
        for name, before, after in zip(order[1:], errors, errors[1:], strict=False)
    }
    return {**taken, "residual": errors[-1] / errors[0]}


def snr(mse: float) -> float:
    return -10 * math.log10(mse)


def late(x):
    return torch.cat([torch.zeros_like(x[..., :1]), x[..., :-1]], -1)


def low_passed(x):
    spectrum = torch.fft.rfft(x)
    hertz = torch.arange(spectrum.shape[-1]) / spectrum.shape[-1] * RATE / 2
    return torch.fft.irfft(spectrum * (hertz < 2000), x.shape[-1])


def phase_scrambled(x):
    """Give every 100 Hz a phase of its own: an all-pass filter of about 10 ms."""
    spectrum = torch.fft.rfft(x)
    generator = torch.Generator().manual_seed(1)
    bands = torch.rand(1, 1, 80, generator=generator) * 2 * math.pi
    phase = torch.nn.functional.interpolate(bands, size=spectrum.shape[-1])[0, 0]
    phase[0] = 0
    return torch.fft.irfft(spectrum * torch.exp(1j * phase), x.shape[-1])


FAULTS = {
    "delay": late,
    "gain": lambda x: x * 10 ** (0.5 / 20),
    "dc": lambda x: x + 0.05,
    "bandwidth": low_passed,
    "phase": phase_scrambled,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_lands_in_its_own_bar_and_only_there(speech, fault):
    found = shares(take_apart(speech, FAULTS[fault](speech), sample_rate=RATE))
    assert found.pop(fault) > 0.9
    assert max(abs(share) for share in found.values()) < 0.08


def test_the_heights_are_the_closed_forms(speech):
    found = take_apart(speech, FAULTS["gain"](speech))
    assert snr(found.deployed) == pytest.approx(-20 * math.log10(10 ** (0.5 / 20) - 1), abs=0.01)
    assert snr(found.deployed) == pytest.approx(24.55, abs=0.01)
    assert found.gain_db == pytest.approx(-0.5, abs=1e-3)
    found = take_apart(speech, FAULTS["dc"](speech))
    assert snr(found.deployed) == pytest.approx(26.02, abs=0.01)
    assert found.offset == pytest.approx(-0.05, abs=1e-4)
    found = take_apart(speech, late(speech))
    a, b = speech[..., :-1].double(), speech[..., 1:].double()
    assert found.lag == 1
    assert found.deployed == pytest.approx(float((a - b).square().mean()), rel=0.01)  # 2(1 − ρ₁)
    assert found.delay == 0


def test_noise_is_no_fault_of_phase_or_bandwidth(speech):
    noise = torch.randn(speech.shape, generator=torch.Generator().manual_seed(2))
    regressed = (speech + 0.3 * noise) / 1.09  # as an MSE-trained model answers
    found = shares(take_apart(speech, regressed, sample_rate=RATE))
    assert found["residual"] > 0.95


def test_two_faults_are_told_apart_and_nothing_gets_lost(speech):
    found = take_apart(speech, late(0.9 * speech) + 0.1, sample_rate=RATE)
    assert found.lag == 1
    assert found.gain_db == pytest.approx(-20 * math.log10(0.9), abs=0.01)
    assert found.offset == pytest.approx(-0.1 / 0.9, abs=0.01)
    assert sum(shares(found).values()) == pytest.approx(1.0)


def test_gain_and_dc_are_the_errors_of_the_repaired_waveform(speech):
    y = low_passed(0.8 * speech) + 0.2
    found = take_apart(speech, y, sample_rate=RATE)
    gain = 10 ** (found.gain_db / 20)
    repaired = gain * y.double()
    assert found.gain == pytest.approx(float((repaired - speech).square().mean()), rel=1e-6)
    moved = repaired + found.offset
    assert found.dc == pytest.approx(float((moved - speech).square().mean()), rel=1e-6)


def test_the_band_is_named(speech):
    found = take_apart(speech, low_passed(speech), sample_rate=RATE)
    assert found.highest * RATE / 2 == pytest.approx(2000, abs=100)


@pytest.mark.parametrize("length", [1, 2, 7, 16, 100])
def test_any_length_silence_and_constants_are_survived(length):
    x = torch.randn(3, 1, length, generator=torch.Generator().manual_seed(0))
    for y in (x, 0 * x, 0 * x + 1, -x):
        found = dataclasses.astuple(take_apart(x, y))
        assert all(math.isfinite(value) for value in found)


def test_a_chance_lag_is_no_delay():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 8, 1, 4000, generator=generator)
    assert find_lag(x, y) == 0
