"""Sharpen a run: the same weights behind a fitted filter, before and after on one page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pellucid.recipe import apply_overrides
from pellucid.run_folder import RunFolder
from pellucid.workflows.beside import evaluated_before, folder_beside
from pellucid.workflows.evaluate import evaluate
from pellucid.workflows.fit_into import choose_folder
from pellucid.workflows.postfilter import filtered_twin
from pellucid.workflows.report import report
from pellucid.workflows.run import Run
from pellucid.workflows.treatment_page import compare_folders


@dataclasses.dataclass(frozen=True)
class Sharpened:
    """What a filter behind the decoder changed.

    Args:
        before: the run whose weights these are; it is as it was.
        after: the new run.
        fitted: content of the new run's postfilter.json: costs and gains of every strength, on
            validation images.
        comparison: every metric of both runs on the same test images, and paired differences.
        page: before and after on one page.
    """

    before: Run
    after: Run
    fitted: dict[str, Any]
    comparison: dict[str, Any]
    page: Path

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "before": str(self.before.path),
            "after": str(self.after.path),
            "fitted": self.fitted,
            "comparison": self.comparison,
            "page": str(self.page),
        }


def sharpen(
    run: str | Path | Run,
    *,
    strength: float = 0.5,
    taps: int = 9,
    out: str | Path | None = None,
    progress: bool = True,
) -> Sharpened:
    """Fit a linear filter behind a run's decoder, without training; the old run is not touched.

    Two filters in series: the one of least squared error on validation images, which mixes
    channels and takes away power that is out of place, and a gain per spatial frequency that brings
    back power the decoder has lost. Detail that is not there, or not in place, stays so: the
    coherence of every frequency is kept. The costs and gains of every strength are measured.

    Args:
        run: a finished run of images, or its folder.
        strength: how much of the missing power is brought back: 0 keeps to the least squared error,
            1 makes the power of every frequency whole.
        taps: positions per side of each filter, odd.
        out: the new run's folder; by default beside the old one, `RUN-sharpened`.
        progress: draw progress bars.

    Raises:
        RecipeError: for a wrong strength or number of taps, or a run that is not of images.
        RunError: when the run has no weights, or the new folder is taken.
        DataError: when its data is gone.
    """
    from pellucid.report.comparison import render_comparison
    from pellucid.report.contents import read
    from pellucid.report.sections import postfilter

    old = Run.open(run)
    section = {"strength": strength, "taps": taps}
    recipe = apply_overrides(old.recipe, sections={"postfilter": section})
    folder = RunFolder(choose_folder("", out or folder_beside(old.path, "sharpened")))
    new = filtered_twin(old, recipe, folder, progress=progress)
    shown = evaluated_before(old, new, progress=progress)
    evaluate(new, like=shown, progress=progress)
    report(new)
    comparison = compare_folders([shown, folder])
    page = render_comparison(
        [shown, folder],
        comparison,
        folder.sharpened_page,
        subtitle="Sharpened",
        inserted=[postfilter.section(read(folder))],
    )
    fitted = folder.read_json(folder.postfilter)
    return Sharpened(old, Run.open(folder.path), fitted, comparison, page)
