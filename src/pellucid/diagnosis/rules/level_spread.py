"""level-spread: samples differ so much in loudness that quiet ones are not reconstructed."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case, per_sample
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.rules.access import audio as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert a wide spread of levels along which the relative error falls."""
    x = case.x - case.x.mean(-1, keepdim=True)
    level = 10 * per_sample(x).clamp_min(1e-20).log10()
    relative = 10 * (per_sample(case.x_hat - case.x) / per_sample(x).clamp_min(1e-20)).log10()
    live = level > level.max() - 80
    level, relative = level[live], relative[live]
    spread = float(level.quantile(0.9) - level.quantile(0.1))
    quiet, loud = level <= level.quantile(0.25), level >= level.quantile(0.75)
    contrast = float(relative[quiet].median() - relative[loud].median())
    slope = float(torch.corrcoef(torch.stack([level, relative]))[0, 1])
    confidence = min(
        case.threshold("level-spread.spread_db").confidence(spread),
        case.threshold("level-spread.contrast_db").confidence(contrast),
        case.threshold("level-spread.quiet_db").confidence(float(relative[quiet].median())),
        case.threshold("level-spread.correlation").confidence(-slope),
    )
    if confidence < 0.1:
        return None
    return Finding(
        id="level-spread",
        confidence=confidence,
        severity=contrast,
        severity_unit="dB",
        summary=f"levels span {spread:.0f} dB, and the quiet quarter does {contrast:.1f} dB "
        "worse (relative to its own level) than the loud one",
        evidence=(
            Evidence("10–90 % spread of level", spread, "dB", "< 15"),
            Evidence("relative error of quiet minus loud samples", contrast, "dB", "about 0"),
            Evidence("correlation of level and relative error", slope, "1", "about 0"),
        ),
        treatment="normalise loudness and carry the gain as side information, or train with random "
        "gains",
        expects=("relative error becomes flat against level",),
    )
