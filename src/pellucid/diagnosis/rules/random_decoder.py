"""random-decoder: decode answers with random numbers, or ignores what it is asked to decode."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.latent_use import latent_use
from pellucid.diagnosis.probes.posterior import posterior
from pellucid.diagnosis.probes.repeated import repeated
from pellucid.diagnosis.rules.access import nothing as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert when repeated decodes differ at a price, or the seeded output ignores the latent."""
    found = case.measure(repeated)
    ignores = found.follows_latent < 1e-6
    noisy = case.threshold("random-decoder.noise_cost_db").confidence(found.average_win_db)
    share = case.threshold("random-decoder.output_share").confidence(found.output_share)
    confidence = min(noisy, share)
    if ignores and found.output_share > 1e-4:
        confidence = 0.99
    elif ignores and _latent_carries(case) and _looks_like_noise(case):
        confidence = max(confidence, 0.9)
    if confidence < 0.1:
        return None
    what = "the output ignores the latent" if ignores else "decode(z) changes from call to call"
    return Finding(
        id="random-decoder",
        confidence=confidence,
        severity=found.average_win_db,
        severity_unit="dB",
        summary=f"{what}: its own noise is {found.output_share:.0%} of the data's variance",
        evidence=(
            Evidence("variance of decode(z) repeated / Var(x)", found.output_share, "1", "0"),
            Evidence("cost of that noise", found.average_win_db, "dB", "0"),
            Evidence(
                "change of the seeded output when latents are exchanged / Var(x)",
                found.follows_latent,
                "1",
                "> 0, about 2 for a good model",
            ),
        ),
        ruled_out=_rivals(case, found.output_share),
        treatment="use a decoder with learnable parameters and no random numbers at inference "
        "(model.eval() switches dropout off); make sure its parameters are the trained ones",
        expects=("decode(z) repeated becomes identical", "the error falls below the mean sample's"),
    )


def _looks_like_noise(case: Case) -> bool:
    """Tell random numbers from a fixed seed from a dead decoder, which answers with a constant."""
    within = case.x_hat.double().flatten(2).var(2).mean()
    return float(within) > 0.25 * case.variance and case.fvu > 1.2


def _latent_carries(case: Case) -> bool:
    """Say whether the latent tells samples apart (a collapsed one has nothing to ignore)."""
    measured = case.measure(posterior)
    if measured is not None:
        return measured.kl > 0.05 * measured.size and measured.kl > 1
    spread = case.z.double().flatten(1).var(0).mean()
    return float(spread) > 1e-6 * max(float(case.z.double().square().mean()), 1e-12)


def _rivals(case: Case, share: float) -> tuple[RuledOut, ...]:
    measured = case.measure(posterior)
    if measured is not None:
        return (
            RuledOut(
                "posterior-collapse",
                f"collapse leaves decode deterministic; here it varies by {share:.2g}·Var"
                if share > 1e-6
                else f"the latent carries {measured.kl:.3g} nats",
            ),
        )
    use = case.measure(latent_use)
    return (
        RuledOut("under-training", f"an untrained decoder is deterministic; FVU is {use.fvu:.2g}"),
    )
