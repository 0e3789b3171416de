"""range-mismatch: output and data live in different units, or the head cannot reach the data."""

from __future__ import annotations

import dataclasses
import math

import torch

from pellucid.diagnosis.case import Case, decibels, mean_square
from pellucid.diagnosis.evidence import ASSERTED, Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.affine import AffineRefit, affine_refit, trained_refit
from pellucid.diagnosis.probes.training import outlearned
from pellucid.diagnosis.rules.access import nothing as missing

__all__ = ["Reach", "examine", "missing", "reach"]


@dataclasses.dataclass(frozen=True)
class Reach:
    """What the output head can produce, found by decoding exaggerated latents.

    Args:
        low, high: extremes of the output.
        at_low, at_high: share of exaggerated outputs within 1 % of the extremes: a hard bound
            collects much of them.
        outside: share of x beyond a hard bound, by more than 5 % of its own spread.
        clipped_db: dB a model without the bound could win: error with x clipped to the bound.
    """

    low: float
    high: float
    at_low: float
    at_high: float
    outside: float
    clipped_db: float


def reach(case: Case) -> Reach:
    """Decode latents pushed far out, and see where the output stops."""
    count, x = min(8, len(case.x)), case.x
    far_out = torch.cat([scale * case.z[:count] for scale in (3.0, 10.0, 100.0, -10.0, -100.0)])
    far = case.runner.decode(far_out, x[:1].expand(len(far_out), *x.shape[1:]))
    far = torch.nan_to_num(far, nan=0.0, posinf=1e30, neginf=-1e30)
    low, high = float(far.min()), float(far.max())
    width, spread = max(high - low, 1e-12), float(x.std())
    at_low = float((far <= low + 0.01 * width).float().mean())
    at_high = float((far >= high - 0.01 * width).float().mean())
    below = x < low - 0.05 * spread if at_low > 0.02 else torch.zeros_like(x, dtype=torch.bool)
    above = x > high + 0.05 * spread if at_high > 0.02 else torch.zeros_like(x, dtype=torch.bool)
    clipped = torch.where(below, low, torch.where(above, high, x))
    lost = mean_square(clipped - x)
    rest = max(case.mse - lost, 0.02 * case.mse)
    return Reach(
        low, high, at_low, at_high, float((below | above).float().mean()), decibels(case.mse / rest)
    )


def examine(case: Case) -> Finding | None:
    """Assert a refit that wins on held-out samples, or data beyond a hard bound of the head."""
    refit, limit = case.measure(affine_refit), case.measure(reach)
    units = min(
        case.threshold("range-mismatch.refit_gain_db").confidence(
            min(refit.win_db, case.measure(trained_refit).win_db)
        ),
        case.threshold("range-mismatch.correlation").confidence(abs(refit.correlation)),
        max(
            case.threshold("range-mismatch.departure").confidence(departure(case, refit)),
            case.threshold("range-mismatch.dominant_db").confidence(refit.win_db),
        ),
        0.99 if refit.low > 0 else 0.3,
    )
    if not _is_range(case, refit):
        units = 0.0
    if units >= ASSERTED:
        units = min(units, 1 - outlearned(case, refit.win_db))
    head = min(
        case.threshold("range-mismatch.outside").confidence(limit.outside),
        case.threshold("range-mismatch.clipped_db").confidence(limit.clipped_db),
    )
    confidence = max(units, head)
    if confidence < 0.1:
        return None
    low, high = float(case.x.min()), float(case.x.max())
    return Finding(
        id="range-mismatch",
        confidence=confidence,
        severity=max(refit.win_db, limit.clipped_db if head > units else 0.0),
        severity_unit="dB",
        summary=_summary(refit, limit, (low, high), head > units),
        evidence=(
            Evidence("gain of the best affine map", refit.gain, "1", "1"),
            Evidence("offset of the best affine map", refit.offset, "data units", "0"),
            Evidence("√(ln² gain + (bias/σ)²)", departure(case, refit), "1", "< 0.3"),
            Evidence("held-out win of the map", refit.win_db, "dB", "< 0.5", refit.low, refit.high),
            Evidence("share of the data beyond the head's reach", limit.outside, "1", "0"),
            Evidence("correlation of output and data", refit.correlation, "1", "near 1"),
        ),
        ruled_out=(
            RuledOut(
                "under-training",
                "output and data correlate at "
                f"{refit.correlation:.2f}: the content is learned, its units are not"
                if units >= head
                else f"the head stops at [{limit.low:.3g}, {limit.high:.3g}] for any z",
            ),
        ),
        treatment="use one value-range contract: normalise the data to the range the output head "
        "produces (sigmoid → [0, 1], tanh → [−1, 1], none → any) and invert it when reading "
        "the output",
        expects=("the affine map becomes the identity", "PSNR/SNR rises by the severity"),
    )


def departure(case: Case, refit: AffineRefit) -> float:
    """Return how far the output's units are from the data's: √(ln² gain + (bias/σ)²).

    Wrong units are a factor or a shift of the order of the data's own spread. What is off by less,
    and is not most of the error, is calibration: the last steps of a noisy training.
    """
    bias = float((case.x_hat - case.x).double().mean()) / max(float(case.x.std()), 1e-12)
    return math.hypot(math.log(min(max(abs(refit.gain), 1e-6), 1e6)), bias)


def _is_range(case: Case, refit: AffineRefit) -> bool:
    """Leave pure level errors of zero-centred data and offsets per channel to their own rows."""
    spread = float(case.x.std())
    if case.is_audio:
        centred = abs(float(case.x.mean())) < 0.1 * spread
        return not centred or (abs(refit.offset) > 0.2 * spread and abs(refit.gain - 1) > 0.2)
    offsets = refit.channel_offsets
    apart = float(offsets.var(correction=0)) if len(offsets) > 1 else 0.0
    shared = (refit.gain - 1) ** 2 * spread**2 + float(offsets.mean()) ** 2
    return apart < shared or abs(refit.gain - 1) > 0.25


def _summary(refit: AffineRefit, limit: Reach, data: tuple[float, float], by_head: bool) -> str:
    spans = f"data span [{data[0]:.3g}, {data[1]:.3g}]"
    if by_head:
        return (
            f"{spans} but the output cannot leave [{limit.low:.3g}, {limit.high:.3g}]: "
            f"{limit.outside:.0%} of the data are out of reach"
        )
    return (
        f"x ≈ {refit.gain:.3g}·x̂ {refit.offset:+.3g} wins {refit.win_db:.1f} dB on held-out "
        f"samples ({spans})"
    )
