"""What is shown about every subject of its kind, whatever the verdict; one module each."""

from __future__ import annotations

from collections.abc import Callable

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Exhibit
from pellucid.diagnosis.exhibits import code_levels, waveform_rate

EXHIBITS: tuple[Callable[[Case], Exhibit | None], ...] = (waveform_rate.show, code_levels.show)


def show_all(case: Case) -> tuple[Exhibit, ...]:
    """Return what could be measured; a reason among the notes for what could not."""
    shown = []
    for show in EXHIBITS:
        if case.clock.out:
            break
        try:
            shown.append(show(case))
        except Exception as error:  # foreign code may raise anything; what is missing is said
            case.notes.append(f"no {show.__module__.rpartition('.')[2]}: {error}")
    return tuple(e for e in shown if e is not None)
