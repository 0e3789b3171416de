"""Run specimens over worker processes and report each as it ends."""

from __future__ import annotations

import fnmatch
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed

from benchmarks.faults.bases import bases, controls, mutants, seed_for
from benchmarks.faults.examine import examine, prepare, train_base
from benchmarks.faults.score import Outcome
from benchmarks.faults.table import line


def chosen(*, quick: bool, only: str | None) -> list[str]:
    """Return the names of the specimens to run: controls last.

    Args:
        quick: only those marked quick.
        only: a shell pattern, or part of a name.
    """
    pattern = None if only is None else only if any(c in only for c in "*?[") else f"*{only}*"
    entries = [*mutants().values(), *controls().values()]
    return [
        e.name
        for e in entries
        if (e.quick or not quick) and (pattern is None or fnmatch.fnmatch(e.name, pattern))
    ]


def run(
    names: Sequence[str], seeds: Sequence[int], *, workers: int, budget: float, repeats: int = 1
) -> list[Outcome]:
    """Train the bases needed, then examine every specimen; return outcomes in the given order.

    Args:
        names: of mutants and controls.
        seeds: a base takes one of them by its name, the next one in every repeat.
        workers: processes, each on one thread.
        budget: seconds a diagnosis may take.
        repeats: how many of the seeds each specimen is run with.
    """
    wanted = sorted(
        {
            (mutants()[n].base, seed_for(mutants()[n].base, seeds, r))
            for n in names
            if n in mutants()
            for r in range(repeats)
        }
    )
    unknown = sorted({base for base, _ in wanted} - set(bases()))
    if unknown:
        raise ValueError(f"mutants name bases that do not exist: {', '.join(unknown)}")
    context = multiprocessing.get_context("spawn")
    started = time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare) as pool:
        trainings = {pool.submit(train_base, *pair): pair[0] for pair in wanted}
        _follow(trainings, "bases", started, lambda text: f"trained     {text}")
        jobs = {
            pool.submit(examine, n, seeds, r, budget): (n, r) for r in range(repeats) for n in names
        }
        done = _follow(jobs, "specimens", started, line)
    order = {job: i for i, job in enumerate((n, r) for r in range(repeats) for n in names)}
    return [done[job] for job in sorted(done, key=order.__getitem__)]


def _follow(
    jobs: dict[Future, object], what: str, started: float, told: Callable[..., str]
) -> dict:
    """Print each job as it ends. A base that cannot be trained is met again by its mutants."""
    results = {}
    for count, future in enumerate(as_completed(jobs), 1):
        error = future.exception()
        head = f"[{time.monotonic() - started:5.0f} s, {what} {count}/{len(jobs)}]"
        if error is not None:
            print(head, "failed", jobs[future], f"{type(error).__name__}: {error}", flush=True)
            continue
        results[jobs[future]] = future.result()
        print(head, told(future.result()), flush=True)
    return results
