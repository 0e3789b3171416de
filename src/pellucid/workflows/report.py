"""Write a run's page."""

from __future__ import annotations

from pathlib import Path

from pellucid.workflows.run import Run


def report(run: str | Path | Run) -> Path:
    """Write report.html from what is on disk and return its path.

    Raises:
        RunError: when `run` is not a run, or the page cannot be written.
    """
    from pellucid.report.render import render

    return render(Run.open(run).folder)
