"""`python -m benchmarks.faults.calibrate`: move thresholds between healthy and sick numbers.

Runs controls and mutants on the calibration seeds only, collects every number held against a
threshold, and moves a threshold where the two sides are apart: into the middle half of the gap,
with a scale that gives both sides nine to one where the gap is wide enough. A threshold already
there keeps its value. Where too few sick specimens are known (`--controls` makes none), healthy
ones alone speak: every control must stay half a scale short of the threshold. Thresholds whose
sides overlap are necessary conditions of a row, not what tells it; they stay as they are.

Guard rails: no threshold moves by more than one of its own scales at a time, and none beyond
`low` and `high`, where theory puts it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.faults.__main__ import write_json
from benchmarks.faults.bases import controls
from benchmarks.faults.contract import CALIBRATION_SEEDS
from benchmarks.faults.run import chosen, run
from benchmarks.faults.score import Outcome
from benchmarks.faults.table import counts

from pellucid.diagnosis import thresholds as module
from pellucid.diagnosis.thresholds import Threshold, thresholds

FILE = Path(module.__file__).with_name("thresholds.json")
ENOUGH = (8, 3)
"""Healthy and sick specimens a threshold needs on its two sides."""


@dataclasses.dataclass
class Sides:
    """What one threshold was held against, one number per specimen: the most asserting one."""

    healthy: list[float] = dataclasses.field(default_factory=list)
    sick: list[float] = dataclasses.field(default_factory=list)


def sides(outcomes: Iterable[Outcome]) -> dict[str, Sides]:
    """Sort the recorded numbers: controls are healthy, mutants proved sick are sick in their row.

    A mutant's numbers say nothing about rows it does not plant.
    """
    found: dict[str, Sides] = defaultdict(Sides)
    for outcome in outcomes:
        most: dict[str, float] = {}
        for name, x in outcome.measured:
            threshold = thresholds().get(name)
            if threshold is None or not math.isfinite(x):
                continue
            pick = max if threshold.asserts == "above" else min
            most[name] = pick(most.get(name, x), x)
        for name, x in most.items():
            if outcome.kind == "control":
                if name.partition(".")[0] not in outcome.allowed:
                    found[name].healthy.append(x)
            elif outcome.sick and name.partition(".")[0] == outcome.expects[0]:
                found[name].sick.append(x)
    return dict(found)


def calibrated(threshold: Threshold, found: Sides) -> Threshold | None:
    """Return the threshold between its two sides, or None where nothing can be said."""
    if len(found.healthy) < ENOUGH[0]:
        return None
    sign = 1 if threshold.asserts == "above" else -1

    def along(x: float) -> float:
        return sign * (math.log(max(x, 1e-12)) if threshold.ratio else x)

    stands, worst = along(threshold.value), max(along(x) for x in found.healthy)
    scale = math.log(threshold.scale) if threshold.ratio else threshold.scale
    healthy = f"{len(found.healthy)} healthy up to {_extreme(found.healthy, sign):.3g}"
    if len(found.sick) < ENOUGH[1]:
        if worst >= stands:
            return None
        at, sick = max(stands, worst + scale / 2), "no sick ones asked"
    else:
        weakest = sorted(along(x) for x in found.sick)[len(found.sick) // 10]
        if weakest <= worst:
            return None
        quarter = (weakest - worst) / 4
        at = min(max(stands, worst + quarter), weakest - quarter)
        room, before = min(at - worst, weakest - at), scale
        scale = min(max(room, scale / 2), scale * 2)
        at = min(max(at, stands - before), stands + before)
        sick = f"{len(found.sick)} sick from {_extreme(found.sick, -sign):.3g}"
    value = _within(math.exp(sign * at) if threshold.ratio else sign * at, threshold)
    return dataclasses.replace(
        threshold,
        value=threshold.value if math.isclose(at, stands) else _rounded(value),
        scale=max(_rounded(math.exp(scale) if threshold.ratio else scale), 1.01 * threshold.ratio),
        provenance="calibrated",
        source=f"{_reason(threshold)}; benchmarks/faults: {healthy}, {sick}; "
        f"before, {threshold.value:g}",
    )


def _within(value: float, threshold: Threshold) -> float:
    """Keep a value where theory allows it."""
    low = -math.inf if threshold.low is None else threshold.low
    high = math.inf if threshold.high is None else threshold.high
    return min(max(value, low), high)


def _reason(threshold: Threshold) -> str:
    """Return why the threshold stood where it did, without what an earlier calibration added."""
    return threshold.source.partition("; benchmarks/faults:")[0]


def _extreme(numbers: Sequence[float], sign: int) -> float:
    """Return the number nearest to the other side."""
    return max(numbers) if sign > 0 else min(numbers)


def _rounded(x: float) -> float:
    """Return three significant figures: more would claim too much."""
    return float(f"{x:.3g}")


def proposals(outcomes: Iterable[Outcome]) -> dict[str, Threshold]:
    """Return the thresholds that can be calibrated, by name."""
    found = sides(outcomes)
    answers = {name: calibrated(thresholds()[name], both) for name, both in found.items()}
    return {name: answer for name, answer in answers.items() if answer is not None}


def write(changed: dict[str, Threshold], path: Path = FILE) -> None:
    """Write changed thresholds back; the others stay byte for byte what they were."""
    node = json.loads(path.read_text(encoding="utf-8"))
    for name, threshold in changed.items():
        entry = dataclasses.asdict(threshold)
        node["thresholds"][name] = {k: v for k, v in entry.items() if v is not None}
    path.write_text(json.dumps(node, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_outcomes(path: Path) -> list[Outcome]:
    """Read what `--json` wrote, as far as calibration needs it."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [
        Outcome(
            name=e["name"],
            kind=e["kind"],
            family=e["family"],
            seed=e["seed"],
            expects=tuple(e["expects"]),
            allowed=tuple(e["allowed"]),
            sick=e["sick"],
            measured=tuple((name, x) for name, x in e["measured"]),
        )
        for e in entries
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run on the calibration seeds, or read such a run; print proposals; write when asked."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.faults.calibrate", description=__doc__)
    p.add_argument("--only", metavar="PATTERN", help="shell pattern or part of a name")
    p.add_argument("--controls", action="store_true", help="healthy specimens alone")
    p.add_argument("--quick", action="store_true", help="those of the quick bench alone")
    p.add_argument("--repeats", type=int, choices=(1, 2, 3), default=1, help="seeds per specimen")
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--budget", type=float, default=60, help="seconds per diagnosis")
    p.add_argument("--read", type=Path, metavar="FILE", help="outcomes of an earlier run (--json)")
    p.add_argument("--json", type=Path, metavar="FILE", help="keep the outcomes")
    p.add_argument("--write", action="store_true", help="write thresholds.json")
    options = p.parse_args(arguments)
    if options.read:
        outcomes = read_outcomes(options.read)
        strangers = {o.seed for o in outcomes} - set(CALIBRATION_SEEDS)
        if strangers:
            print(f"{options.read} holds seeds {sorted(strangers)}, which are not for calibration")
            return 2
    else:
        names = chosen(quick=options.quick, only=options.only)
        outcomes = run(
            [n for n in names if n in controls()] if options.controls else names,
            CALIBRATION_SEEDS,
            workers=options.workers,
            budget=options.budget,
            repeats=options.repeats,
        )
        print(counts(outcomes))
    if options.json:
        write_json(outcomes, options.json)
    changed = proposals(outcomes)
    for name, both in sorted(sides(outcomes).items()):
        _print(name, both, changed.get(name))
    if options.write:
        write(changed)
        print(f"{len(changed)} thresholds written to {FILE.name}")
    return 0


def _print(name: str, both: Sides, proposal: Threshold | None) -> None:
    """Print one threshold's two sides and what follows."""
    now = thresholds()[name]
    low_high = [
        f"{len(n)} in [{min(n):.3g}, {max(n):.3g}]" if n else "none"
        for n in (both.healthy, both.sick)
    ]
    after = "kept" if proposal is None else f"→ {proposal.value:g} ± {proposal.scale:g}"
    print(f"{name:<44} healthy {low_high[0]:<30} sick {low_high[1]:<30} {now.value:g} {after}")


if __name__ == "__main__":
    raise SystemExit(main())
