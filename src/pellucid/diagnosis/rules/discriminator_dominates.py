"""discriminator-dominates: the adversary wins, and its gradient outweighs the reconstruction's.

Once the model has given in, both pull equally hard and the discriminator may even be fooled; what
the reconstruction wins in a fork without the adversary then says how much was given.
"""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.adversary import adversarial_terms, pull, verdicts
from pellucid.diagnosis.probes.training import parameters
from pellucid.diagnosis.probes.without_term import without_term

_THRESHOLDS = ("accuracy", "ratio", "crushing", "level", "win_db", "given_db")


def missing(case: Case) -> str | None:
    """A discriminator, and a loss term that passes through it beside one that does not."""
    if case.subject.discriminator is None:
        return "Subject.discriminator"
    if case.subject.loss_terms is None:
        return "Subject.loss_terms"
    if case.measure(pull) is None:
        return "an adversarial and a reconstruction term among loss_terms"
    return None


def examine(case: Case) -> Finding | None:
    """Assert a pull above the reconstruction's that goes with a sure discriminator or lost dB."""
    found, answers = case.measure(pull), case.measure(verdicts)
    assert found is not None
    at = {n: case.threshold(f"discriminator-dominates.{n}") for n in _THRESHOLDS}
    wins = min(at["accuracy"].confidence(answers.accuracy), at["ratio"].confidence(found.ratio))
    leads = max(wins, at["crushing"].confidence(found.ratio))
    level = at["level"].confidence(found.ratio)
    confidence = max(leads, level)
    evidence = [
        Evidence("discriminator accuracy on x and x_hat", answers.accuracy, "1", "0.6–0.9"),
        Evidence("x scores above x_hat", answers.separation, "1", "0.6–0.95"),
        Evidence("‖∇adversarial‖ / ‖∇others‖ at the last layer", found.ratio, "1", "< 1"),
    ]
    if confidence < 0.1:
        return None
    names = sorted(case.measure(adversarial_terms))
    won = 0.0
    if parameters(case) and (fork := without_term(case, names[0])) is not None:
        won = fork.win_db
        confidence = max(
            min(leads, at["win_db"].confidence(won)), min(level, at["given_db"].confidence(won))
        )
        evidence.append(
            Evidence(f"won by {fork.steps} steps without '{names[0]}'", won, "dB", "< 0.5")
        )
    else:
        confidence = min(leads, 0.7)
    if confidence < 0.1:
        return None
    return Finding(
        id="discriminator-dominates",
        confidence=confidence,
        severity=won,
        severity_unit="dB",
        summary=f"the adversary pulls {found.ratio:.2g} times as hard as the other terms at the "
        f"last layer and is right {answers.accuracy:.0%} of the time",
        evidence=tuple(evidence),
        ruled_out=(
            RuledOut(
                "loss-imbalance",
                f"the gradient passes through the discriminator's scores ({', '.join(names)})",
            ),
        ),
        treatment=f"lower the adversarial weight by about {1 / max(found.ratio, 1):.1g} (or adapt "
        "it to the last layer's gradients, Esser et al. 2021, section 3.2), start it later and "
        "warm it up, slow the discriminator or regularise it",
        expects=("accuracy returns to 0.6–0.9", "the ratio falls below 1", "PSNR/SNR rises"),
        suggests={"adversarial_weight_factor": min(1.0, 0.5 / max(found.ratio, 1e-9))},
    )
