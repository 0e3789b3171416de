"""How many bits a sample costs, and what Gaussian sound of the same spectra would give for them."""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.probes.posterior import posterior
from pellucid.functional.water_filling import FrameSpectra


def bits(case: Case) -> tuple[float, str] | None:
    """Return bits per sample and how they are known."""
    if case.subject.bits_per_sample is not None:
        return float(case.subject.bits_per_sample), "declared"
    codes, books = case.latent.codes, case.subject.codebooks
    if codes is not None and books:
        per_sample = codes[0].numel()
        levels = len(books)
        each = sum(math.log2(len(b)) for b in books) / levels
        return per_sample * each, "codes × log₂K"
    measured = case.measure(posterior)
    return None if measured is None else (measured.kl / math.log(2), "KL / ln 2")


def bits_per_second(case: Case) -> tuple[float, str] | None:
    """Return the rate of a waveform subject and how it is known."""
    rate, hertz = bits(case), case.subject.sample_rate
    if rate is None or hertz is None or not case.is_audio:
        return None
    return rate[0] * hertz / case.x.shape[-1], rate[1]


def frame_spectra(case: Case) -> FrameSpectra | None:
    """Measure the short-time spectra of a waveform subject's own data."""
    if case.subject.sample_rate is None or not case.is_audio:
        return None
    return FrameSpectra.of(case.x, case.subject.sample_rate)
