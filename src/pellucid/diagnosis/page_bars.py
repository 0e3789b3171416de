"""The error budget and the ladder as rows of bars that follow the width of the page."""

from __future__ import annotations

import math

from pellucid.diagnosis.evidence import Bar, Diagnosis, Rung, escaped

_LONGEST_DB = 60.0
"""A reference that loses nothing must not flatten every other bar."""


def budget(diagnosis: Diagnosis) -> str:
    """Return a waterfall of dB bars per chain; what is no dB is written below it."""
    chains = dict.fromkeys(bar.chain for bar in diagnosis.budget)
    parts = [
        _waterfall(chain, [b for b in diagnosis.budget if b.chain == chain]) for chain in chains
    ]
    return "".join(["<h3>Error budget</h3>", *parts] if parts else [])


def _waterfall(chain: str, bars: list[Bar]) -> str:
    """Draw the bars of one chain, each from where the one before ends."""
    apart = [b for b in bars if b.unit != "dB" or b.stage == "train to held-out"]
    spans, level = [], 0.0
    for bar in bars:
        if bar in apart:
            continue
        value = bar.value if math.isfinite(bar.value) else 0.0
        spans.append((bar, level, level + value))
        level += value
    low = min([0.0, *(min(a, b) for _, a, b in spans)])
    high = max([0.1, *(max(a, b) for _, a, b in spans)])
    zero = f'<u style="left:{_percent(0, low, high)}"></u>'
    rows = [
        _row(
            escaped(_STAGES.get(bar.stage, bar.stage)),
            escaped(bar.note),
            f'<i class="{"gain" if bar.value >= 0 else "loss"}" '
            f'style="{_span(start, stop, low, high)}"></i>{zero}',
            f"{_signed(bar.value)} dB",
        )
        for bar, start, stop in spans
    ]
    words = "".join(
        f"<li>{escaped(_STAGES.get(b.stage, b.stage))}: <b>{_number(b)}</b> "
        f'<span class="quiet">{escaped(b.note)}</span></li>'
        for b in apart
    )
    return (
        f'<p class="quiet">{escaped(_CHAINS.get(chain, chain))}</p>'
        f'<div class="rows">{"".join(rows)}</div><ul>{words}</ul>'
    )


def ladder(diagnosis: Diagnosis) -> str:
    """Return bars of decibels, one per rung, the model's own highlighted."""
    rungs = [r for r in diagnosis.ladder if math.isfinite(r.db)]
    if not rungs:
        return ""
    ordered = sorted(rungs, key=lambda r: r.db)
    low = min(0.0, ordered[0].db)
    high = max(0.1, min(ordered[-1].db, _LONGEST_DB))
    own = next((r.db for r in ordered if r.id == "model"), None)
    line = "" if own is None else f'<u style="left:{_percent(min(own, high), low, high)}"></u>'
    rows = [
        _row(
            f'<span class="own-name">{escaped(r.name)}</span>'
            if r.id == "model"
            else escaped(f"{r.id} · {r.name}"),
            escaped(r.note),
            f'<i class="{_rung_class(r, high)}" style="{_span(0, min(r.db, high), low, high)}"></i>'
            f"{line}",
            f"{r.db:.2f} dB",
        )
        for r in ordered
    ]
    return (
        f'<h3>Ladder</h3><p class="quiet">{escaped(diagnosis.decibel)}; the line marks the '
        f'model</p><div class="rows">{"".join(rows)}</div>'
    )


_CHAINS = {
    "kind of error": "what kind of error it is: what each repair of the waveform as deployed would "
    "win, one after the other",
    "stage": "where it arises: what removing each stage would win, one after the other, from the "
    "model as deployed up to the best latents its decoder could be given",
}

_STAGES = {
    "units": "units",
    "decoder and objective": "left to decoder and objective",
    "train to held-out": "from training to held-out samples",
    "residual": "left after all repairs",
}


def _row(name: str, note: str, bar: str, number: str) -> str:
    small = f"<small>{note}</small>" if note else ""
    return (
        f'<div class="row"><div class="name">{name}{small}</div>'
        f'<div class="track" aria-hidden="true">{bar}</div><div class="number">{number}</div></div>'
    )


def _rung_class(rung: Rung, high: float) -> str:
    if rung.id == "model":
        return "own"
    return "more" if rung.db > high else ""


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * (value - low) / (high - low):.2f}%"


def _span(start: float, stop: float, low: float, high: float) -> str:
    left, right = min(start, stop), max(start, stop)
    return f"left:{_percent(left, low, high)};width:{100 * (right - left) / (high - low):.2f}%"


def _signed(value: float) -> str:
    if not math.isfinite(value):
        return "not finite"
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def _number(bar: Bar) -> str:
    if bar.unit == "dB":
        return f"{_signed(bar.value)} dB"
    return f"{bar.value:.3g} {escaped(bar.unit)}"
