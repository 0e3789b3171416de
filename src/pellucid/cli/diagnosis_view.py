"""A diagnosis on a terminal: verdict, findings with their numbers, budget, ladder, the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pellucid.diagnosis import Diagnosis
from pellucid.diagnosis.evidence import Bar, Confirmation, Evidence, Finding, Rung
from pellucid.diagnosis.patch_lines import patch_lines

_TRACK = 28
"""Cells of the longest bar."""


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print a diagnosis; colours vanish by themselves where the console has none."""
    console.print(_verdict(diagnosis))
    asserted = [f for f in diagnosis.findings if f.asserted]
    hints = [f for f in diagnosis.findings if not f.asserted]
    for finding in asserted:
        console.print(Padding(_finding(finding), (1, 0, 0, 1)))
    for chain in dict.fromkeys(bar.chain for bar in diagnosis.budget):
        bars = [bar for bar in diagnosis.budget if bar.chain == chain]
        console.print(Padding(_budget(bars), (1, 0, 0, 1)))
    if diagnosis.ladder:
        console.print(Padding(_ladder(diagnosis), (1, 0, 0, 1)))
    for exhibit in diagnosis.exhibits:
        text = Text(exhibit.title, style="bold")
        text.append(f"  {exhibit.text}", style="default not bold")
        console.print(Padding(text, (1, 0, 0, 1)))
    if hints:
        console.print(Padding(_hints(hints), (1, 0, 0, 1)))
    for line in _small_print(diagnosis):
        console.print(Padding(Text(line, style="dim"), (0, 0, 0, 1)))


def _verdict(diagnosis: Diagnosis) -> Panel:
    colour = "yellow" if diagnosis.waits else "green" if diagnosis.healthy else "red"
    name, rest = diagnosis.verdict_parts
    text = Text(name, style=f"bold {colour}")
    text.append(rest, style="default not bold")
    return Panel(text, border_style=colour, box=box.ROUNDED, padding=(0, 1))


def _finding(finding: Finding) -> RenderableType:
    """Return one finding: numbers, proof, treatment, what it is not, what it explains."""
    title = Text(finding.id, style="bold")
    title.append(f"   confidence {finding.confidence:.2f}", style="dim")
    parts: list[RenderableType] = [title, Text(finding.summary), _numbers(finding.evidence)]
    if finding.confirmation is not None:
        parts.append(_proof(finding.confirmation))
    advice = Text("→ ", style="bold green")
    advice.append(finding.treatment, style="default not bold")
    parts.append(advice)
    for new, line in patch_lines(finding.patch):
        parts.append(Text(f"  {'+' if new else ' '} {line}", style="green" if new else "dim"))
    if finding.expects:
        parts.append(Text(f"  then expect: {'; '.join(finding.expects)}", style="dim"))
    for rival in finding.ruled_out:
        line = Text("not ", style="dim")
        line.append(rival.id, style="strike dim")
        line.append(f"  {rival.why}", style="default not strike")
        parts.append(line)
    if finding.consequences:
        parts.append(Text(f"explains {', '.join(finding.consequences)}", style="dim"))
    return Group(*parts)


def _numbers(evidence: Iterable[Evidence]) -> Table:
    """Return measured numbers with the healthy reference beside each."""
    grid = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, show_edge=False)
    grid.add_column("measured", overflow="fold")
    grid.add_column("here", justify="right", overflow="fold")
    grid.add_column("healthy", style="dim", overflow="fold")
    for item in evidence:
        grid.add_row(Text(item.name), Text(item.measured, style="bold"), Text(item.healthy))
    return grid


def _proof(proof: Confirmation) -> Text:
    style = {"confirmed": "green", "refuted": "red"}.get(proof.verdict, "yellow")
    text = Text(proof.verdict, style=f"bold {style}")
    text.append(
        f" by {proof.intervention}; predicted: {proof.prediction}; measured: {proof.effect.name} "
        f"{proof.effect.measured}",
        style="default not bold",
    )
    return text


def _budget(bars: list[Bar]) -> Table:
    """Return the waterfall of decibels of one chain; other bars as their number."""
    steps = [b for b in bars if b.unit == "dB" and b.stage != "train to held-out"]
    levels, level = [0.0], 0.0
    for bar in steps:
        level += bar.value if math.isfinite(bar.value) else 0.0
        levels.append(level)
    low, high = min(levels), max(max(levels), min(levels) + 0.1)
    grid = _bars(f"error budget by {bars[0].chain}: what removing each would win")
    at = 0
    for bar in bars:
        drawn, style = "", "blue"
        if bar in steps:
            start, stop = sorted(levels[at : at + 2])
            at += 1
            drawn = _block((start - low) / (high - low), (stop - low) / (high - low))
            style = "blue" if bar.value >= 0 else "red"
        number = f"{bar.value:.3g} {bar.unit}"
        if bar.unit == "dB":
            number = f"{round(bar.value, 2) + 0.0:+.2f} dB"
        grid.add_row(Text(bar.stage), Text(drawn, style=style), number, Text(bar.note))
    return grid


def _ladder(diagnosis: Diagnosis) -> Table:
    """Return the rungs by decibels, the model's own in colour."""
    rungs: list[Rung] = sorted(
        (r for r in diagnosis.ladder if math.isfinite(r.db)), key=lambda r: r.db
    )
    low = min([0.0, *(r.db for r in rungs)])
    high = max([low + 0.1, *(min(r.db, 60.0) for r in rungs)])
    grid = _bars(f"ladder, {diagnosis.decibel}")
    for rung in rungs:
        own = rung.id == "model"
        name = Text(rung.name if own else f"{rung.id} {rung.name}", style="bold" if own else "")
        drawn = _block((0 - low) / (high - low), (min(rung.db, high) - low) / (high - low))
        colour = "yellow" if own else "bright_black"
        grid.add_row(name, Text(drawn, style=colour), f"{rung.db:.2f} dB", Text(rung.note))
    return grid


def _bars(title: str) -> Table:
    grid = Table(
        box=None, show_header=False, title=title, title_justify="left", title_style="bold",
        pad_edge=False,
    )  # fmt: skip
    grid.add_column(overflow="fold", min_width=12)
    grid.add_column(no_wrap=True, width=_TRACK)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(style="dim", overflow="fold")
    return grid


def _block(start: float, stop: float) -> str:
    """Return a bar in eighths of a cell, from one share of the track to another."""
    first = min(round(start * _TRACK), _TRACK - 1)
    eighths = max(1, round((stop * _TRACK - first) * 8))
    return " " * first + "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _hints(hints: list[Finding]) -> Group:
    lines = [Text("weighed, not asserted", style="bold")]
    for finding in hints:
        line = Text(f"{finding.id} {finding.confidence:.2f}  ", style="default")
        if finding.explained_by:
            line.append(f"explained by {finding.explained_by}: ", style="default")
        line.append(finding.summary, style="dim")
        lines.append(line)
    return Group(*lines)


def _small_print(diagnosis: Diagnosis) -> list[str]:
    lines = [""]
    if diagnosis.not_tested:
        by_need: dict[str, list[str]] = {}
        for row in diagnosis.not_tested:
            by_need.setdefault(row.needs, []).append(row.id)
        lines.append("not tested")
        lines += [f"  {', '.join(ids)}: needs {need}" for need, ids in by_need.items()]
    lines += [f"note: {note}" for note in diagnosis.notes]
    lines.append(
        f"{len(diagnosis.tested)} rows tested on {diagnosis.samples} samples "
        f"in {diagnosis.seconds:.1f} s"
    )
    return lines
