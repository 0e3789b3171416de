"""misalignment: the waveform comes back late, early, or with samples lost."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.rules.access import audio


def missing(case: Case) -> str | None:
    """Waveforms, or an output of another length."""
    return None if case.runner.length_change is not None else audio(case)


def best_lag(case: Case) -> int:
    """Return the lag (samples) that maximises the cross-correlation, summed over samples."""
    length = case.x.shape[-1]
    size = 2 * length
    a = torch.fft.rfft(case.x.double() - case.x.double().mean(), size)
    b = torch.fft.rfft(case.x_hat.double() - case.x_hat.double().mean(), size)
    score = torch.fft.irfft((b * a.conj()).sum((0, 1)), size)
    furthest = max(1, length // 4)
    score = torch.cat([score[-furthest:], score[: furthest + 1]])
    return int(score.argmax()) - furthest


def examine(case: Case) -> Finding | None:
    """Assert when shifting the output wins decibels."""
    if case.runner.length_change is not None:
        return _other_length(*case.runner.length_change)
    lag = case.measure(best_lag)
    if lag == 0:
        return None
    length = case.x.shape[-1]
    start, stop = max(0, lag), min(length, length + lag)
    moved = case.x_hat[..., start:stop]
    target = case.x[..., start - lag : stop - lag]
    before = case.x_hat[..., start - lag : stop - lag] - target
    win = decibels(mean_square(before) / max(mean_square(moved - target), 1e-20))
    after = mean_square(moved - target) / case.variance
    confidence = min(
        case.threshold("misalignment.win_db").confidence(win),
        case.threshold("misalignment.fvu_after").confidence(after),
    )
    if confidence < 0.1:
        return None
    return Finding(
        id="misalignment",
        confidence=confidence,
        severity=win,
        severity_unit="dB",
        summary=f"the output is {abs(lag)} samples {'late' if lag > 0 else 'early'}; shifting it "
        f"wins {win:.1f} dB",
        evidence=(
            Evidence("lag of the cross-correlation", lag, "samples", "0"),
            Evidence("win of the shift", win, "dB", "0"),
            Evidence("error / R1 after the shift", after, "1", "small"),
        ),
        ruled_out=(RuledOut("amplitude-shrinkage", "the shift, not a gain, repairs it"),),
        treatment="make paddings symmetric (or declare the causal delay and undo it); trim the "
        "decoder's output to the input's length at the right end",
        expects=("the lag becomes 0", "SNR rises by the severity"),
    )


def _other_length(expected: tuple[int, ...], found: tuple[int, ...]) -> Finding:
    """Report an output of another size; it was cut or padded for every other measurement."""
    return Finding(
        id="misalignment",
        confidence=0.95,
        severity=float(max(abs(a - b) for a, b in zip(expected, found, strict=True))),
        severity_unit="samples lost or added",
        summary=f"an input of {expected} comes back as {found}",
        evidence=(Evidence("size of the output", float(found[-1]), "samples", f"{expected[-1]}"),),
        treatment="pad the input to a multiple of the total stride, and trim the output to the "
        "input's length",
        expects=("output and input have one size for every length",),
    )
