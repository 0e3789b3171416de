"""What a story is made of, and how its numbers are written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from pellucid.diagnosis import Diagnosis

T_975 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for a 95 % interval of the mean over that many seeds."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How much is trained.

    Args:
        seeds: every arm is trained once per seed.
        effort: multiplies the training steps; 1 writes docs/claims.md, tests take less.
        budget_seconds: of each diagnosis.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    effort: float = 1.0
    budget_seconds: float = 30.0

    def steps(self, full: int) -> int:
        """Return the steps to train where `full` are wanted at effort 1."""
        return max(2, round(full * self.effort))


@dataclasses.dataclass(frozen=True)
class Table:
    """Measured numbers: the first cell of a row is its name."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What `diagnose` said about one model.

    Args:
        model: which one.
        verdict: its first line, verbatim.
        asserted: ids it asserted.
        expected: ids of which the first asserted one should be; empty for a healthy model.
        forbidden: ids that must not be asserted.
    """

    model: str
    verdict: str
    asserted: tuple[str, ...]
    expected: tuple[str, ...]
    forbidden: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """True when the first assertion is an expected one, and no forbidden one was made."""
        if set(self.asserted) & set(self.forbidden):
            return False
        first = next(iter(self.asserted), None)
        if self.expected:
            return first in self.expected
        return first in (None, "under-training")  # which is no fault


@dataclasses.dataclass(frozen=True)
class Story:
    """One section of docs/claims.md.

    Args:
        name: e.g. "ear".
        title: heading.
        claim: what was claimed at the time.
        theory: what theory predicts, with numbers where it has some.
        setting: data, model and training in one paragraph.
        tables: what was measured.
        reading: what the measured numbers say.
        answers: what `diagnose` said.
        seconds: of processor time it took to tell.
    """

    name: str
    title: str
    claim: str
    theory: str
    setting: str
    tables: tuple[Table, ...]
    reading: str
    answers: tuple[Answer, ...]
    seconds: float = 0.0


def read_story(node: dict[str, Any]) -> Story:
    """Read back what `dataclasses.asdict` and JSON made of a story."""
    tables = tuple(
        Table(tuple(t["columns"]), tuple(tuple(row) for row in t["rows"])) for t in node["tables"]
    )
    lists = ("asserted", "expected", "forbidden")
    answers = tuple(
        Answer(**{**a, **{key: tuple(a[key]) for key in lists}}) for a in node["answers"]
    )
    return Story(**{**node, "tables": tables, "answers": answers})


def answer(model: str, found: Diagnosis, *expected: str, forbidden: tuple[str, ...] = ()) -> Answer:
    """Keep what matters of a diagnosis."""
    asserted = tuple(f.id for f in found.findings if f.asserted)
    return Answer(model, found.verdict, asserted, expected, forbidden)


def interval(values: Sequence[float], digits: int = 2) -> str:
    """Write a mean over seeds with its 95 % interval, "23.90 ± 0.31"."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = T_975.get(len(values), 2.0) * spread / math.sqrt(len(values))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)
