"""level-spread: samples differ so much in level that quiet ones are not reconstructed.

The level of a waveform is its loudness; of an image or stack, its power above the dark end. Quiet
samples may be hard for other reasons, so they are brought to the middle level by a gain, decoded,
and brought back: where that repairs them, it was the level.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, per_sample
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.rules.access import nothing as missing

__all__ = ["LevelSpread", "examine", "level_spread", "missing"]

RANGE_DB = 80.0
"""Samples further below the loudest are silence."""


@dataclasses.dataclass(frozen=True)
class LevelSpread:
    """Error along level.

    Args:
        spread_db: from the 10 % to the 90 % quantile of level.
        contrast_db: relative error of the quiet quarter minus that of the loud one (medians).
        quiet_db: relative error of the quiet quarter (median).
        correlation: of level and relative error in dB.
        gain_win_db: dB that the quiet quarter wins when brought to the middle level and back.
    """

    spread_db: float
    contrast_db: float
    quiet_db: float
    correlation: float
    gain_win_db: float


def level_spread(case: Case) -> LevelSpread | None:
    """Measure; None when fewer than eight samples sound."""
    x = _anchored(case, case.x)
    power = per_sample(x).clamp_min(1e-20)
    level = 10 * power.log10()
    live = level > level.max() - RANGE_DB
    if int(live.sum()) < 8:
        return None
    relative = 10 * (per_sample(case.x_hat - case.x).clamp_min(1e-20) / power).log10()
    quiet = live & (level <= level[live].quantile(0.25))
    loud = live & (level >= level[live].quantile(0.75))
    gain = 10 ** ((level[live].median() - level[quiet]) / 20)
    return LevelSpread(
        spread_db=float(level[live].quantile(0.9) - level[live].quantile(0.1)),
        contrast_db=float(relative[quiet].median() - relative[loud].median()),
        quiet_db=float(relative[quiet].median()),
        correlation=float(torch.corrcoef(torch.stack([level[live], relative[live]]))[0, 1]),
        gain_win_db=_gain_win(case, quiet, gain.float()),
    )


def _gain_win(case: Case, quiet_N: Tensor, gain: Tensor) -> float:
    """Amplify the quiet samples, run the model, attenuate its answer; return the dB won."""
    x = case.x[quiet_N]
    gain = gain.view(-1, *[1] * (x.ndim - 1))
    floor = x - _anchored(case, x)
    louder = floor + gain * (x - floor)
    answer = floor + (case.runner.roundtrip(louder)[1] - floor) / gain
    before, after = per_sample(case.x_hat[quiet_N] - x), per_sample(answer - x)
    return float(10 * (before / after.clamp_min(1e-20)).log10().median())


def _anchored(case: Case, x: Tensor) -> Tensor:
    """Return x above what level is counted from: the mean of a waveform, the dark end of pixels."""
    if case.is_audio:
        return x - x.mean(-1, keepdim=True)
    low, high = case.subject.value_range
    near = abs(float(case.x.min()) - low) < 0.1 * (high - low)
    return x - low if near else x


def examine(case: Case) -> Finding | None:
    """Assert a wide spread along which the relative error falls, and which a gain repairs."""
    found = case.measure(level_spread)
    if found is None:
        return None
    confidence = min(
        case.threshold("level-spread.spread_db").confidence(found.spread_db),
        case.threshold("level-spread.contrast_db").confidence(found.contrast_db),
        case.threshold("level-spread.quiet_db").confidence(found.quiet_db),
        case.threshold("level-spread.correlation").confidence(-found.correlation),
        case.threshold("level-spread.gain_win_db").confidence(found.gain_win_db),
    )
    if confidence < 0.1:
        return None
    return Finding(
        id="level-spread",
        confidence=confidence,
        severity=found.contrast_db,
        severity_unit="dB",
        summary=f"levels span {found.spread_db:.0f} dB, and the quiet quarter does "
        f"{found.contrast_db:.1f} dB worse (relative to its own level) than the loud one; at the "
        f"middle level it wins {found.gain_win_db:.1f} dB",
        evidence=(
            Evidence("10–90 % spread of level", found.spread_db, "dB", "< 15"),
            Evidence(
                "relative error of quiet minus loud samples", found.contrast_db, "dB", "about 0"
            ),
            Evidence("correlation of level and relative error", found.correlation, "1", "about 0"),
            Evidence("won by quiet samples at the middle level", found.gain_win_db, "dB", "0"),
        ),
        treatment="normalise loudness and carry the gain as side information, or train with random "
        "gains",
        expects=("relative error becomes flat against level",),
    )
