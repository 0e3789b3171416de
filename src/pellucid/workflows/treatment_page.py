"""The page of a treatment: what was wrong, what was changed, before and after side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.run_folder import RunFolder
from pellucid.workflows.treatments.change import Change

if TYPE_CHECKING:
    from pellucid.diagnosis import Diagnosis
    from pellucid.report.page import Section


@dataclasses.dataclass(frozen=True)
class Chapter:
    """One run of the story: its evaluated folder and what was found."""

    folder: RunFolder
    diagnosis: Diagnosis


def compare_folders(folders: Sequence[RunFolder]) -> dict[str, Any]:
    """Compare evaluated folders with the first, paired where the samples are the same."""
    from pellucid.evaluation.compare import compare
    from pellucid.report.comparison import run_names

    names = run_names(folders)
    evaluations = [folder.read_json(folder.evaluation) for folder in folders]
    return compare(list(zip(names, evaluations, strict=True))).to_json()


def render_treatment(
    chapters: Sequence[Chapter],
    comparison: Mapping[str, Any],
    changes: Sequence[Change],
    story: str,
    path: Path,
) -> Path:
    """Write the page and return its path.

    Args:
        chapters: the runs, in the order of the page.
        comparison: what `compare_folders` found.
        changes: the recipe patch.
        story: what was done, in a sentence or two.
        path: where the page goes.

    Raises:
        RunError: when it cannot be written.
    """
    from pellucid.report.comparison import render_comparison, run_names

    folders = [chapter.folder for chapter in chapters]
    names = run_names(folders)
    return render_comparison(
        folders,
        comparison,
        path,
        subtitle="Treatment",
        inserted=[_summary(names, chapters, comparison, changes, story)],
        appended=[_diagnosis(name, chapter) for name, chapter in zip(names, chapters, strict=True)],
    )


def _summary(
    names: Sequence[str],
    chapters: Sequence[Chapter],
    comparison: Mapping[str, Any],
    changes: Sequence[Change],
    story: str,
) -> Section:
    from pellucid.diagnosis.wording import value_text
    from pellucid.report.page import Section, fill

    psnr = comparison["metrics"]["psnr"]
    rows = []
    for name, chapter in zip(names, chapters, strict=True):
        found = chapter.diagnosis
        rows.append((name, f"{psnr[name]['value']:.2f} dB", found.verdict, found.healthy))
    lines = [(c.key, value_text(c.before), value_text(c.after)) for c in changes]
    html = fill("treatment.html.j2", story=story, runs=rows, changes=lines)
    return Section("treatment", "Treatment", html)


def _diagnosis(name: str, chapter: Chapter) -> Section:
    from pellucid.report.page import Html, Section

    anchor = "diagnosis-" + "".join(c if c.isalnum() else "-" for c in name)
    return Section(anchor, f"Diagnosis of {name}", Html(chapter.diagnosis.to_html()))
