"""A diagnosis of waveforms: its bars by kind of error, the rate its bits buy, its codes by level.

Shape letters: B batch, T time, F frames, L levels, K codes.
"""

import json
import math

import diagnosis_zoo as zoo
import pytest
import torch

from pellucid.diagnosis import Subject, diagnose
from pellucid.diagnosis.reading import read_diagnosis
from pellucid.records import Latent

KINDS = ["delay", "gain", "DC", "bandwidth", "phase", "residual"]


def coarse(bits: int = 6, **more) -> Subject:
    """Round every sample to 2^bits values in [−0.5, 0.5]: a PCM codec of known rate."""
    steps = 2**bits - 1

    def encode(x):
        codes = ((x.clamp(-0.5, 0.5) + 0.5) * steps).round()
        return Latent(mean=x, codes=codes[:, 0].long(), quantized=codes / steps - 0.5)

    book = torch.linspace(-0.5, 0.5, steps + 1)[:, None]
    return Subject(
        encode, lambda z: z, value_range=(-1, 1), sample_rate=8000, codebook=book, **more
    )


@pytest.fixture(scope="module")
def found():
    data = zoo.waves(length=512, count=160)
    return diagnose(coarse(3), data.train, data.held, budget_seconds=20, goal="snr>60")


def test_bars_by_kind_come_first_and_sum_to_what_is_left(found):
    bars = [bar for bar in found.budget if bar.chain == "kind of error"]
    assert [bar.stage for bar in found.budget[:6]] == KINDS
    assert [bar.stage for bar in bars] == KINDS
    model = next(rung for rung in found.ladder if rung.id == "model")
    won = sum(bar.value for bar in bars if bar.unit == "dB")
    left = -10 * math.log10(bars[-1].value)
    assert model.db + won == pytest.approx(left, abs=0.01)


def test_a_late_output_shows_in_the_bar_of_the_delay():
    data = zoo.waves(length=512, count=160)
    late = Subject(
        lambda x: torch.nn.functional.pad(x, (3, 0))[..., :-3],
        lambda z: z,
        value_range=(-1, 1),
        sample_rate=8000,
    )
    budget = {b.stage: b for b in diagnose(late, data.train, data.held, budget_seconds=10).budget}
    assert budget["delay"].value > 40
    assert "3 samples late" in budget["delay"].note
    assert all(abs(budget[kind].value) < 0.1 for kind in KINDS[1:5])


def test_the_rate_is_stated_with_what_it_buys(found):
    exhibit = next(e for e in found.exhibits if e.title == "SNR for this bitrate")
    assert "60 dB needs about" in exhibit.text
    assert "you have 24 kb/s" in exhibit.text
    (plot,) = exhibit.plots
    own, reference = plot.series
    assert own.x == (24.0,)
    assert list(reference.y) == sorted(reference.y)


def test_a_goal_beyond_the_reference_says_what_it_would_need(found):
    finding = next(f for f in found.findings if f.id == "unattainable-target")
    assert finding.asserted
    assert "60 dB needs about" in finding.summary
    assert "24 kb/s" in finding.summary


def test_a_goal_within_the_reference_is_left_alone():
    data = zoo.waves(length=512, count=160)
    diagnosis = diagnose(coarse(6), data.train, data.held, budget_seconds=10, goal="snr>25")
    assert "unattainable-target" in diagnosis.tested
    assert not [f for f in diagnosis.findings if f.id == "unattainable-target"]


def test_levels_are_counted_whatever_the_verdict():
    """Two levels: all of four codes evenly, and one of eight only."""

    def encode(x):
        frames = x.unfold(-1, 4, 4).mean(-1)
        first = torch.arange(frames.shape[-1]).expand(len(x), -1) % 4
        codes = torch.stack([first, torch.zeros_like(first)], -1)
        return Latent(mean=frames, codes=codes, quantized=frames)

    books = [torch.arange(4.0)[:, None], torch.zeros(8, 1)]
    subject = Subject(
        encode,
        lambda z: z.repeat_interleave(4, -1),
        value_range=(-1, 1),
        sample_rate=8000,
        codebook=books,
    )
    data = zoo.waves(length=512, count=80)
    diagnosis = diagnose(subject, data.train, data.held, budget_seconds=10)
    exhibit = next(e for e in diagnosis.exhibits if e.title == "Codes by level")
    assert "2 levels, used between 1 of 8 and 4 of 4" in exhibit.text
    assert "entropy is 2 of 5 bits" in exhibit.text
    used, entropy = exhibit.plots
    assert used.series[0].y == pytest.approx((100.0, 12.5))
    assert entropy.series[0].y == pytest.approx((2.0, 0.0))
    assert entropy.series[1].y == pytest.approx((2.0, 3.0))


def test_exhibits_and_chains_survive_json_page_and_text(found):
    again = read_diagnosis(json.loads(found.to_json()))
    assert again.exhibits == found.exhibits
    assert again.budget == found.budget
    page, text = found.to_html(), str(found)
    for words in ("what kind of error it is", "where it arises", "SNR for this bitrate"):
        assert words in page
    assert "SNR for this bitrate: 60 dB needs" in text


def test_images_have_one_chain_and_no_bitrate_of_sound():
    data = zoo.digits()
    plain = Subject(lambda x: Latent(mean=x[:, :, ::2, ::2]), lambda z: z.repeat(1, 1, 2, 2))
    diagnosis = diagnose(plain, data.train[:40], data.held[:20], budget_seconds=3)
    assert {bar.chain for bar in diagnosis.budget} <= {"stage"}
    assert not diagnosis.exhibits
