"""perceptual-misfed: a loss network that was never loaded, or sees inputs it was not trained on."""

from __future__ import annotations

import math

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.probes.loss_networks import Fed, fed
from pellucid.diagnosis.rules.access import loss_terms

_PRETRAINED = (
    "lpips", "vgg", "alex", "squeeze", "resnet", "inception", "clip", "dino", "convnext", "hubert",
    "wav2vec", "wavlm", "pretrained",
)  # fmt: skip
_FAR = 10.0
"""No network for images or waveforms is trained on inputs this large; bytes reach 255."""


def missing(case: Case) -> str | None:
    """A loss network and the loss that feeds it."""
    if not case.subject.loss_networks:
        return "Subject.loss_networks"
    return loss_terms(case)


def examine(case: Case) -> Finding | None:
    """Assert from the signs of the worst network; every sign speaks against it on its own."""
    judged = {name: (found, signs(case, name, found)) for name, found in case.measure(fed).items()}
    name = max(judged, key=lambda n: joint(judged[n][1]))
    found, seen = judged[name]
    confidence = joint(seen)
    if confidence < 0.1:
        return None
    said = [text for text, _ in sorted(seen.items(), key=lambda s: -s[1])]
    return Finding(
        id="perceptual-misfed",
        confidence=confidence,
        severity=float(len(said)),
        severity_unit="signs",
        summary=f"loss network '{name}': {'; '.join(said)}",
        evidence=_evidence(found),
        treatment="load its published weights and check that every key is met, keep it in eval "
        "mode and out of the optimisers, and feed x and x_hat alike in the range it was trained "
        "on (torchvision: [0, 1], then ImageNet mean and std; lpips: [−1, 1])",
        expects=("its term is 0 for x_hat = x and grows with noise", "its inputs keep its range"),
        suggests={"loss_network": name},
    )


def signs(case: Case, name: str, found: Fed) -> dict[str, float]:
    """Return {sign in words: confidence it carries alone}."""
    seen: dict[str, float] = {}
    if not found.called:
        return {"loss_terms never runs it": 0.4}
    network = case.subject.loss_networks[name]
    title = f"{name} {type(network).__name__}".lower()
    if found.layers >= 2 and found.untrained > 0.95:
        known = any(key in title for key in _PRETRAINED)
        seen[f"all {found.layers} layers still hold an initialiser's weights"] = (
            0.9 if known else 0.6
        )
    if found.updated:
        seen["an optimiser moves its parameters"] = 0.9
    seen.update(_range_signs(found))
    if found.monotone < 0.8:
        seen[f"its answer to growing noise is not monotone (rank correlation {found.monotone:.2f})"
             ] = 0.6  # fmt: skip
    if found.response and found.identical > 0.5 and found.response[0] > 0.3 * found.response[-1]:
        seen[f"for x_hat = x its term keeps {found.identical:.0%} of its value"] = 0.4
    return seen


def _range_signs(found: Fed) -> dict[str, float]:
    """Hold what it is given against what it declares, or what any network was trained on."""
    span = f"it is given [{found.low:.3g}, {found.high:.3g}]"
    if found.expected is not None:
        low, high = found.expected
        width = high - low
        beyond = max(low - found.low, found.high - high) / width
        if beyond > 0.25:  # a reconstruction may overshoot a little
            return {f"{span}, it normalises [{low:g}, {high:g}]": 0.9}
        if (found.high - found.low) < 0.65 * width and found.low > low + 0.35 * width:
            return {f"{span}, only the upper part of its [{low:g}, {high:g}]": 0.7}
        return {}
    if max(abs(found.low), abs(found.high)) > _FAR:
        return {f"{span}: bytes, or unscaled data": 0.8}
    if not math.isnan(found.shifted) and found.shifted > 1.5:
        return {
            f"{span}: its first batch norm sits {found.shifted:.1f} standard deviations away from "
            "the statistics it was trained with": 0.75
        }
    return {}


def joint(seen: dict[str, float]) -> float:
    """Return 1 − Π(1 − confidence)."""
    rest = 1.0
    for confidence in seen.values():
        rest *= 1 - confidence
    return min(0.99, 1 - rest)


def _evidence(found: Fed) -> tuple[Evidence, ...]:
    declared = "within " + (
        f"[{found.expected[0]:g}, {found.expected[1]:g}]" if found.expected else "its own range"
    )
    return (
        Evidence("smallest input", found.low, "1", declared),
        Evidence("largest input", found.high, "1", declared),
        Evidence("layers that hold an initialiser's weights", found.untrained, "1", "0"),
        Evidence("rank correlation of its term with added noise", found.monotone, "1", "1"),
        Evidence("its term for x_hat = x, beside its usual value", found.identical, "1", "0"),
    )
