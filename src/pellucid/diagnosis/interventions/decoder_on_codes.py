"""Train the decoder alone on q(mean): a decoder that never saw codes must win held-out dB."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Confirmation, Evidence, Finding
from pellucid.diagnosis.probes.decoder_tuning import STEPS, tuned_decoder


def intervene(case: Case, finding: Finding) -> Confirmation | None:
    """Report the decoder-only fork with its interval over held samples."""
    tuned = case.measure(tuned_decoder)
    if tuned is None:
        return None
    effect = Evidence(
        "held-out win of the decoder-only fork", tuned.win_db, "dB", "0", tuned.low, tuned.high
    )
    threshold = case.threshold("post-hoc-gap.tuned_db").value
    if tuned.low > threshold:
        verdict = "confirmed"
    elif tuned.high < threshold and tuned.steps >= STEPS // 2:
        verdict = "refuted"
    else:
        verdict = "undecided"
    return Confirmation(
        f"{tuned.steps} steps on the decoder alone, fed q(mean)",
        "decode(q(mean)) improves on held-out samples",
        effect,
        verdict,
    )
