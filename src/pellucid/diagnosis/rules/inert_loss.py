"""inert-loss: a term that moves nothing it is meant to move."""

from __future__ import annotations

import torch

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.training import parameters
from pellucid.diagnosis.rules.access import loss_terms, modules

_RECONSTRUCTION = ("rec", "mse", "l1", "l2", "mae", "pixel", "wave", "stft", "mel", "bce", "nll")

_ALIVE = 1e-30


def missing(case: Case) -> str | None:
    """The loss terms and the modules they should reach."""
    return loss_terms(case) or modules(case)


def examine(case: Case) -> Finding | None:
    """Assert a term without gradient, or a reconstruction term that does not reach the encoder."""
    reach = case.measure(term_reach)
    inert = [n for n, norms in reach.items() if max(norms.values(), default=0.0) == 0.0]
    partial = [
        f"{n} does not reach {module}"
        for n, norms in reach.items()
        if n not in inert and any(k in n.lower() for k in _RECONSTRUCTION)
        for module, norm in norms.items()
        if module.lower().startswith(("enc", "dec")) and norm == 0.0
        if not _declared(case, module)
    ]
    if not inert and not partial:
        return None
    return Finding(
        id="inert-loss",
        confidence=0.95 if inert else 0.9,
        severity=(len(inert) + len(partial)) / max(len(reach), 1),
        severity_unit="share of terms",
        summary="; ".join([*(f"'{n}' has no gradient anywhere" for n in inert), *partial]),
        evidence=tuple(
            Evidence(f"‖∇{name}‖ at {module}", norm, "1", "> 0 where it is meant to act")
            for name, norms in reach.items()
            for module, norm in norms.items()
        ),
        ruled_out=(
            RuledOut(
                "frozen-module",
                "gradients were asked for at every parameter that "
                "learns, whether an optimiser owns it or not",
            ),
        ),
        treatment="remove detach(), no_grad, .item(), argmax or weight 0 from the term's path; "
        "a term that is only meant to be watched has weight 0 and should be logged as such",
        expects=("every term's gradient norm becomes positive at the modules it is meant for",),
    )


def term_reach(case: Case) -> dict[str, dict[str, float]]:
    """Return ‖gradient‖ of each term at each module, leaving out terms of value 0."""
    losses = case.subject.loss_terms
    assert losses is not None
    owned = {id(p) for p in parameters(case)}
    found: dict[str, dict[str, float]] = {}
    with case.training_mode():
        groups = {
            name: [
                p for p in module.parameters() if p.requires_grad and (id(p) in owned or not owned)
            ]
            for name, module in case.subject.modules.items()
        }
        groups = {name: ps for name, ps in groups.items() if ps}
        terms = losses(case.batch_of(case.fit))
        for name, value in terms.items():
            if float(value.detach()) == 0.0:
                continue
            found[name] = {}
            for module, ps in groups.items():
                if not value.requires_grad:
                    found[name][module] = 0.0
                    continue
                grads = torch.autograd.grad(value, ps, allow_unused=True, retain_graph=True)
                norms = [g.norm() for g in grads if g is not None]
                # A gradient of zeros has found its way: dead units are another row's business.
                found[name][module] = (
                    max(float(torch.stack(norms).norm()), _ALIVE) if norms else 0.0
                )
    return found


def _declared(case: Case, module: str) -> bool:
    return any(f == module or f.startswith(f"{module}.") for f in case.subject.frozen)
