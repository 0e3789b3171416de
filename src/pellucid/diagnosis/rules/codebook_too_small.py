"""codebook-too-small: every code is used, the codes are well placed, and still there are too few.

More codes always help a little, so that alone is no fault. Asserted when quantisation costs decoded
decibels and 4·K vectors would win many of them back behind the frozen decoder; or when K vectors,
though as good as k-means, leave most of the latent's variance and free latents decode far better.
"""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case, decibels
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.codes import LevelUse, code_use
from pellucid.diagnosis.probes.latent_search import latent_search
from pellucid.diagnosis.probes.quantisation import OtherBooks, Quantised, other_books, quantised


def missing(case: Case) -> str | None:
    """One codebook, and the latent before and after it in one space."""
    if case.latent.codes is None:
        return "codes (Latent.codes)"
    if case.measure(quantised) is None:
        return "Latent.mean and Latent.quantized in one space"
    if case.measure(other_books) is None:
        return "one codebook of at most 512 vectors, and 16 latent vectors per code"
    use = case.measure(code_use)[0]
    return None if math.isfinite(use.kmeans_share) else "a codebook in the space of Latent.mean"


def examine(case: Case) -> Finding | None:
    """Assert full use, k-means quality, and much to win with 4·K vectors."""
    bar, books, use = _measured(case)
    bar_db = case.db(bar.mean) - case.db(bar.own)
    wider_db = case.db(books.wider) - case.db(books.same)
    behind = decibels(use.residual_share / max(use.kmeans_share, 1e-12))
    full = min(
        case.threshold("codebook-too-small.used").confidence(use.used / use.size),
        case.threshold("codebook-too-small.own_db").confidence(behind),
    )
    frozen = min(
        case.threshold("codebook-too-small.bar_db").confidence(bar_db),
        case.threshold("codebook-too-small.wider_db").confidence(wider_db),
        case.threshold("codebook-too-small.share").confidence(books.same_share),
    )
    coarse = case.threshold("codebook-too-small.coarse").confidence(use.kmeans_share)
    if coarse >= 0.1 and not case.clock.out:
        searched = case.measure(latent_search)
        free_db = 0.0 if searched is None else case.db(searched.free) - case.db(searched.own)
        coarse = min(coarse, case.threshold("codebook-too-small.free_db").confidence(free_db))
    confidence = min(full, max(frozen, coarse))
    if confidence < 0.1:
        return None
    bits = math.log2(use.size)
    return Finding(
        id="codebook-too-small",
        confidence=confidence,
        severity=max(bar_db, wider_db),
        severity_unit="dB",
        summary=f"{use.used} of {use.size} codes are in use ({bits:.3g} bits per token) and leave "
        f"{books.same_share:.2g} of the latent's variance; quantisation costs {bar_db:.1f} dB, and "
        f"{4 * use.size} vectors would win {wider_db:.1f} dB behind the same decoder",
        evidence=(
            Evidence("codes used", use.used, "codes", f"below {use.size}"),
            Evidence("decode(z) against decode(q(z))", bar_db, "dB", "< 1.5"),
            Evidence("won by k-means with 4·K vectors, decoded", wider_db, "dB", "small"),
            Evidence("latent variance left by K vectors", books.same_share, "1", "< 0.1"),
            Evidence("the same with 4·K", books.wider_share, "1", "about as much"),
        ),
        ruled_out=(
            RuledOut("codebook-collapse", f"{use.used} of {use.size} codes are in use"),
            RuledOut(
                "commitment-drift",
                f"k-means with the same K places its vectors {behind:.1f} dB better at most",
            ),
        ),
        treatment="raise K, add residual levels, or use product codes (groups of channels)",
        expects=("the quantisation bar shrinks", "bits per token stay below log₂K"),
        suggests={"codes": float(4 * use.size)},
    )


def _measured(case: Case) -> tuple[Quantised, OtherBooks, LevelUse]:
    bar, books = case.measure(quantised), case.measure(other_books)
    assert bar is not None
    assert books is not None
    return bar, books, case.measure(code_use)[0]
