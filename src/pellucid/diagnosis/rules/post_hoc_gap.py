"""post-hoc-gap: codes were put behind a trained autoencoder, and its decoder never saw them.

decode(mean) must be good before anything after it is blamed, and the quantiser must be about as
good as k-means. What remains is a decoder off its training distribution: trained on q(mean) for a
moment, it wins much back. A decoder trained end to end has nothing to win there, however large its
quantisation bar.
"""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case, decibels
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.codes import code_use
from pellucid.diagnosis.probes.decoder_tuning import Tuned, tuned_decoder
from pellucid.diagnosis.probes.quantisation import Quantised, quantised

HINT = 0.4


def missing(case: Case) -> str | None:
    """The latent before and after quantisation, in one space."""
    if case.latent.quantized is None:
        return "Latent.quantized beside Latent.mean"
    if case.measure(quantised) is None:
        return "Latent.mean and Latent.quantized in one space"
    return None


def examine(case: Case) -> Finding | None:
    """Assert a large quantisation bar that a decoder-only fork makes smaller."""
    bar = case.measure(quantised)
    assert bar is not None
    bar_db = case.db(bar.mean) - case.db(bar.own)
    behind = _behind_kmeans(case)
    confidence = min(
        case.threshold("post-hoc-gap.bar_db").confidence(bar_db),
        case.threshold("post-hoc-gap.mean_fvu").confidence(bar.mean / case.variance),
        0.99 if behind is None else case.threshold("post-hoc-gap.own_db").confidence(behind),
    )
    if confidence < 0.1:
        return None
    tuned = None if case.clock.out else case.measure(tuned_decoder)
    if tuned is None:
        confidence = min(confidence, HINT)
    else:
        confidence = min(confidence, case.threshold("post-hoc-gap.tuned_db").confidence(tuned.low))
    if confidence < 0.1:
        return None
    won = "" if tuned is None else (
        f"; {tuned.steps} decoder-only steps on codes win {tuned.win_db:.1f} dB"
    )  # fmt: skip
    return Finding(
        id="post-hoc-gap",
        confidence=confidence,
        severity=bar_db,
        severity_unit="dB",
        summary=f"decode(mean) is good ({bar.mean / case.variance:.2g} of R1), decode(q(mean)) is "
        f"{bar_db:.1f} dB worse: the decoder was not trained on codes{won}",
        evidence=_evidence(bar, tuned, case.variance),
        ruled_out=() if behind is None else (_not_the_codebook(behind),),
        treatment="fine-tune the decoder alone on q(mean), or train with the quantiser in place; "
        "then see how many codes are needed",
        expects=("decode(q(mean)) comes nearer to decode(mean)",),
        suggests={"train_only": "decoder"},
    )


def _evidence(bar: Quantised, tuned: Tuned | None, variance: float) -> tuple[Evidence, ...]:
    found = (
        Evidence("error / R1 of decode(mean)", bar.mean / variance, "1", "well below 1"),
        Evidence("error / R1 of decode(q(mean))", bar.own / variance, "1", "about as low"),
        Evidence("latent variance left by q", bar.latent_share, "1", "small"),
    )
    if tuned is None:
        return found
    name = "won by training the decoder on q(mean)"
    return (*found, Evidence(name, tuned.win_db, "dB", "0", tuned.low, tuned.high))


def _not_the_codebook(behind_db: float) -> RuledOut:
    why = f"the quantiser stands {behind_db:.1f} dB from k-means with as many vectors"
    return RuledOut("codebook-collapse", why)


def _behind_kmeans(case: Case) -> float | None:
    """Return dB of latent error beyond k-means of the worst level that matters, or None."""
    known = (u for u in case.measure(code_use) if u.exact and math.isfinite(u.kmeans_share))
    uses = [u for u in known if u.weight > 0.2]
    if not uses:
        return None
    return max(decibels(u.residual_share / max(u.kmeans_share, 1e-12)) for u in uses)
