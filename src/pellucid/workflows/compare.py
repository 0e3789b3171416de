"""Set evaluated runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pellucid.errors import RunError
from pellucid.workflows.run import Run


def compare(
    runs: Sequence[str | Path | Run], *, out: str | Path | None = None
) -> tuple[dict[str, Any], Path]:
    """Compare runs metric by metric and write the comparison page.

    Args:
        runs: two or more evaluated runs.
        out: the page's path; by default `comparison.html` beside the first run.

    Returns:
        The comparison (metrics per run, paired differences where the held-out samples are the
        same) and the page's path.

    Raises:
        RunError: when fewer than two runs are given, or one was not evaluated.
    """
    from pellucid.evaluation.compare import compare as compare_evaluations
    from pellucid.report.comparison import render_comparison

    if len(runs) < 2:
        raise RunError("a comparison needs two or more runs", found=len(runs))
    opened = [Run.open(run) for run in runs]
    evaluated: list[tuple[str, dict[str, Any]]] = []
    for run in opened:
        evaluation = run.evaluation()
        if evaluation is None:
            raise RunError(
                "this run was not evaluated yet",
                where=run.path,
                hint=f"pellucid evaluate {run.path}",
            )
        evaluated.append((_short_name(run, opened), evaluation))
    comparison = compare_evaluations(evaluated).to_json()
    page = Path(out) if out is not None else opened[0].path.parent / "comparison.html"
    return comparison, render_comparison([run.folder for run in opened], comparison, page)


def _short_name(run: Run, others: Sequence[Run]) -> str:
    """Name a run by its folder, or by its whole path when folders share a name."""
    same = [other for other in others if other.path.name == run.path.name]
    return run.path.name if len(same) == 1 else str(run.path)
