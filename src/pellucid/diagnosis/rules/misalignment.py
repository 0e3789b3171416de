"""misalignment: the output comes back late, early, to one side, or with samples lost."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut

FURTHEST = 0.25
"""Lags up to this share of an axis are searched."""


def missing(case: Case) -> str | None:
    """Data with positions, or an output of another length."""
    has_positions = case.x.ndim > 2 and max(case.x.shape[2:]) >= 8
    return None if has_positions or case.runner.length_change else "data with positions"


def best_lag(case: Case) -> tuple[int, ...]:
    """Return the lag along each axis that maximises the cross-correlation, summed over samples."""
    axes = tuple(range(2, case.x.ndim))
    sizes = [2 * case.x.shape[axis] for axis in axes]
    a, b = (
        torch.fft.rfftn(t.double() - t.double().mean(), s=sizes, dim=axes)
        for t in (case.x, case.x_hat)
    )
    score = torch.fft.irfftn((b * a.conj()).sum((0, 1)), s=sizes)
    for axis, length in enumerate(case.x.shape[2:]):
        furthest = max(1, int(FURTHEST * length))
        lags = torch.arange(-furthest, furthest + 1) % (2 * length)
        score = score.index_select(axis, lags)
    place = torch.unravel_index(score.argmax(), score.shape)
    return tuple(int(p) - score.shape[axis] // 2 for axis, p in enumerate(place))


def examine(case: Case) -> Finding | None:
    """Assert when shifting the output wins decibels."""
    if case.runner.length_change is not None:
        return _other_length(*case.runner.length_change)
    lag = case.measure(best_lag)
    if not any(lag):
        return None
    x = _common(case.x, tuple(-n for n in lag))
    moved, before = _common(case.x_hat, lag), _common(case.x_hat, tuple(-n for n in lag))
    win = decibels(mean_square(before - x) / max(mean_square(moved - x), 1e-20))
    after = mean_square(moved - x) / case.variance
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
        summary=f"{_in_words(case, lag)}; shifting it wins {win:.1f} dB",
        evidence=(
            Evidence("lag of the cross-correlation", float(max(map(abs, lag))), "positions", "0"),
            Evidence("win of the shift", win, "dB", "0"),
            Evidence("error / R1 after the shift", after, "1", "small"),
        ),
        ruled_out=(RuledOut("amplitude-shrinkage", "the shift, not a gain, repairs it"),),
        treatment="make paddings symmetric (or declare the causal delay and undo it); trim the "
        "decoder's output to the input's length at the right end",
        expects=("the lag becomes 0", "SNR rises by the severity"),
    )


def _common(t_NCP: Tensor, lag: tuple[int, ...]) -> Tensor:
    """Return t[p + lag] at the positions p where both p and p + lag exist."""
    for axis, n in enumerate(lag, start=2):
        length = t_NCP.shape[axis]
        t_NCP = t_NCP.narrow(axis, max(0, n), length - abs(n))
    return t_NCP


def _in_words(case: Case, lag: tuple[int, ...]) -> str:
    if case.is_audio:
        return f"the output is {abs(lag[0])} samples {'late' if lag[0] > 0 else 'early'}"
    moved = " and ".join(
        f"{abs(n)} pixels {names[n > 0]}"
        for n, names in zip(lag, (("up", "down"), ("left", "right")), strict=False)
        if n
    )
    return f"the output is moved {moved}"


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
