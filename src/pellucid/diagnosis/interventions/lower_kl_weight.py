"""Lower the KL weight on a short fork: a starved latent's KL must rise."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, set_mode
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.evidence import Confirmation, Evidence, Finding
from pellucid.diagnosis.probes.posterior import kl_terms
from pellucid.diagnosis.probes.training import held_error, stepper, total, train_for
from pellucid.diagnosis.probes.weight import loss_scales

FACTOR = 0.1
STEPS = 300


def intervene(case: Case, finding: Finding) -> Confirmation | None:
    """Train two equal forks, one with a tenth of the KL weight, and compare their KL and error."""
    loss_terms, scales = case.subject.loss_terms, case.measure(loss_scales)
    if loss_terms is None or scales is None or scales.kl_name is None:
        return None
    name = scales.kl_name
    same_kl, same_error, steps = _fork(case, {name: 1.0}, STEPS)
    low_kl, low_error, _ = _fork(case, {name: FACTOR}, steps)
    difference = low_kl - same_kl
    centre = float(difference.mean())
    margin = 1.96 * float(difference.std()) / max(len(difference), 1) ** 0.5
    win = case.db(low_error) - case.db(same_error)
    effect = Evidence(
        "KL at a tenth of the weight minus KL at the same weight",
        centre,
        "nats per sample",
        "0",
        centre - margin,
        centre + margin,
    )
    grew = centre - margin > 0.05 * max(float(same_kl.mean()), 0.1)
    return Confirmation(
        f"{steps} steps with '{name}' × {FACTOR:g} against {steps} steps unchanged "
        f"(error {win:+.2f} dB)",
        "KL rises as its weight falls",
        effect,
        "confirmed" if grew else "refuted" if steps >= 100 and win <= 0 else "undecided",
    )


def _fork(case: Case, scale: dict[str, float], steps: int) -> tuple[Tensor, float, int]:
    """Return per-sample KL and the error on held samples after a fork, and the steps taken."""
    loss_terms = case.subject.loss_terms
    assert loss_terms is not None
    clock = Clock(min(8.0, 0.12 * case.clock.budget_seconds, case.clock.left / 2))
    with case.training_mode():
        torch.manual_seed(0)
        step = stepper(case, lambda x: total(loss_terms(x), scale))
        taken = train_for(case, step, clock, steps)
        error = held_error(case)
        set_mode(case.reachable.roots, training=False)
        latent = case.runner.encode(case.x[:128])
    assert latent.logvar is not None
    return kl_terms(latent.mean, latent.logvar).flatten(1).sum(1), error, taken
