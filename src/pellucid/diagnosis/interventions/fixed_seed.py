"""Fix the seed of a random decoder: a decoder that decodes must still follow its latent."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Confirmation, Evidence, Finding
from pellucid.diagnosis.probes.repeated import repeated


def intervene(case: Case, finding: Finding) -> Confirmation:
    """Compare the seeded outputs of different latents."""
    found = case.measure(repeated)
    effect = Evidence(
        "change of the seeded output when latents are exchanged / Var(x)",
        found.follows_latent,
        "1",
        "about 2",
    )
    if found.follows_latent < 1e-6:
        verdict = "confirmed"
    elif found.output_share > 0.5 or found.average_win_db > 1:
        verdict = "confirmed"  # it follows its latent, and the noise alone costs more than 1 dB
    else:
        verdict = "undecided"
    return Confirmation(
        "the random seed was fixed",
        "the output still ignores z, or the noise alone explains the error",
        effect,
        verdict,
    )
