"""Terms of what is heard: what they ignore, what they punish, and whose scores they follow."""

import pytest
import torch
from pesq import pesq
from pystoi import stoi

from pellucid.objectives import Intelligibility, Loudness

RATE, LEVEL = 16000, 10 ** (-25 / 20)


def noise(seconds=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LEVEL * torch.randn(1, 1, int(seconds * RATE), generator=generator)


def speechlike(seconds=3.0, seed=0):
    """Harmonics of a gliding tone, in syllables of moving timbre."""
    t = torch.arange(int(seconds * RATE)) / RATE
    pitch = 2 * torch.pi * torch.cumsum(120 + 30 * torch.sin(2 * torch.pi * 0.7 * t), 0) / RATE
    generator = torch.Generator().manual_seed(seed)
    wave = torch.zeros_like(t)
    for k in range(1, 50):
        rate, start = 2 + 4 * torch.rand(2, generator=generator)
        moving = (1 + torch.sin(2 * torch.pi * rate * t + start)).square()
        wave += moving / k**0.7 * torch.sin(k * pitch + start)
    wave *= (torch.sin(2 * torch.pi * 2.5 * t) > -0.6).float()
    return (wave * LEVEL / wave.square().mean().sqrt())[None, None]


def test_what_is_below_the_threshold_or_masked_costs_nothing():
    term = Loudness(sample_rate=RATE)
    x = noise()
    soft = 1e-6 * x  # about −40 dB of sound pressure
    assert term(soft, torch.zeros_like(soft)) == 0
    # 0.4 dB is within the quarter that is masked, but where a band is hardly audible at all
    assert term(1.05 * x, x) < 0.01 * term(2.0 * x, x)


def test_sound_where_there_was_none_costs_more_than_a_lost_sound():
    term, x = Loudness(sample_rate=RATE), noise()
    gap = x.clone()
    gap[..., 6000:10000] = 0
    assert term(x, gap) > 1.2 * term(gap, x)


def test_one_bad_moment_is_heard_more_than_as_much_spread_out():
    term, x = Loudness(sample_rate=RATE), speechlike()
    added = 0.1 * noise(3.0, seed=1)
    once = x.clone()
    once[..., 16000:19200] += added[..., 16000:19200]
    share = 3200 / x.shape[-1]
    assert term(once, x) > 2 * share * term(x + added, x)


def test_intelligibility_is_blind_to_level_and_sees_smeared_envelopes():
    term, x = Intelligibility(sample_rate=RATE), speechlike()
    assert term(0.3 * x, x).item() == pytest.approx(0, abs=1e-4)
    smeared = torch.nn.functional.conv1d(x.square(), torch.ones(1, 1, 8001) / 8001, padding=4000)
    assert term(smeared.sqrt() * noise(3.0), x) > 0.3


def test_silence_of_the_target_is_skipped():
    term, x = Intelligibility(sample_rate=RATE), speechlike()
    padded = torch.cat([x, torch.zeros(1, 1, 2 * RATE)], dim=2)
    hum = padded + 1e-5 * noise(5.0)
    assert term(hum, padded) < 0.05
    nothing = torch.zeros(1, 1, RATE)
    assert term(1e-3 * noise(), nothing).isfinite()


def test_they_follow_the_published_scores():
    """The louder the noise, the lower P.862.2 and STOI, and the higher both terms."""
    x = speechlike()
    loudness, envelopes = Loudness(sample_rate=RATE), Intelligibility(sample_rate=RATE)
    rows = []
    for decibels in (30, 20, 10, 0):
        y = x + 10 ** (-decibels / 20) * noise(3.0, seed=1)
        heard, true = y[0, 0].numpy(), x[0, 0].numpy()
        ours = -float(loudness(y, x)), 1 - float(envelopes(y, x))
        rows.append((*ours, pesq(RATE, true, heard, "wb"), stoi(true, heard, RATE)))
    for column in zip(*rows, strict=True):
        assert list(column) == sorted(column, reverse=True)
    assert all(abs(row[1] - row[3]) < 0.25 for row in rows)


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_frames_and_intervals_last_as_long_at_any_rate(rate):
    loudness = Loudness(sample_rate=rate)
    assert loudness.window / rate == pytest.approx(0.032, rel=0.01)
    assert loudness.interval * loudness.window / 2 / rate == pytest.approx(0.32, rel=0.05)
    envelopes = Intelligibility(sample_rate=rate, bands=12)
    assert envelopes.window / rate == pytest.approx(0.025, rel=0.01)
    assert envelopes.length * envelopes.window / 2 / rate == pytest.approx(0.384, rel=0.05)


def test_every_moment_is_heard_the_last_too():
    term, x = Loudness(sample_rate=RATE), noise()
    for start in (0, 7000, RATE - 500):
        spoilt = x.clone()
        spoilt[..., start : start + 500] *= 4
        assert term(spoilt, x) > 0.05
