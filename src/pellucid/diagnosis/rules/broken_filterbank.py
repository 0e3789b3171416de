"""broken-filterbank: a "mel" bank whose rows are no ordered triangles over 0…Nyquist."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding


def missing(case: Case) -> str | None:
    """A filterbank must be given."""
    return None if case.subject.filterbanks else "Subject.filterbanks"


def examine(case: Case) -> Finding | None:
    """Assert when rows are unordered, have several peaks, or leave frequencies uncovered."""
    worst: Finding | None = None
    for name, bank in case.subject.filterbanks.items():
        ordered, single, covered = shape_of(bank.detach().cpu().double())
        confidence = max(
            case.threshold("broken-filterbank.ordered").confidence(ordered),
            case.threshold("broken-filterbank.single").confidence(single),
            case.threshold("broken-filterbank.covered").confidence(covered),
        )
        if confidence < 0.1 or (worst is not None and confidence <= worst.confidence):
            continue
        worst = Finding(
            id="broken-filterbank",
            confidence=confidence,
            severity=1 - min(ordered, single, covered),
            severity_unit="share of the bank",
            summary=f"'{name}' is no filterbank: {ordered:.0%} of rows are in order, {single:.0%} "
            f"have one peak, {covered:.0%} of the band is covered",
            evidence=(
                Evidence("neighbouring rows whose centres rise", ordered, "1", "1"),
                Evidence("rows with a single peak", single, "1", "1"),
                Evidence("share of 0…Nyquist covered", covered, "1", "> 0.9"),
            ),
            treatment="build the bank from the mel scale (f_min 0, f_max Nyquist, the transform's "
            "own number of bins) and compare it with a reference implementation once",
            expects=("rows rise, have one peak and cover the band",),
        )
    return worst


def shape_of(bank: Tensor) -> tuple[float, float, float]:
    """Return shares: rows in order, rows with one peak, band covered; (bands, bins) expected."""
    bank = bank.abs()
    live = bank[bank.sum(1) > 1e-12 * bank.sum().clamp_min(1e-30)]
    if len(live) < 2:
        return 0.0, 0.0, 0.0
    bins = torch.arange(live.shape[1], dtype=live.dtype)
    centres = (live * bins).sum(1) / live.sum(1)
    ordered = float((centres.diff() >= -1e-6).double().mean())
    peaks = []
    for row in live:
        strong = (row > 0.05 * row.max()).nonzero().flatten()
        inside = row[int(strong[0]) : int(strong[-1]) + 1]
        slope = inside.diff()
        signs = slope[slope.abs() > 1e-9 * row.max()].sign()
        peaks.append(float(bool((signs.diff() <= 0).all())))
    total = live.sum(0)
    reached = (total > 1e-3 * total.max()).nonzero().flatten()
    covered = float(reached[-1] - reached[0] + 1) / live.shape[1]
    return ordered, sum(peaks) / len(peaks), covered
