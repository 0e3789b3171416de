"""colour-drift: channels are shifted, and drift further with every round trip."""

from __future__ import annotations

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.diagnosis.evidence import ASSERTED, Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.affine import affine_refit, trained_refit
from pellucid.diagnosis.probes.training import outlearned
from pellucid.diagnosis.rules.access import images as missing

__all__ = ["examine", "missing"]

ROUND_TRIPS = 10


def examine(case: Case) -> Finding | None:
    """Assert per-channel offsets that cost decibels and that a global map does not explain."""
    refit = case.measure(affine_refit)
    offset = refit.channel_offsets.view(1, -1, *[1] * (case.x.ndim - 2)).float()
    held_x, held_hat = case.x[1::2], case.x_hat[1::2]
    win = decibels(
        mean_square(held_hat - held_x) / max(mean_square(held_hat + offset - held_x), 1e-20)
    )
    largest = float((refit.channel_offsets.abs() / case.x.transpose(0, 1).flatten(1).std(1)).max())
    trained = case.measure(trained_refit)
    opposed = float((trained.channel_offsets * refit.channel_offsets).sum()) <= 0
    # An offset that training samples do not share is a shift between the sets.
    largest = min(
        largest,
        float((trained.channel_offsets.abs() / case.fit.transpose(0, 1).flatten(1).std(1)).max()),
    )
    confidence = min(
        0.3 if opposed else 0.99,
        case.threshold("colour-drift.win_db").confidence(win),
        case.threshold("colour-drift.offset").confidence(largest),
        case.threshold("colour-drift.correlation").confidence(refit.correlation),
        0.99 if win > 0.5 * refit.win_db else 0.3,  # otherwise the units explain it
    )
    if confidence >= ASSERTED:
        confidence = min(confidence, 1 - outlearned(case, win))
    if confidence < 0.1:
        return None
    count = min(8, len(case.x))
    x = case.x[:count]
    for _ in range(ROUND_TRIPS):
        x = case.runner.roundtrip(x)[1]
    drift = float((x.mean() - case.x[:count].mean()).abs() / case.x.std())
    return Finding(
        id="colour-drift",
        confidence=confidence,
        severity=win,
        severity_unit="dB",
        summary=f"channel means are off by up to {largest:.2g} standard deviations; removing the "
        f"offsets wins {win:.1f} dB",
        evidence=(
            Evidence("win of removing per-channel offsets", win, "dB", "0"),
            Evidence("largest offset / std of its channel", largest, "1", "0"),
            Evidence(f"drift of the mean after {ROUND_TRIPS} round trips / std", drift, "1", "0"),
        ),
        ruled_out=(RuledOut("range-mismatch", f"gain {refit.gain:.2f}: offsets alone repair it"),),
        treatment="train against the same targets that are evaluated (one scaling per channel, "
        "inverted at the output); fine-tune the last layer's bias",
        expects=("channel means agree", "round trips stop drifting"),
    )
