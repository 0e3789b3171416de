"""A diagnosis as one self-contained HTML fragment, for pages and notebooks; no script."""

from __future__ import annotations

import math

from pellucid.diagnosis.draw import svg
from pellucid.diagnosis.evidence import (
    Confirmation,
    Diagnosis,
    Evidence,
    Exhibit,
    Finding,
    escaped,
)
from pellucid.diagnosis.page_bars import budget, ladder
from pellucid.diagnosis.page_style import STYLE
from pellucid.diagnosis.patch_lines import patch_lines
from pellucid.diagnosis.plot import Plot


def fragment(diagnosis: Diagnosis) -> str:
    """Return the fragment: verdict, budget, ladder, findings, hints, what was not tested."""
    folded = {f.id: f for f in diagnosis.findings if f.explained_by}
    causes = [f for f in diagnosis.findings if f.asserted]
    under_a_cause = {i for f in causes for i in f.consequences if i in folded}
    hints = [f for f in diagnosis.findings if not f.asserted and f.id not in under_a_cause]
    parts = [
        f'<div class="pld"><style>{STYLE}</style>',
        _verdict(diagnosis),
        budget(diagnosis),
        ladder(diagnosis),
        *(_exhibit(e) for e in diagnosis.exhibits),
        "<h3>Findings</h3>" if causes else "",
        *(_finding(f, [folded[i] for i in f.consequences if i in folded]) for f in causes),
        _hints(hints),
        _not_tested(diagnosis),
        _notes(diagnosis),
        "</div>",
    ]
    return "\n".join(part for part in parts if part)


def _verdict(diagnosis: Diagnosis) -> str:
    """Return the sentence, and what a reader wants to see beside it."""
    kind = " wait" if diagnosis.waits else " ok" if diagnosis.healthy else ""
    name, rest = diagnosis.verdict_parts
    facts = []
    own = next((r for r in diagnosis.ladder if r.id == "model"), None)
    if own is not None:
        facts.append(f"model <b>{own.db:.2f} dB</b>")
    steps = [b for b in diagnosis.budget if b.unit == "dB" and b.value > 0.05]
    if steps:
        largest = max(steps, key=lambda b: b.value)
        facts.append(f"largest bar <b>{escaped(largest.stage)} {largest.value:+.2f} dB</b>")
    facts.append(f"{len(diagnosis.tested)} rows tested, {len(diagnosis.not_tested)} not")
    facts.append(f"{diagnosis.samples} samples")
    facts.append(f"{diagnosis.seconds:.1f} s")
    return (
        f'<p class="verdict{kind}"><b>{escaped(name)}</b>{escaped(rest)}</p>'
        f'<p class="at-a-glance">{" · ".join(facts)}</p>'
    )


def _finding(finding: Finding, consequences: list[Finding]) -> str:
    """Return one card: what, how sure, the numbers, pictures, what to do, what it is not."""
    severity = f"{finding.severity:.3g} {finding.severity_unit}"
    explains = "".join(
        f"<li><b>{escaped(f.id)}</b>: {escaped(f.summary)}</li>" for f in consequences
    ) + "".join(
        f"<li><b>{escaped(i)}</b></li>"
        for i in finding.consequences
        if i not in {f.id for f in consequences}
    )
    parts = [
        f"<header><h4>{escaped(finding.id)}</h4>{_meter(finding)}</header>",
        f"<p>{escaped(finding.summary)}</p>",
        _table(finding.evidence),
        _plots(finding.plots),
        _proof(finding.confirmation) if finding.confirmation is not None else "",
        _treatment(finding),
        _rivals(finding),
        f"<details><summary>explains {len(finding.consequences)} more: "
        f"<b>{escaped(', '.join(finding.consequences))}</b></summary><ul>{explains}</ul></details>"
        if finding.consequences
        else "",
    ]
    label = escaped(f"{finding.id}, severity {severity}")
    return f'<article class="finding" aria-label="{label}">{"".join(parts)}</article>'


def _hints(hints: list[Finding]) -> str:
    """Return what was weighed and not asserted, each folded."""
    if not hints:
        return ""
    rows = "".join(
        f'<details class="maybe"><summary><b>{escaped(f.id)}</b> {_meter(f)} '
        f"{escaped(f.summary)}</summary>"
        f"{_table(f.evidence)}{_plots(f.plots)}<p>{escaped(f.treatment)}</p></details>"
        for f in hints
    )
    return f'<h3>Weighed, not asserted</h3><p class="quiet">confidence below 0.5</p>{rows}'


def _meter(finding: Finding) -> str:
    width = 100 * min(max(finding.confidence, 0.0), 1.0)
    return (
        f'<span class="meter">confidence<span><i style="width:{width:.0f}%"></i></span>'
        f"{finding.confidence:.2f}</span>"
    )


def _table(evidence: tuple[Evidence, ...]) -> str:
    if not evidence:
        return ""
    rows = "".join(
        f'<tr><td>{escaped(e.name)}</td><td class="n"><b>{_number(e)}</b></td>'
        f'<td class="quiet">{escaped(e.healthy)}</td></tr>'
        for e in evidence
    )
    return (
        '<table class="numbers"><thead><tr><th>measured</th><th class="n">here</th>'
        f"<th>healthy</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _plots(plots: tuple[Plot, ...]) -> str:
    if not plots:
        return ""
    return f'<div class="plots">{"".join(svg(p) for p in plots)}</div>'


def _exhibit(exhibit: Exhibit) -> str:
    return f"<h3>{escaped(exhibit.title)}</h3><p>{escaped(exhibit.text)}</p>{_plots(exhibit.plots)}"


def _proof(proof: Confirmation) -> str:
    return (
        f'<div class="proof {escaped(proof.verdict)}"><b>{escaped(proof.verdict)}</b> by '
        f"{escaped(proof.intervention)}<br>"
        f'<span class="quiet">predicted</span> {escaped(proof.prediction)}; '
        f'<span class="quiet">measured</span> {escaped(proof.effect.name)} '
        f"<b>{_number(proof.effect)}</b></div>"
    )


def _treatment(finding: Finding) -> str:
    """Return the advice, the patch where there is a recipe, and what will move."""
    diff = ""
    if finding.patch:
        lines = "".join(
            f'<span class="{"plus" if new else "head"}">{"+" if new else " "} '
            f"{escaped(text)}</span>"
            for new, text in patch_lines(finding.patch)
        )
        diff = f'<div class="quiet">in the recipe</div><pre class="diff">{lines}</pre>'
    expects = escaped("; ".join(finding.expects))
    return (
        f'<div class="treatment"><p><b>What to change.</b> {escaped(finding.treatment)}</p>{diff}'
        + (f'<p class="quiet">Then expect: {expects}.</p>' if expects else "")
        + "</div>"
    )


def _rivals(finding: Finding) -> str:
    if not finding.ruled_out:
        return ""
    rows = "".join(f"<dt>{escaped(r.id)}</dt><dd>{escaped(r.why)}</dd>" for r in finding.ruled_out)
    return f'<dl class="rivals" aria-label="ruled out">{rows}</dl>'


def _not_tested(diagnosis: Diagnosis) -> str:
    if not diagnosis.not_tested:
        return ""
    rows = "".join(
        f"<dt>{escaped(n.id)}</dt><dd>needs {escaped(n.needs)}</dd>" for n in diagnosis.not_tested
    )
    return (
        f"<details><summary><b>Not tested: {len(diagnosis.not_tested)} rows</b>, and what would "
        f'open them</summary><dl class="not-tested">{rows}</dl></details>'
    )


def _notes(diagnosis: Diagnosis) -> str:
    notes = "".join(f"<li>{escaped(note)}</li>" for note in diagnosis.notes)
    return f'<ul class="quiet">{notes}</ul>' if notes else ""


def _number(evidence: Evidence) -> str:
    """Return value, unit and interval."""
    unit = "" if evidence.unit == "1" else f" {escaped(evidence.unit)}"
    if not math.isfinite(evidence.value):
        return f"not finite{unit}"
    text = f"{evidence.value:.4g}{unit}"
    if evidence.low is None or evidence.high is None:
        return text
    return f"{text} <span>[{evidence.low:.3g}, {evidence.high:.3g}]</span>"
