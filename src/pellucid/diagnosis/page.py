"""A diagnosis as one self-contained HTML fragment: verdict, findings, error budget, ladder."""

from __future__ import annotations

from pellucid.diagnosis.evidence import Bar, Diagnosis, Finding, Rung, escaped
from pellucid.diagnosis.wording import value_text

_STYLE = """
.pld{font:14px/1.5 system-ui,sans-serif;color:#1d2733;max-width:60rem}
.pld h3{font-size:1.05rem;margin:1.4em 0 .4em}.pld h4{margin:.2em 0}
.pld .verdict{font-size:1.1rem;padding:.7em 1em;border-left:4px solid #b3382c;background:#fbf3f1}
.pld .verdict.ok{border-color:#2f7d4f;background:#f1f8f3}
.pld .finding{border:1px solid #d6dde4;border-radius:6px;padding:.7em 1em;margin:.6em 0}
.pld .hint{opacity:.75}.pld table{border-collapse:collapse;margin:.4em 0}
.pld td,.pld th{padding:.15em .8em .15em 0;text-align:left;vertical-align:top;font-weight:normal}
.pld th{color:#5b6875}.pld td.n{text-align:right;font-variant-numeric:tabular-nums}
.pld .fix{background:#f3f6f9;padding:.4em .7em;border-radius:4px;margin:.4em 0}
.pld .quiet{color:#5b6875}.pld svg{max-width:100%;height:auto}
"""
_WIDTH, _ROW, _LABEL = 780, 26, 270
_LONGEST_DB = 60.0  # a reference that loses nothing must not flatten every other bar


def fragment(diagnosis: Diagnosis) -> str:
    """Return the fragment; it needs nothing from outside and holds no script."""
    parts = [
        f'<div class="pld"><style>{_STYLE}</style>',
        f'<p class="verdict{" ok" if diagnosis.healthy else ""}">{escaped(diagnosis.verdict)}</p>',
        *(_finding(f) for f in diagnosis.findings),
        _budget(diagnosis.budget),
        _ladder(diagnosis.ladder, diagnosis.decibel),
        _not_tested(diagnosis),
        "</div>",
    ]
    return "\n".join(part for part in parts if part)


def _finding(finding: Finding) -> str:
    """One card."""
    rows = "".join(
        f'<tr><td>{escaped(e.name)}</td><td class="n">{_number(e.value)} '
        f"{escaped('' if e.unit == '1' else e.unit)}{_interval(e.low, e.high)}</td>"
        f"<th>healthy: {escaped(e.healthy)}</th></tr>"
        for e in finding.evidence
    )
    lines = [
        f"<h4>{escaped(finding.id)} · confidence {finding.confidence:.2f}"
        f"{'' if finding.asserted else ' (hint)'}</h4>",
        f"<div>{escaped(finding.summary)}</div><table>{rows}</table>",
        *(
            f'<div class="quiet">not {escaped(r.id)}: {escaped(r.why)}</div>'
            for r in finding.ruled_out
        ),
    ]
    if finding.consequences:
        lines.append(f"<div>explains: {escaped(', '.join(finding.consequences))}</div>")
    if finding.confirmation is not None:
        proof = finding.confirmation
        lines.append(
            f"<div><b>{escaped(proof.verdict)}</b>: {escaped(proof.intervention)}. Predicted: "
            f"{escaped(proof.prediction)}. Measured: {escaped(proof.effect)}</div>"
        )
    lines.append(
        f'<div class="fix">{escaped(finding.treatment)}<br><span class="quiet">expect: '
        f"{escaped('; '.join(finding.expects))}</span></div>"
    )
    if finding.patch:
        changes = "\n".join(f"{key}: {value_text(new)}" for key, new in finding.patch.items())
        lines.append(f'<pre class="fix" aria-label="recipe patch">{escaped(changes)}</pre>')
    kind = "finding" if finding.asserted else "finding hint"
    return f'<div class="{kind}">{"".join(lines)}</div>'


def _budget(bars: tuple[Bar, ...]) -> str:
    """A waterfall of the dB bars; what is no dB is written below it."""
    steps = [b for b in bars if b.unit == "dB" and b.stage != "train to held-out"]
    apart = [b for b in bars if b not in steps]
    if not bars:
        return ""
    level, spans = 0.0, []
    for bar in steps:
        spans.append((bar, level, level + bar.value))
        level += bar.value
    low = min([0.0, *(min(a, b) for _, a, b in spans)])
    high = max([0.1, *(max(a, b) for _, a, b in spans)])
    scale = (_WIDTH - _LABEL - 80) / (high - low)
    shapes = []
    for index, (bar, start, stop) in enumerate(spans):
        left, y = _LABEL + (min(start, stop) - low) * scale, index * _ROW + 4
        colour = "#3b6ea5" if bar.value >= 0 else "#b3382c"
        width = max(1.0, abs(stop - start) * scale)
        shapes.append(
            f'<text x="0" y="{y + 13}">{escaped(bar.stage)}</text>'
            f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="17" fill="{colour}">'
            f"<title>{escaped(bar.note)}</title></rect>"
            f'<text x="{left + width + 6:.1f}" y="{y + 13}">{bar.value:+.2f} dB</text>'
        )
    words = "".join(
        f"<li>{escaped(b.stage)}: {_number(b.value)} {escaped(b.unit)} "
        f'<span class="quiet">{escaped(b.note)}</span></li>'
        for b in apart
    )
    return (
        "<h3>Error budget: what removing each stage would win</h3>"
        + _svg(shapes, len(spans), "error budget")
        + f"<ul>{words}</ul>"
    )


def _ladder(rungs: tuple[Rung, ...], decibel: str) -> str:
    """Bars of decibels, one per rung, the model highlighted."""
    if not rungs:
        return ""
    ordered = sorted(rungs, key=lambda r: r.db)
    low = min(0.0, ordered[0].db)
    high = max(0.1, min(ordered[-1].db, _LONGEST_DB))
    scale = (_WIDTH - _LABEL - 80) / (high - low)
    shapes = []
    for index, rung in enumerate(ordered):
        y, width = index * _ROW + 4, max(1.0, (min(rung.db, high) - low) * scale)
        colour = "#d08a2c" if rung.id == "model" else "#8aa0b5"
        label = rung.name if rung.id == "model" else f"{rung.id} {rung.name}"
        shapes.append(
            f'<text x="0" y="{y + 13}">{escaped(label)}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="17" fill="{colour}">'
            f"<title>{escaped(rung.note)}</title></rect>"
            f'<text x="{_LABEL + width + 6:.1f}" y="{y + 13}">{rung.db:.2f} dB</text>'
        )
    return f"<h3>Ladder, {escaped(decibel)}</h3>" + _svg(shapes, len(ordered), "ladder")


def _svg(shapes: list[str], rows: int, label: str) -> str:
    height = rows * _ROW + 4
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img" '
        f'aria-label="{label}" font-size="12" fill="#1d2733">{"".join(shapes)}</svg>'
    )


def _not_tested(diagnosis: Diagnosis) -> str:
    rows = "".join(
        f"<tr><td>{escaped(n.id)}</td><th>needs {escaped(n.needs)}</th></tr>"
        for n in diagnosis.not_tested
    )
    notes = "".join(f"<li>{escaped(note)}</li>" for note in diagnosis.notes)
    table = f"<h3>Not tested</h3><table>{rows}</table>" if rows else ""
    tail = f"<p class='quiet'>{diagnosis.samples} samples, {diagnosis.seconds:.1f} s</p>"
    return f"{table}<ul class='quiet'>{notes}</ul>{tail}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{low:.3g}, {high:.3g}]"
