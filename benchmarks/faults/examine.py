"""Make one specimen, prove it sick, diagnose it; what goes wrong is part of the outcome."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Sequence
from typing import Any

import torch
from benchmarks.faults.bases import bases, controls, healthy, healthy_specimen, mutants, seed_for
from benchmarks.faults.contract import Control, Mutant, Specimen
from benchmarks.faults.score import Outcome, Said

from pellucid.diagnosis import Subject, diagnose
from pellucid.diagnosis.thresholds import recorded


def prepare() -> None:
    """Set up a worker process: one thread, as many workers as cores."""
    torch.set_num_threads(1)


def train_base(name: str, seed: int) -> str:
    """Train or load a base in a worker, so that no two workers train the same one."""
    started = time.monotonic()
    healthy(name, seed)
    return f"{name}, seed {seed}: {time.monotonic() - started:.1f} s"


def examine(name: str, seeds: Sequence[int], repeat: int, budget: float) -> Outcome:
    """Examine a mutant, double or control by name."""
    if name in controls():
        return _control(controls()[name], seed_for(name, seeds, repeat), budget)
    mutant = mutants()[name]
    return _mutant(mutant, seed_for(mutant.base, seeds, repeat), budget)


def _mutant(mutant: Mutant, seed: int, budget: float) -> Outcome:
    outcome = Outcome(
        name=mutant.name,
        kind="double" if mutant.plants else "mutant",
        family=bases()[mutant.base].family,
        seed=seed,
        expects=mutant.plants or mutant.expects,
        forbidden=mutant.forbidden,
    )
    started = time.monotonic()
    try:
        base = healthy(mutant.base, seed)
        torch.manual_seed(seed)
        specimen = mutant.make(base, seed)
        sick, proof = mutant.sick(healthy_specimen(base), specimen)
        outcome = dataclasses.replace(
            outcome, sick=sick, proof=proof, preparing=time.monotonic() - started
        )
        if mutant.black_box:
            specimen = dataclasses.replace(specimen, subject=black_box(specimen.subject))
        return _diagnosed(outcome, specimen, budget)
    except Exception as error:  # one specimen never stops the bench
        return dataclasses.replace(outcome, error=_where(error))


def _control(control: Control, seed: int, budget: float) -> Outcome:
    outcome = Outcome(
        name=control.name,
        kind="control",
        family=control.family,
        seed=seed,
        expects=control.must_assert,
        allowed=(*control.may_assert, *control.must_assert),
    )
    started = time.monotonic()
    try:
        torch.manual_seed(seed)
        specimen = control.make(seed)
        outcome = dataclasses.replace(outcome, preparing=time.monotonic() - started)
        return _diagnosed(outcome, specimen, budget)
    except Exception as error:  # as above
        return dataclasses.replace(outcome, error=_where(error))


def _diagnosed(outcome: Outcome, specimen: Specimen, budget: float) -> Outcome:
    """Diagnose a specimen and keep what is scored."""
    with recorded() as measured:
        diagnosis = diagnose(
            specimen.subject,
            specimen.train,
            specimen.validation,
            budget_seconds=budget,
            goal=specimen.goal,
        )
    return dataclasses.replace(
        outcome,
        findings=tuple(Said(f.id, f.confidence, f.consequences) for f in diagnosis.findings),
        not_tested={n.id: n.needs for n in diagnosis.not_tested},
        seconds=diagnosis.seconds,
        measured=tuple(measured),
    )


def black_box(subject: Subject) -> Subject:
    """Return the subject as somebody hands it over who has only encode, decode and data."""
    facts: dict[str, Any] = {
        "value_range": subject.value_range,
        "sample_rate": subject.sample_rate,
    }
    return Subject(subject.encode, subject.decode, **facts)


def _where(error: Exception) -> str:
    """Return an exception in one line, with the place it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"
