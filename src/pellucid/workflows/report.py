"""Write a run's page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.report.contents import RunContents
    from pellucid.report.page import Section


def report(run: str | Path | Run) -> Path:
    """Write report.html from what is on disk and return its path.

    Raises:
        RunError: when `run` is not a run, or the page cannot be written.
    """
    from pellucid.report.render import render, sections_of

    folder = Run.open(run).folder
    if not folder.diagnosis.is_file():
        return render(folder)
    verdict, *rest = sections_of(folder)
    return render(folder, sections=(verdict, _diagnosis_section, *rest))


def _diagnosis_section(contents: RunContents) -> Section:
    """Show diagnosis.json. The report and diagnosis rooms do not know each other; this does."""
    from pellucid.diagnosis.reading import read_diagnosis
    from pellucid.report.page import Html, Section
    from pellucid.run_folder import RunFolder

    folder = RunFolder(contents.path)
    node = folder.read_json(folder.diagnosis)
    fragment = read_diagnosis(node, where=folder.diagnosis).to_html()
    return Section("diagnosis", "Diagnosis", Html(fragment))
