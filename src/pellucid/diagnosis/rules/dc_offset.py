"""dc-offset: the waveform comes back with a constant added."""

from __future__ import annotations

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.diagnosis.evidence import ASSERTED, Evidence, Finding
from pellucid.diagnosis.probes.affine import trained_refit
from pellucid.diagnosis.probes.training import outlearned
from pellucid.diagnosis.rules.access import audio as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when the mean carries a share of the output's energy that the input's does not."""
    out = float(case.x_hat.double().mean()) ** 2 / max(mean_square(case.x_hat), 1e-20)
    inp = float(case.x.double().mean()) ** 2 / max(mean_square(case.x), 1e-20)
    shift = float((case.x_hat - case.x).double().mean())
    win = decibels(case.mse / max(case.mse - shift**2, 1e-20))
    trained = case.measure(trained_refit)
    shared = float(trained.channel_offsets.mean()) * -shift > 0.25 * shift**2
    confidence = min(
        0.99 if shared else 0.3,  # else a shift between the sets
        case.threshold("dc-offset.share").confidence(out - inp),
        case.threshold("dc-offset.win_db").confidence(win),
    )
    if confidence >= ASSERTED:
        confidence = min(confidence, 1 - outlearned(case, win))
    if confidence < 0.1:
        return None
    silence = float(case.runner.decode(case.runner.encode(case.x[:8] * 0).mean, case.x[:8]).mean())
    return Finding(
        id="dc-offset",
        confidence=confidence,
        severity=win,
        severity_unit="dB",
        summary=f"the output carries a constant of {shift:+.3g} ({out:.1%} of its energy); "
        f"subtracting it wins {win:.1f} dB",
        evidence=(
            Evidence("mean(x̂)² / E[x̂²]", out, "1", f"≤ {inp:.2g}, the input's"),
            Evidence("win of subtracting the mean", win, "dB", "0"),
            Evidence("output for silence", silence, "amplitude", "0"),
        ),
        treatment="use a last layer without bias and a time-domain loss term (spectral ones "
        "alone do not see a constant)",
        expects=("decode(silence) becomes 0", "SNR rises by the severity"),
    )
