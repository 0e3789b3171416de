"""What a diagnosis says: frozen records with a versioned JSON form."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Mapping
from typing import Any

from pellucid.diagnosis.plot import Plot

SCHEMA = 2
"""Version of `to_json`'s layout; raised whenever a key changes its meaning."""

ASSERTED = 0.5
"""Confidence from which a finding is an assertion; below it is a hint."""

OUT_OF_TIME = "time budget"
"""Why a row was not tested when the budget was spent before its turn."""

NOT_A_BUG = frozenset({"under-training"})
"""Findings that may be asserted and leave the model healthy."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One measured number beside what a healthy model shows.

    Args:
        name: what was measured.
        value: the number.
        unit: e.g. "dB", "nats per sample", "1" for a share or ratio.
        healthy: the healthy reference, in words or numbers.
        low: lower end of a 95 % interval, or None.
        high: upper end, or None.
    """

    name: str
    value: float
    unit: str
    healthy: str
    low: float | None = None
    high: float | None = None

    @property
    def measured(self) -> str:
        """Value, unit and interval as plain text."""
        unit = "" if self.unit == "1" else f" {self.unit}"
        span = (
            "" if self.low is None or self.high is None else f" [{self.low:.3g}, {self.high:.3g}]"
        )
        return f"{self.value:.4g}{unit}{span}"

    def __str__(self) -> str:
        return f"{self.name} {self.measured} (healthy: {self.healthy})"


@dataclasses.dataclass(frozen=True)
class RuledOut:
    """A rival explanation and the number that speaks against it."""

    id: str
    why: str


@dataclasses.dataclass(frozen=True)
class Confirmation:
    """An intervention: what was predicted before, what was measured after.

    Args:
        intervention: what was changed.
        prediction: the direction stated first.
        effect: the measured change, with its interval.
        verdict: "confirmed", "refuted" or "undecided".
    """

    intervention: str
    prediction: str
    effect: Evidence
    verdict: str


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault, how sure, and why.

    Args:
        id: row of the fault catalogue.
        confidence: 0…1; at least 0.5 is an assertion.
        severity: how much it costs, in `severity_unit`.
        severity_unit: usually "dB".
        summary: one sentence that says what is wrong here, with its numbers.
        evidence: the numbers.
        ruled_out: rivals and why not.
        consequences: ids of rows this one explains.
        explained_by: id of the row whose consequence this one is; it is then no assertion.
        own_confidence: the confidence before it was explained, or None.
        treatment: what to change.
        expects: which way each number will move after the treatment.
        confirmation: the intervention, where one was run.
        plots: pictures of the evidence.
        suggests: the numbers of the treatment by their role, e.g. {"kl_weight": 1.2e-4}.
        patch: the treatment as recipe keys and values, where there is a recipe, e.g.
            {"bottleneck.weight": 1.2e-4}.
    """

    id: str
    confidence: float
    severity: float
    severity_unit: str
    summary: str
    evidence: tuple[Evidence, ...]
    treatment: str
    expects: tuple[str, ...]
    ruled_out: tuple[RuledOut, ...] = ()
    consequences: tuple[str, ...] = ()
    explained_by: str = ""
    own_confidence: float | None = None
    confirmation: Confirmation | None = None
    plots: tuple[Plot, ...] = ()
    suggests: Mapping[str, float | str | bool] = dataclasses.field(default_factory=dict)
    patch: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def asserted(self) -> bool:
        """True when the confidence is at least 0.5."""
        return self.confidence >= ASSERTED


@dataclasses.dataclass(frozen=True)
class NotTested:
    """A row that was not examined, and what would open it."""

    id: str
    needs: str


@dataclasses.dataclass(frozen=True)
class Rung:
    """One step of the reference ladder.

    Args:
        id: "R0" … "R5".
        name: what it is.
        mse: mean squared error per element, in squared data units.
        db: its PSNR or SNR (pooled over the samples).
        n: samples behind it.
        note: which variant, fitted on what.
    """

    id: str
    name: str
    mse: float
    db: float
    n: int
    note: str


@dataclasses.dataclass(frozen=True)
class Bar:
    """One bar of the error budget: what removing this stage, or this kind of error, would change.

    Args:
        stage: "units", "sampling", "quantisation", "encoder", "rate",
            "decoder and objective" or "train to held-out"; for waveforms "delay", "gain", "DC",
            "bandwidth", "phase" and "residual" before them.
        value: in `unit`.
        unit: "dB", or "FVU" for what is left at the end of a chain.
        note: how it was measured.
        chain: bars of one chain are nested and sum; "stage", or "kind of error".
    """

    stage: str
    value: float
    unit: str
    note: str
    chain: str = "stage"


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """Something worth seeing about every subject of its kind, whatever the verdict.

    Args:
        title: what it is about.
        text: what the numbers say, in one or two sentences.
        plots: pictures of it.
    """

    title: str
    text: str
    plots: tuple[Plot, ...] = ()


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The answer of `diagnose`.

    Args:
        findings: ranked, the cause first; consequences and hints after it.
        not_tested: rows that were not examined, and what would open them.
        tested: ids of rows that were examined.
        ladder: R0 … R5 as far as they could be climbed.
        budget: bars in their fixed order; the dB bars of the stages sum to R4b minus the deployed
            number, those of the kinds of error to the SNR after all repairs minus the deployed one.
        notes: what the reader must know about how it was measured.
        decibel: "PSNR" or "SNR", and its peak or reference.
        samples: held-out samples behind the numbers.
        seconds: time spent.
        exhibits: rates, codes and the like, whatever the verdict.
    """

    findings: tuple[Finding, ...]
    not_tested: tuple[NotTested, ...]
    tested: tuple[str, ...]
    ladder: tuple[Rung, ...]
    budget: tuple[Bar, ...]
    notes: tuple[str, ...]
    decibel: str
    samples: int
    seconds: float
    exhibits: tuple[Exhibit, ...] = ()

    @property
    def healthy(self) -> bool:
        """True exactly when nothing is asserted, under-training aside."""
        return not any(f.asserted and f.id not in NOT_A_BUG for f in self.findings)

    @property
    def verdict(self) -> str:
        """The first sentence a reader needs."""
        asserted = [f for f in self.findings if f.asserted]
        late = sum(n.needs == OUT_OF_TIME for n in self.not_tested)
        if not asserted and late > len(self.tested):
            return (
                f"too little evidence: nothing asserted, but the time was enough for "
                f"{len(self.tested)} rows only; {late} were left out"
            )
        if not asserted:
            return f"healthy: nothing asserted among {len(self.tested)} rows tested"
        first = asserted[0]
        return f"{first.id} (confidence {first.confidence:.2f}): {first.summary}"

    @property
    def verdict_parts(self) -> tuple[str, str]:
        """The verdict as the name it begins with, to be set off, and the rest."""
        first = next((f for f in self.findings if f.asserted), None)
        name = self.verdict.partition(":")[0] if first is None else first.id
        return name, self.verdict.removeprefix(name)

    @property
    def waits(self) -> bool:
        """True when something is asserted that more training alone may mend."""
        return self.healthy and any(f.asserted for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: what diagnosis.json holds. Non-finite numbers become None."""
        node = dataclasses.asdict(self)
        return {"schema": SCHEMA, "healthy": self.healthy, "verdict": self.verdict, **_finite(node)}

    def to_json(self) -> str:
        """Return diagnosis.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def to_html(self) -> str:
        """Return a self-contained HTML fragment: verdict, findings, budget, ladder."""
        from pellucid.diagnosis.page import fragment

        return fragment(self)

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        from pellucid.diagnosis.wording import plain_text

        return plain_text(self)


def escaped(text: object) -> str:
    """Escape text for HTML."""
    return html.escape(str(text))


def _finite(node: Any) -> Any:
    """Replace NaN and infinity by None throughout."""
    if isinstance(node, float):
        return node if math.isfinite(node) else None
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_finite(value) for value in node]
    return node
