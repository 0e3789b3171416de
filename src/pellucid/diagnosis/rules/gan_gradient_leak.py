"""gan-gradient-leak: one player's optimiser applies a gradient of the other player's loss."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.accumulation import leak


def missing(case: Case) -> str | None:
    """A discriminator and the user's own training step, which moves it."""
    if case.subject.discriminator is None:
        return "Subject.discriminator"
    if case.subject.training_step is None:
        return "Subject.training_step"
    if case.measure(leak) is None:
        return "an optimizer that moves the discriminator in Subject.training_step"
    return None


def examine(case: Case) -> Finding | None:
    """Assert a foreign gradient that is applied; one that zero_grad clears in time harms nobody."""
    found = case.measure(leak)
    assert found is not None
    share = case.threshold("gan-gradient-leak.share")
    into_d = share.confidence(found.into_discriminator)
    into_g = share.confidence(found.into_autoencoder)
    confidence = max(into_d, into_g)
    if confidence < 0.1:
        return None
    to_discriminator = into_d >= into_g
    said = (
        "the discriminator's step applies the generator's gradient too"
        if to_discriminator
        else "the autoencoder's step applies the gradient of the discriminator's loss"
    )
    worst = max(found.into_discriminator, found.into_autoencoder)
    return Finding(
        id="gan-gradient-leak",
        confidence=confidence,
        severity=worst,
        severity_unit="share of the applied gradient",
        summary=f"{said}: {worst:.0%} of its norm",
        evidence=(
            Evidence("generator's share in the discriminator's step", found.into_discriminator,
                     "1", "0"),
            Evidence("discriminator loss's share in the autoencoder's step",
                     found.into_autoencoder, "1", "0"),
            Evidence("training steps watched", float(found.steps), "steps", "any"),
        ),
        ruled_out=(
            RuledOut(
                "discriminator-dominates",
                "the gradient comes from another backward pass than the step's own",
            ),
        ),
        treatment="call the discriminator's zero_grad after the generator's backward and before "
        "its own (or switch its requires_grad off meanwhile)"
        if to_discriminator
        else "score x_hat.detach() in the discriminator's loss, and clear the autoencoder's "
        "gradients before its own backward",
        expects=("each optimiser applies the gradient of its own loss alone",),
        suggests={"detach": "discriminator" if to_discriminator else "x_hat"},
    )  # fmt: skip
