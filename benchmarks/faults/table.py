"""The bench's answer in words: a line per specimen, the counts, and a table per row."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.faults.score import Outcome, score

from pellucid.diagnosis.catalogue import ROWS

BASE_PASS = "nan-or-overflow"
"""Found before any rule is asked, while the model is first run."""


def line(outcome: Outcome) -> str:
    """Return one specimen in one line, for the terminal."""
    said = ", ".join(f"{f.id} {f.confidence:.2f}" for f in outcome.top if f.confidence > 0.25)
    return (
        f"{verdict(outcome):<11} {outcome.name:<46} {outcome.preparing:5.1f} s "
        f"+ {outcome.seconds:5.1f} s  {said or 'nothing'}"
        + (f"  [{outcome.error}]" if outcome.error else "")
        + (f"  [{outcome.proof}]" if outcome.kind != "control" and not outcome.sick else "")
    )


def verdict(outcome: Outcome) -> str:
    """Return how one specimen counts, in a word or two."""
    if outcome.error is not None:
        return "error"
    if outcome.kind == "control":
        if outcome.beside:
            return "FALSE ALARM"
        return "healthy" if set(outcome.expects) <= set(outcome.asserted) else "UNSAID"
    if not outcome.counts:
        return "not sick"
    if outcome.confused:
        return "CONFUSED"
    if outcome.hits < outcome.planted:
        return "MISSED"
    return "first" if outcome.first else "found"


def counts(outcomes: Sequence[Outcome]) -> str:
    """Return the counts as a Markdown table."""
    s = score(outcomes)
    return "\n".join(
        (
            "| | measured | goal |",
            "|---|---|---|",
            f"| recall (planted fault asserted in the top five) | {s.recall} | ≥ 95 % |",
            f"| planted fault ranked first | {s.first_rank} | ≥ 85 % |",
            f"| false alarms on healthy controls | {s.false_alarms} | ≤ 5 % |",
            f"| forbidden confusions | {s.confusions} | 0 |",
            f"| declared state of a young control said | {s.declared} | all |",
            f"| mutants with a further assertion beside the planted one | {s.beside} | |",
            f"| mutants not verified sick (not counted) | {s.not_sick} | |",
            f"| specimens that raised | {s.errors} | 0 |",
            f"| seconds per diagnosis | median {s.median_seconds:.1f}, max {s.max_seconds:.1f} | |",
        )
    )


def per_row(outcomes: Sequence[Outcome]) -> str:
    """Return one Markdown line per planted row, in the order of precedence."""
    order = {row.id: i for i, row in enumerate(ROWS)}
    planted = sorted(
        {i for o in outcomes if o.kind != "control" for i in _planted(o)},
        key=lambda i: (order.get(i, len(order)), i),
    )
    lines = ["| row | mutants | found | first | said instead or beside |", "|---|---|---|---|---|"]
    for row in planted:
        here = [o for o in outcomes if o.kind != "control" and row in _planted(o) and o.counts]
        found = sum(_finds(o, row) for o in here)
        first = sum(o.first for o in here)
        others = sorted({i for o in here for i in o.beside})
        missing = "" if row in order or row == BASE_PASS else " (no rule yet)"
        lines.append(
            f"| `{row}`{missing} | {len(here)} | {found} | {first} | {', '.join(others)} |"
        )
    return "\n".join(lines)


def alarms(outcomes: Sequence[Outcome]) -> str:
    """Return every miss, confusion, false alarm and error as a Markdown list."""
    bad = ("MISSED", "CONFUSED", "FALSE ALARM", "UNSAID", "error", "not sick")
    entries = [
        f"* {verdict(o).lower()}: `{o.name}` (seed {o.seed}): "
        + (o.error or ", ".join(o.asserted) or "nothing asserted")
        + (f"; {o.proof}" if o.proof else "")
        for o in outcomes
        if verdict(o) in bad
    ]
    return "\n".join(entries) or "None."


def section(outcomes: Sequence[Outcome], how: str) -> str:
    """Return the whole section of RESULTS.md."""
    kinds = {k: sum(o.kind == k for o in outcomes) for k in ("mutant", "double", "control")}
    return (
        f"## The mutant bench\n\n{how} {kinds['mutant']} single faults, {kinds['double']} double "
        f"faults, {kinds['control']} healthy controls.\n\n{counts(outcomes)}\n\n"
        f"{per_row(outcomes)}\n\n### What went wrong\n\n{alarms(outcomes)}\n"
    )


def _planted(outcome: Outcome) -> tuple[str, ...]:
    return outcome.expects if outcome.kind == "double" else outcome.expects[:1]


def _finds(outcome: Outcome, row: str) -> bool:
    if outcome.kind == "mutant":
        return outcome.hits > 0
    said = {i for f in outcome.top if f.asserted for i in (f.id, *f.consequences)}
    return row in said
