"""codebook-collapse: few codes are used where k-means would use most of them, and it shows.

Dead codes alone are no fault: a residual quantiser may leave codes of its later levels unused and
lose nothing. Each level is held against k-means with as many vectors on the same residuals, and
what it would win counts by the share of the latent's variance that reaches the level.
"""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case, decibels
from pellucid.diagnosis.evidence import ASSERTED, Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.codes import LevelUse, code_use, on_grid
from pellucid.diagnosis.probes.quantisation import quantised
from pellucid.diagnosis.probes.training import outlearned

POOR = 0.2
"""Error / R1 of decode(mean) beyond which a model has not learned much yet."""


def missing(case: Case) -> str | None:
    """Codes, at the positions of the latents."""
    if case.latent.codes is None:
        return "codes (Latent.codes)"
    if not math.isfinite(case.measure(code_use)[0].kmeans_share):
        return "codes at the positions of Latent.mean"
    if case.measure(on_grid) and not case.subject.codebooks:
        return "a codebook that is learned (this quantiser rounds to a grid)"
    return None


def examine(case: Case) -> Finding | None:
    """Assert on the worst level."""
    judged = [
        (_confidence(case, use), level, use) for level, use in enumerate(case.measure(code_use))
    ]
    confidence, level, use = max(judged, key=lambda j: j[0])
    if confidence >= ASSERTED and _poor_without_codes(case):
        confidence = min(confidence, 1 - outlearned(case, 0.0))
    if confidence < 0.1:
        return None
    win = _win_db(use)
    where = f"level {level + 1}: " if len(judged) > 1 else ""
    return Finding(
        id="codebook-collapse",
        confidence=confidence,
        severity=win,
        severity_unit="dB of latent error",
        summary=f"{where}{use.used} of {use.size} codes are used over {use.vectors} positions "
        f"(perplexity {use.perplexity:.3g}); k-means with as many vectors reaches "
        f"{use.kmeans_perplexity:.3g} and {win:.1f} dB less latent error",
        evidence=(
            Evidence("codes used", use.used, "codes", f"most of {use.size}"),
            Evidence("of them at a tenth of an even share", use.alive, "codes", "most of them"),
            Evidence(
                "perplexity", use.perplexity, "codes", f"{use.kmeans_perplexity:.3g} by k-means"
            ),
            Evidence(
                "unexplained variance of the latent",
                use.residual_share,
                "1",
                f"{use.kmeans_share:.3g} by k-means",
            ),
        ),
        ruled_out=(
            RuledOut(
                "codebook-too-small",
                f"the size is not used up: {use.size - use.used} codes are dead",
            ),
        ),
        treatment="initialise by k-means on encoder outputs, restart dead codes (with averaging "
        "state), lower the code dimension or normalise codes; watch usage over the whole set",
        expects=("usage and perplexity rise", "the quantisation bar shrinks"),
    )


def _poor_without_codes(case: Case) -> bool:
    """Say whether decode(mean) is bad too: a young model's codes are few because it is young."""
    bar = case.measure(quantised)
    return bar is None or bar.mean > POOR * case.variance


def _confidence(case: Case, use: LevelUse) -> float:
    """Weigh dead codes, perplexity against k-means, and the latent error it costs."""
    if not math.isfinite(use.kmeans_share) or use.size < 4:
        return 0.0
    reachable = min(use.size, max(2, use.vectors // 4))
    # Codes of a projected or unknown space may be idle for good reasons: more has to be wrong.
    doubt, margin_db = (1.0, 0.0) if use.exact else (2.0, 1.5)
    return min(
        case.threshold("codebook-collapse.used").confidence(use.alive / reachable),
        case.threshold("codebook-collapse.perplexity").confidence(
            doubt * use.perplexity / max(use.kmeans_perplexity, 1.0)
        ),
        case.threshold("codebook-collapse.win_db").confidence(_win_db(use) - margin_db),
        case.threshold("codebook-collapse.lost_share").confidence(
            use.weight * (use.residual_share - use.kmeans_share)
        ),
    )


def _win_db(use: LevelUse) -> float:
    return decibels(use.residual_share / max(use.kmeans_share, 1e-12))
