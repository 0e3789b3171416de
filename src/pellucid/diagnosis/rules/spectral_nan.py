"""spectral-nan: a term whose value or gradient is not finite on silence."""

from __future__ import annotations

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding, RuledOut
from pellucid.diagnosis.probes.silence import SITUATIONS, silence
from pellucid.diagnosis.rules.access import loss_terms as missing

__all__ = ["examine", "missing"]


def examine(case: Case) -> Finding | None:
    """Assert a term that is finite on ordinary samples and breaks on silent ones."""
    found = case.measure(silence)
    ordinary = found.broken[SITUATIONS[0]]
    newly = {
        s: {n: w for n, w in terms.items() if n not in ordinary}
        for s, terms in found.broken.items()
        if s != SITUATIONS[0]
    }
    newly = {s: terms for s, terms in newly.items() if terms}
    if not newly:
        return None
    # A constant sample is silence plus an offset; where it alone breaks, a correlation or a
    # variance may be at fault, and whether such samples exist is for the data to say.
    silent = any(s != SITUATIONS[2] for s in newly)
    names = sorted({n for terms in newly.values() for n in terms})
    said = "; ".join(
        f"{', '.join(f'{w} of {n!r}' for n, w in terms.items())} on {s}"
        for s, terms in newly.items()
    )
    return Finding(
        id="spectral-nan",
        confidence=0.95 if silent else 0.45,
        severity=float(len(names)),
        severity_unit="terms",
        summary=f"not finite: {said}",
        evidence=tuple(
            Evidence(
                f"terms that break on {s}",
                float(len(found.broken[s])),
                "terms",
                "0",
            )
            for s in found.tested
        ),
        ruled_out=(
            RuledOut("nan-or-overflow", "on ordinary samples values and gradients are finite"),
            RuledOut("logvar-blow-up", "the model's own output is finite on the same samples"),
        ),
        treatment="put an epsilon inside the logarithm or root of "
        f"{', '.join(names)}: log(m + 1e-5), sqrt(re² + im² + 1e-9), x / (‖x‖ + 1e-8); clamping "
        "after the root leaves the gradient infinite",
        expects=("values and gradients are finite on zero input",),
        suggests={"term": names[0], "epsilon": 1e-5},
    )
