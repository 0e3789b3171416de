"""Count what `diagnose` found, missed and invented; plain arithmetic on plain records."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Literal

TOP = 5
"""Only the first five findings count."""

ASSERTED = 0.5


@dataclasses.dataclass(frozen=True)
class Said:
    """One finding, as far as it is scored."""

    id: str
    confidence: float
    consequences: tuple[str, ...] = ()

    @property
    def asserted(self) -> bool:
        """True when the confidence is at least 0.5."""
        return self.confidence >= ASSERTED


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One specimen and its diagnosis.

    Args:
        name: of the mutant or control.
        kind: mutant, double or control.
        family: kind of data.
        seed: that its base was trained with.
        expects: ids that count as right; for a double fault, each must be found.
        forbidden: ids that must not be asserted.
        allowed: on a control, ids that are no false alarm.
        sick: verified sick by the independent measurement (controls: False).
        proof: that measurement in words.
        findings: as ranked by the diagnosis.
        not_tested: row -> what would open it.
        seconds: of the diagnosis.
        preparing: seconds of mutating and fine-tuning.
        error: what was raised, or None.
        measured: (threshold name, number) pairs held against thresholds.
    """

    name: str
    kind: Literal["mutant", "double", "control"]
    family: str
    seed: int
    expects: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    sick: bool = False
    proof: str = ""
    findings: tuple[Said, ...] = ()
    not_tested: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    preparing: float = 0.0
    error: str | None = None
    measured: tuple[tuple[str, float], ...] = ()

    @property
    def top(self) -> tuple[Said, ...]:
        """The findings that count."""
        return self.findings[:TOP]

    @property
    def asserted(self) -> tuple[str, ...]:
        """Ids asserted anywhere among the findings."""
        return tuple(f.id for f in self.findings if f.asserted)

    @property
    def counts(self) -> bool:
        """Whether recall counts it: a mutant verified sick, or one that could not be examined."""
        return self.kind != "control" and (self.sick or self.error is not None)

    @property
    def hits(self) -> int:
        """Planted faults found: asserted in the top five, or folded under an asserted one there."""
        said = {f.id for f in self.top if f.asserted}
        if self.kind == "mutant":
            return int(bool(said & set(self.expects)))
        said |= {c for f in self.top if f.asserted for c in f.consequences}
        return sum(e in said for e in self.expects)

    @property
    def planted(self) -> int:
        """Faults that could be found."""
        return len(self.expects) if self.kind == "double" else 1

    @property
    def first(self) -> bool:
        """Whether the planted fault (of two: the one earlier in precedence) comes first."""
        wanted = self.expects[:1] if self.kind == "double" else self.expects
        return bool(self.top) and self.top[0].asserted and self.top[0].id in wanted

    @property
    def confused(self) -> tuple[str, ...]:
        """Forbidden ids that were asserted."""
        return tuple(i for i in self.asserted if i in self.forbidden)

    @property
    def beside(self) -> tuple[str, ...]:
        """What else was asserted: beside the planted faults, or on a control at all."""
        fine = self.allowed if self.kind == "control" else self.expects
        return tuple(i for i in self.asserted if i not in fine)


@dataclasses.dataclass(frozen=True)
class Count:
    """So many out of so many."""

    of: int
    hits: int

    @property
    def share(self) -> float:
        """NaN of nothing."""
        return self.hits / self.of if self.of else float("nan")

    def __str__(self) -> str:
        return f"{self.hits} of {self.of} ({self.share:.0%})" if self.of else "none tried"


@dataclasses.dataclass(frozen=True)
class Score:
    """The bench in numbers; the goals are in `GOALS`."""

    recall: Count
    first_rank: Count
    false_alarms: Count
    confusions: Count
    beside: Count
    declared: Count
    not_sick: int
    errors: int
    median_seconds: float
    max_seconds: float


def score(outcomes: Sequence[Outcome]) -> Score:
    """Count; a specimen that raised is a miss, and on a control a false alarm."""
    mutants = [o for o in outcomes if o.counts]
    controls = [o for o in outcomes if o.kind == "control"]
    declared = [o for o in controls if o.expects]
    times = [o.seconds for o in outcomes if o.seconds > 0] or [0.0]
    return Score(
        recall=Count(sum(o.planted for o in mutants), sum(o.hits for o in mutants)),
        first_rank=_count(mutants, lambda o: o.first),
        false_alarms=_count(controls, lambda o: bool(o.beside) or o.error is not None),
        confusions=_count([o for o in mutants if o.forbidden], lambda o: bool(o.confused)),
        beside=_count(mutants, lambda o: bool(o.beside)),
        declared=_count(declared, lambda o: set(o.expects) <= set(o.asserted)),
        not_sick=sum(o.kind != "control" and not o.counts for o in outcomes),
        errors=sum(o.error is not None for o in outcomes),
        median_seconds=statistics.median(times),
        max_seconds=max(times),
    )


def _count(outcomes: Iterable[Outcome], holds: Any) -> Count:
    chosen = list(outcomes)
    return Count(len(chosen), sum(bool(holds(o)) for o in chosen))
