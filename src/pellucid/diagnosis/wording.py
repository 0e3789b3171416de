"""A diagnosis in plain text, for terminals and logs."""

from __future__ import annotations

from pellucid.diagnosis.evidence import Diagnosis, Finding


def plain_text(diagnosis: Diagnosis) -> str:
    """Return the verdict, the findings with their numbers, budget and ladder."""
    lines = [diagnosis.verdict, ""]
    for rank, finding in enumerate(diagnosis.findings, 1):
        lines += _finding(rank, finding)
    if diagnosis.budget:
        lines += [
            "error budget",
            *(
                f"  {bar.stage:<22}{bar.value:>+8.2f} {bar.unit}  {bar.note}"
                for bar in diagnosis.budget
            ),
            "",
        ]
    if diagnosis.ladder:
        lines += [
            f"ladder, {diagnosis.decibel}",
            *(
                f"  {rung.id:<6}{rung.db:>8.2f} dB  {rung.name} ({rung.note})"
                for rung in diagnosis.ladder
            ),
            "",
        ]
    for exhibit in diagnosis.exhibits:
        lines += [f"{exhibit.title}: {exhibit.text}", ""]
    if diagnosis.not_tested:
        lines += ["not tested", *(f"  {n.id}: needs {n.needs}" for n in diagnosis.not_tested), ""]
    lines += [f"note: {note}" for note in diagnosis.notes]
    lines.append(f"{diagnosis.samples} samples, {diagnosis.seconds:.1f} s")
    return "\n".join(lines)


def _finding(rank: int, finding: Finding) -> list[str]:
    """Return the lines of one finding."""
    kind = "" if finding.asserted else " (hint)"
    if finding.explained_by:
        kind = f" (explained by {finding.explained_by})"
    lines = [f"{rank}. {finding.id}  {finding.confidence:.2f}{kind}", f"   {finding.summary}"]
    lines += [f"   · {evidence}" for evidence in finding.evidence]
    lines += [f"   not {rival.id}: {rival.why}" for rival in finding.ruled_out]
    if finding.consequences:
        lines.append(f"   explains: {', '.join(finding.consequences)}")
    if finding.confirmation is not None:
        proof = finding.confirmation
        lines.append(
            f"   {proof.verdict}: {proof.intervention}; predicted: {proof.prediction}; "
            f"measured: {proof.effect}"
        )
    lines.append(f"   → {finding.treatment}")
    lines += [f"   patch: {key}={value_text(value)}" for key, value in finding.patch.items()]
    lines += [f"   expect: {'; '.join(finding.expects)}", ""]
    return lines


def value_text(value: object) -> str:
    """Write a recipe value as an override on the command line has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(value_text, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
