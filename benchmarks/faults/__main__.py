"""`python -m benchmarks.faults`: make every mutant, prove it sick, diagnose it, count."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.contract import CALIBRATION_SEEDS, TEST_SEEDS
from benchmarks.faults.run import chosen, run
from benchmarks.faults.score import Outcome
from benchmarks.faults.table import alarms, counts, per_row, section
from benchmarks.results import write_section


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; return 0, or 2 when no specimen fits."""
    options = parser().parse_args(arguments)
    if options.families:
        os.environ["FAULTS_FAMILIES"] = options.families  # worker processes inherit it
    names = chosen(quick=options.quick, only=options.only)
    if not names:
        print(f"no specimen's name fits {options.only!r}")
        return 2
    seeds = TEST_SEEDS if options.seeds == "test" else CALIBRATION_SEEDS
    started = time.monotonic()
    outcomes = run(
        names,
        seeds,
        workers=options.workers,
        budget=options.budget,
        repeats=options.repeats,
    )
    minutes = (time.monotonic() - started) / 60
    print(f"\n{per_row(outcomes)}\n\n{counts(outcomes)}\n\n{alarms(outcomes)}")
    how = (
        f"`python -m benchmarks.faults{' --quick' if options.quick else ''}`: "
        f"{options.seeds} seeds, {options.workers} workers of one thread, at most "
        f"{options.budget:g} s per diagnosis, {minutes:.0f} min in all."
    )
    print(f"\n{how}")
    if options.json:
        write_json(outcomes, options.json)
    if options.write:
        write_section("faults-quick" if options.quick else "faults", section(outcomes, how))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    p.add_argument("--quick", action="store_true", help="a subset, within ten minutes")
    p.add_argument("--only", metavar="PATTERN", help="shell pattern or part of a name")
    p.add_argument("--families", metavar="A,B", help="of images, waveforms, stacks; default all")
    p.add_argument("--seeds", choices=("test", "calibration"), default="test")
    p.add_argument("--repeats", type=int, choices=(1, 2, 3), default=1, help="seeds per specimen")
    p.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    p.add_argument("--budget", type=float, default=60, help="seconds per diagnosis")
    p.add_argument("--write", action="store_true", help="update benchmarks/RESULTS.md")
    p.add_argument("--json", type=Path, metavar="FILE", help="every outcome as JSON")
    return p


def write_json(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write every outcome with what was measured."""
    node = [dataclasses.asdict(o) for o in outcomes]
    path.write_text(json.dumps(node, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
