"""The error of a waveform by kind: delay, gain, DC, bandwidth, phase, and what is left.

The bars stand before those of the stages and form a waterfall of their own: their decibels sum to
the SNR after the last repair minus the deployed one. `functional/waveform_error.py` has the maths.
"""

from __future__ import annotations

import itertools
import math

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Bar
from pellucid.diagnosis.probes.deployed import deployed_path
from pellucid.functional.waveform_error import Stations, take_apart

KIND = "kind of error"
"""Name of this waterfall in `Bar.chain`."""
_STEPS = 2**16


def take_waveform_apart(case: Case) -> Stations:
    """Measure the stations of the deployed path."""
    deployed, _ = case.measure(deployed_path)
    return take_apart(case.x, deployed, sample_rate=case.subject.sample_rate)


def spend_by_kind(case: Case) -> tuple[Bar, ...]:
    """Return the six bars of a waveform subject, none for other data.

    An error below that of 16-bit samples, (range / 2¹⁶)² / 12, counts as none, so that a repair of
    everything has a finite height.
    """
    if not case.is_audio:
        return ()
    found = case.measure(take_waveform_apart)
    low, high = case.subject.value_range
    floor = ((high - low) / _STEPS) ** 2 / 12
    errors = {
        "deployed": found.deployed,
        "delay": found.delay,
        "gain": found.gain,
        "DC": found.dc,
        "bandwidth": found.bandwidth,
        "phase": found.phase,
    }
    notes = _notes(case, found)
    bars = []
    for (_, before), (stage, after) in itertools.pairwise(errors.items()):
        share = round(100 * (before - after) / max(found.deployed, floor))
        value = case.db(max(after, floor)) - case.db(max(before, floor))
        bars.append(Bar(stage, value, "dB", f"{notes[stage]}; {share} % of the error", KIND))
    left = max(found.phase, floor)
    note = f"no such repair helps: {case.db(left):.1f} dB"
    return (*bars, Bar("residual", left / case.variance, "FVU", note, KIND))


def _notes(case: Case, found: Stations) -> dict[str, str]:
    """Say in the reader's units what each repair had to do."""
    direction = "late" if found.lag > 0 else "early"
    loud = "too loud" if found.gain_db < 0 else "too quiet"
    sigma = found.offset / math.sqrt(case.variance)
    return {
        "delay": f"{abs(found.lag)} samples {direction}" if found.lag else "in time",
        "gain": f"{abs(found.gain_db):.2f} dB {loud}"
        if abs(found.gain_db) >= 0.005
        else "the right level",
        "DC": f"mean off by {abs(sigma):.2g} σ",
        "bandwidth": _band(found, case.subject.sample_rate),
        "phase": "right magnitudes at wrong phases",
    }


def _band(found: Stations, sample_rate: float | None) -> str:
    if found.alive > 0.99:
        return "nothing is missing"
    edges = f"{found.lowest:.2f} to {found.highest:.2f} of the band"
    if sample_rate is not None:
        edges = f"{found.lowest * sample_rate / 2:.0f} to {found.highest * sample_rate / 2:.0f} Hz"
    return f"alive at {found.alive:.0%} of the frequencies, from {edges}"
