"""loss-imbalance: an auxiliary term drives the output, and the reconstruction pays for it.

A single term is never out of balance, and a reconstruction error that dominates small helpers is
what most trainings intend. While the model still moves, a driver holds nearly all of the gradient;
once it has come to rest, driver and reconstruction pull equally hard in opposite directions, so
that shares alone say nothing. Only leaving the term out tells a driver from a companion.
"""

from __future__ import annotations

from pellucid.diagnosis.case import Case, cosine
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.adversary import adversarial_terms
from pellucid.diagnosis.probes.outputs import (
    TermGradients,
    output_layer,
    plain_errors,
    term_gradients,
)
from pellucid.diagnosis.probes.training import parameters
from pellucid.diagnosis.probes.without_term import LeftOut, without_term
from pellucid.diagnosis.rules.access import loss_terms

_PERCEPTUAL = ("perc", "lpips", "vgg", "feature", "style", "clip", "dino", "ssim", "edge")
_ALONE = 0.98
_SPECTRAL = ("mel", "stft", "spec", "fft", "freq", "mag", "phase")


def missing(case: Case) -> str | None:
    """Loss terms, an output that gradients can be taken at, and parameters for the fork."""
    if (needs := loss_terms(case)) is not None:
        return needs
    if case.measure(output_layer) is None or case.measure(term_gradients) is None:
        return "a decoder module that loss_terms runs and whose output is x_hat"
    return None if parameters(case) else "Subject.modules or optimizers, for a fork"


def examine(case: Case) -> Finding | None:
    """Assert an auxiliary term that drives or fights the error, and whose absence wins decibels."""
    found = case.measure(term_gradients)
    assert found is not None
    shares = found.shares()
    auxiliary = {
        n: s
        for n, s in shares.items()
        if n not in plain_errors(found) and n not in case.measure(adversarial_terms)
    }
    if len(shares) < 2 or not auxiliary or len(auxiliary) == len(shares):
        return None  # nothing to be balanced, or no plain error that could suffer
    name = max(auxiliary, key=lambda n: auxiliary[n])
    plain = max(plain_errors(found) & set(shares), key=lambda n: shares[n], default=None)
    by_share = case.threshold("loss-imbalance.share").confidence(shares[name])
    if plain is not None:
        fights = min(
            case.threshold("loss-imbalance.fighting_share").confidence(shares[name]),
            case.threshold("loss-imbalance.opposed").confidence(_cosine(found, name, plain)),
        )
        by_share = max(by_share, fights)
    if plain is None or by_share < 0.1:
        return None
    fork = without_term(case, name)
    if fork is None:
        return None
    low = name.lower()
    companion = any(k in low for k in (*_PERCEPTUAL, *_SPECTRAL)) or case.subject.loss_networks
    # A perceptual companion may cost decibels, but not while it is all that drives the output.
    kind = "companion_db" if companion and shares[name] < _ALONE else "win_db"
    confidence = min(by_share, case.threshold(f"loss-imbalance.{kind}").confidence(fork.win_db))
    if case.is_audio and any(k in low for k in _SPECTRAL):
        confidence = min(confidence, 0.45)  # free of phase on purpose: SNR is not its measure
    if confidence < 0.1:
        return None
    return _finding(found, name, plain, fork, confidence)


def _finding(
    found: TermGradients, name: str, helped: str, fork: LeftOut, confidence: float
) -> Finding:
    shares = found.shares()
    # At rest both pull equally; a tenth is then the step that changes who leads.
    factor = min(shares[helped] / shares[name], 0.1)
    cosine = _cosine(found, name, helped)
    return Finding(
        id="loss-imbalance",
        confidence=confidence,
        severity=fork.win_db,
        severity_unit="dB",
        summary=f"'{name}' holds {shares[name]:.0%} of the gradient at x_hat; without it "
        f"{fork.steps} steps win {fork.win_db:.1f} dB",
        evidence=(
            *(
                Evidence(f"share of '{n}' in the gradient at x_hat", share, "1", "< 0.9, or meant")
                for n, share in shares.items()
            ),
            Evidence(f"cosine of '{name}' and '{helped}'", cosine, "1", "≥ 0: they agree"),
            Evidence(f"won by leaving '{name}' out", fork.win_db, "dB", "about 0"),
        ),
        ruled_out=(
            RuledOut(
                "under-training",
                f"an equal fork of {fork.steps} steps that keeps the term ends "
                f"{fork.win_db:.1f} dB lower",
            ),
        ),
        treatment=f"multiply the weight of '{name}' by about {factor:.1g}, so that "
        f"'{helped}' leads at x_hat, or use a gradient balancer (EnCodec, section 3.4)",
        expects=(f"the share of '{name}' at x_hat falls", "PSNR/SNR rises"),
        suggests={"term": name, "weight_factor": factor},
    )


def _cosine(found: TermGradients, one: str, other: str) -> float:
    return cosine(found.at_output[one], found.at_output[other])
