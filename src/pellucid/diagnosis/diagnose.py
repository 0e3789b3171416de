"""Diagnose: measure, examine every row that can be, rank, fold consequences, confirm."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch

from pellucid.diagnosis.budget import spend
from pellucid.diagnosis.case import Case, build_case, set_mode
from pellucid.diagnosis.catalogue import ROWS, Row
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.evidence import (
    OUT_OF_TIME,
    Confirmation,
    Diagnosis,
    Finding,
    NotTested,
)
from pellucid.diagnosis.exhibits import show_all
from pellucid.diagnosis.ladder import climb
from pellucid.diagnosis.numerics import non_finite
from pellucid.diagnosis.probes.repeated import repeated
from pellucid.diagnosis.ranking import fold
from pellucid.diagnosis.reachable import reachable
from pellucid.diagnosis.samples import read_samples
from pellucid.diagnosis.snapshot import Snapshot
from pellucid.diagnosis.subject import as_subject
from pellucid.errors import PellucidError, unknown_name

READING_SHARE = 0.1
"""Part of the budget that reading data may take."""


def diagnose(
    subject: Any,
    train: Any,
    validation: Any = None,
    confirm: bool = False,
    budget_seconds: float = 60,
    goal: str | None = None,
) -> Diagnosis:
    """Say why reconstructions are bad, with the numbers, and leave the model as it was.

    Args:
        subject: a Subject, or an nn.Module with `encode` and `decode`.
        train: the training samples: a tensor (N, C, ...), a Dataset, or a loader of x, (x, ...) or
            {"x": x}.
        validation: held-out samples of the same kind; without them everything is measured on part
            of `train`, and rows about generalisation are not tested.
        confirm: run interventions on what was found (short forks, under a snapshot).
        budget_seconds: time to keep to; rows that no longer fit are listed as not tested.
        goal: e.g. "psnr>40" or "snr>30"; opens `unattainable-target`.

    Raises:
        PellucidError: when the subject cannot be run on the data, or the data cannot be used.
    """
    with _opened(subject, train, validation, budget_seconds, parse_goal(goal)) as case:
        broken = non_finite(case)
        if broken is not None:
            return _answer(case, (broken,), _all_closed("the model returns non-finite numbers"))
        return _examine_all(case, confirm=confirm)


def examine_rows(
    subject: Any,
    train: Any,
    validation: Any = None,
    *,
    rows: Collection[str],
    budget_seconds: float = 10,
) -> Diagnosis:
    """Examine some rows only, without ladder, budget or interventions.

    Args:
        subject: see `diagnose`.
        train: see `diagnose`.
        validation: see `diagnose`.
        rows: ids of the rows to examine.
        budget_seconds: see `diagnose`.

    Raises:
        PellucidError: as `diagnose` does, or when there is no such row.
    """
    known = {row.id for row in ROWS}
    for name in rows:
        if name not in known:
            raise unknown_name("row of the catalogue", name, known)
    with _opened(subject, train, validation, budget_seconds, None) as case:
        broken = non_finite(case)
        if broken is not None:
            return _answer(case, (broken,), _all_closed("the model returns non-finite numbers"))
        closed, tested = _examine_each(case, [row for row in ROWS if row.id in rows])
        return _answer(case, fold(case.findings), closed, tested)


@contextlib.contextmanager
def _opened(
    subject: Any,
    train: Any,
    validation: Any,
    budget_seconds: float,
    goal: tuple[str, float] | None,
) -> Iterator[Case]:
    """Read the data, settle how the model runs, and put everything back at the end."""
    if not budget_seconds > 0:
        raise PellucidError("a time budget must be positive", found=budget_seconds)
    clock = Clock(budget_seconds)
    subject = as_subject(subject)
    reading = clock.share(READING_SHARE)
    held_samples = None
    with Snapshot(reachable(())):  # shuffling draws from the global generators
        train_samples = read_samples(train, where="train", clock=reading)
        if validation is not None:
            reading = clock.share(READING_SHARE)
            held_samples = read_samples(validation, where="validation", clock=reading)
    if held_samples is not None and held_samples.x.shape[1:] != train_samples.x.shape[1:]:
        raise PellucidError(
            "train and validation samples differ in shape",
            expected=tuple(train_samples.x.shape[1:]),
            found=tuple(held_samples.x.shape[1:]),
        )
    reached = subject.reachable()
    with Snapshot(reached), torch.no_grad():
        set_mode(reached.roots, training=False)
        yield build_case(subject, train_samples, held_samples, clock, goal)


def parse_goal(goal: str | None) -> tuple[str, float] | None:
    """Read "psnr>40" or "snr > 30".

    Raises:
        PellucidError: when it is neither.
    """
    if goal is None:
        return None
    match = re.fullmatch(r"\s*(psnr|snr)\s*>=?\s*(-?\d+(?:\.\d+)?)\s*(?:db)?\s*", goal.lower())
    if match is None:
        raise PellucidError(
            "cannot read the goal", where="goal", expected='"psnr>40" or "snr>30"', found=repr(goal)
        )
    return match[1], float(match[2])


def _examine_all(case: Case, *, confirm: bool) -> Diagnosis:
    """Run the rows by cost, then the ladder and the budget, then interventions."""
    closed, tested = _examine_each(case, ROWS)
    _note_noise(case)
    ladder = climb(case)
    bars = () if case.clock.out else _spend(case)
    findings = fold(case.findings)
    if confirm:  # a refuted cause gives back what it explained
        findings = fold([_confirm(case, f) for f in findings])
    findings = tuple(_illustrated(case, f) for f in findings)
    return _answer(case, findings, closed, tested, ladder, bars, show_all(case))


def _examine_each(case: Case, rows: Iterable[Row]) -> tuple[list[NotTested], tuple[str, ...]]:
    """Examine rows by cost; return those that could not be, and the ids of those that were."""
    closed: list[NotTested] = []
    tested: list[str] = []
    for row in sorted(rows, key=lambda r: (r.cost, r.group)):
        reason = _examine(case, row)
        if reason is None:
            tested.append(row.id)
        else:
            closed.append(NotTested(row.id, reason))
    return closed, tuple(tested)


def _examine(case: Case, row: Row) -> str | None:
    """Examine one row; return why it could not be, or None."""
    reserve = {1: 0.5, 2: 3.0, 3: 4.0, 4: 4.0}[row.cost] * case.pass_seconds
    if not case.clock.has(reserve) or case.clock.out:
        return OUT_OF_TIME
    try:
        needs = row.rule.missing(case)
        if needs is None:
            finding = row.rule.examine(case)
            if finding is not None:
                case.findings.append(finding)
    except Exception as error:  # foreign code may raise anything; the row says so
        first = str(error).splitlines()[0] if str(error) else "no message"
        return f"a subject that survives the probe ({type(error).__name__}: {first})"
    return needs


def _note_noise(case: Case) -> None:
    """Tell the reader when encode does not answer twice alike."""
    if case.clock.out:
        return
    share = case.measure(repeated).latent_share
    if share > 1e-6:
        case.notes.append(
            f"encode answers differently each time (noise is {share:.2g} of its variance): "
            "single answers were measured; return the mean where there is one"
        )


def _spend(case: Case) -> tuple:
    """Return the budget, or nothing with the reason among the notes."""
    try:
        return spend(case)
    except Exception as error:  # as above
        case.notes.append(
            f"the error budget could not be measured ({type(error).__name__}: {error})"
        )
        return ()


def _confirm(case: Case, finding: Finding) -> Finding:
    """Run a finding's intervention where there is one and time for it; adjust the confidence."""
    row = next(r for r in ROWS if r.id == finding.id)
    if row.intervention is None or not case.clock.has(0.05 * case.clock.budget_seconds):
        return finding
    if finding.confidence < 0.25 or finding.explained_by:
        return finding
    try:
        result = row.intervention.intervene(case, finding)
    except Exception as error:  # as above
        case.notes.append(f"confirming {finding.id} failed ({type(error).__name__}: {error})")
        return finding
    if result is None:
        return finding
    return dataclasses.replace(
        finding, confirmation=result, confidence=adjusted(finding.confidence, result)
    )


def _illustrated(case: Case, finding: Finding) -> Finding:
    """Draw a finding's evidence, from what has been measured already."""
    row = next(r for r in ROWS if r.id == finding.id)
    if finding.confidence < 0.25 or finding.explained_by:
        return finding
    plots = []
    for draw in row.plots:
        try:
            plots.append(draw(case))
        except Exception as error:  # foreign code may raise anything; a missing picture is said
            case.notes.append(f"no picture of {finding.id} ({type(error).__name__}: {error})")
    return dataclasses.replace(finding, plots=tuple(p for p in plots if p is not None))


def adjusted(confidence: float, result: Confirmation) -> float:
    """Move a confidence by what an intervention showed: odds times six, divided by six, or kept."""
    factor = {"confirmed": 6.0, "refuted": 1 / 6.0}.get(result.verdict, 1.0)
    odds = confidence / max(1 - confidence, 1e-3) * factor
    return min(0.99, odds / (1 + odds))


def _all_closed(reason: str) -> list[NotTested]:
    return [NotTested(row.id, reason) for row in ROWS if row.id != "nan-or-overflow"]


def _answer(
    case: Case,
    findings: tuple[Finding, ...],
    closed: list[NotTested],
    tested: tuple[str, ...] = (),
    ladder: tuple = (),
    bars: tuple = (),
    exhibits: tuple = (),
) -> Diagnosis:
    return Diagnosis(
        findings=findings,
        not_tested=tuple(closed),
        tested=tested,
        ladder=ladder,
        budget=bars,
        notes=tuple(case.notes),
        decibel=case.decibel if not closed or tested else "SNR",
        samples=len(case.x),
        seconds=case.clock.elapsed,
        exhibits=exhibits,
    )
