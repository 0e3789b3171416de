"""Rank findings by precedence, and fold consequences under their causes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from pellucid.diagnosis.catalogue import ROWS, Group
from pellucid.diagnosis.evidence import ASSERTED, Finding


def fold(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Rank findings and fold consequences under their causes; folding twice changes nothing.

    Asserted causes come first in the order of precedence, then what they explain (as hints, with
    the cause named), then other hints.
    """
    findings = [_unfolded(f) for f in findings]
    groups = {row.id: row.group for row in ROWS} | {"nan-or-overflow": Group.NUMERICS}
    asserted = sorted(
        (f for f in findings if f.asserted), key=lambda f: (groups[f.id], -f.confidence)
    )
    explained = _causes(asserted)
    causes = [
        dataclasses.replace(f, consequences=tuple(i for i, by in explained.items() if by == f.id))
        for f in asserted
        if f.id not in explained
    ]
    consequences = [
        dataclasses.replace(
            f,
            confidence=min(f.confidence, 0.99 * ASSERTED),
            own_confidence=f.confidence,
            explained_by=explained[f.id],
        )
        for f in asserted
        if f.id in explained
    ]
    hints = sorted((f for f in findings if not f.asserted), key=lambda f: -f.confidence)
    return (*causes, *consequences, *hints)


def _causes(asserted: list[Finding]) -> dict[str, str]:
    """Return {consequence: cause} among asserted findings in the order of precedence."""
    explains = {row.id: row.explains for row in ROWS}
    explained: dict[str, str] = {}
    for place, finding in enumerate(asserted):
        # A row may explain one of an earlier group (an objective that shrinks x_hat looks like
        # wrong units), unless each claims the other: then precedence decides.
        own = explains.get(finding.id, ())
        later = (c for c in asserted[place + 1 :] if c.id not in own)
        for c in (*asserted[:place], *later):
            if c.id not in explained and finding.id in explains.get(c.id, ()):
                explained[finding.id] = c.id
                break
    return explained


def _unfolded(finding: Finding) -> Finding:
    """Return a finding as it stood before any folding."""
    own = finding.confidence if finding.own_confidence is None else finding.own_confidence
    return dataclasses.replace(
        finding, confidence=own, own_confidence=None, explained_by="", consequences=()
    )
