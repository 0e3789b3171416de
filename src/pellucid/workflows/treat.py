"""Treat a run: patch its recipe against a finding, train anew beside it, show what it won."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.atomic_files import write_atomically
from pellucid.errors import PellucidError, RunError, unknown_name
from pellucid.recipe import Recipe, dump_yaml
from pellucid.run_folder import RunFolder
from pellucid.workflows.beside import evaluated_before, folder_beside
from pellucid.workflows.evaluate import evaluate
from pellucid.workflows.fit_into import choose_folder, fit_into
from pellucid.workflows.postfilter import filtered_twin
from pellucid.workflows.run import Run
from pellucid.workflows.treatment_page import Chapter, compare_folders, render_treatment
from pellucid.workflows.treatments import apply_patch, propose
from pellucid.workflows.treatments.change import Change, changes
from pellucid.workflows.treatments.continuation import How, how_to_start

if TYPE_CHECKING:
    from pellucid.diagnosis import Diagnosis
    from pellucid.diagnosis.evidence import Finding


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What was changed against which finding, and what it won.

    Args:
        before: the run that was treated; it is as it was.
        finding: id of the finding.
        summary: what it says.
        changes: the recipe patch, key by key.
        how: "resumed", "continued" from the old weights, "retrained", or "filtered".
        diagnosis: of the old run.
        after: the new run, or None after a dry run; likewise below.
        diagnosis_after: of the new run.
        comparison: every metric of both runs and their paired differences.
        page: before and after on one page.
    """

    before: Run
    finding: str
    summary: str
    changes: tuple[Change, ...]
    how: How
    diagnosis: Diagnosis
    after: Run | None = None
    diagnosis_after: Diagnosis | None = None
    comparison: dict[str, Any] | None = None
    page: Path | None = None

    @property
    def patch(self) -> dict[str, Any]:
        """The patch as recipe keys and values."""
        return {change.key: change.after for change in self.changes}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: what treatment.json holds."""
        return {
            "before": str(self.before.path),
            "after": None if self.after is None else str(self.after.path),
            "finding": self.finding,
            "summary": self.summary,
            "how": self.how,
            "changes": [dataclasses.asdict(change) for change in self.changes],
            "diagnosis": {
                "before": _verdict(self.diagnosis),
                "after": None if self.diagnosis_after is None else _verdict(self.diagnosis_after),
            },
            "comparison": self.comparison,
            "page": None if self.page is None else str(self.page),
        }


def treat(
    run: str | Path | Run,
    *,
    finding: str | None = None,
    steps: int | None = None,
    dry_run: bool = False,
    out: str | Path | None = None,
    diagnosis: Diagnosis | None = None,
    progress: bool = True,
) -> Treatment:
    """Apply the recipe patch of a finding in a new run; the old run is never touched.

    Args:
        run: the run or its folder.
        finding: id of the finding to treat; None takes the first assertion a recipe can treat.
        steps: optimiser steps of the new run (in all, when it is resumed); None keeps the recipe's.
        dry_run: stop before training.
        out: the new run's folder; by default beside the old one, `RUN-treated`.
        diagnosis: of the run; None takes its diagnosis.json when that is newer than the weights,
            else diagnoses now.
        progress: draw progress bars.

    Raises:
        PellucidError: when there is nothing to treat, or only advice helps; it holds the advice.
        RunError: when the run has no weights, the new folder is taken, or training is interrupted.
    """
    old = Run.open(run)
    old.load()  # refused before a diagnosis takes a minute
    diagnosis = known_diagnosis(old) if diagnosis is None else diagnosis
    chosen, patch = _choose(old.recipe, diagnosis, finding)
    if steps is not None and patch.get("training.steps", old.recipe.training.get("steps")) != steps:
        patch = {**patch, "training.steps": steps}
    changed = changes(old.recipe, patch)
    plan = Treatment(old, chosen.id, chosen.summary, changed, how_to_start(changed), diagnosis)
    _check(apply_patch(old.recipe, patch))
    if dry_run:
        return plan
    folder = RunFolder(choose_folder("", out or folder_beside(old.path, "treated")))
    new = train_patched(plan, folder, progress=progress)
    require_finished(new)
    return _report(plan, new, progress)


def require_finished(run: Run) -> None:
    """Stop what follows on a training that was interrupted.

    Raises:
        RunError: when the run did not finish.
    """
    status = run.status()
    if status.get("state") != "finished":
        raise RunError(
            "training was interrupted",
            where=run.path,
            found=f"step {status.get('step')}",
            hint=f"pellucid train --resume {run.path}",
        )


def known_diagnosis(run: Run) -> Diagnosis:
    """Return diagnosis.json when it is newer than the weights and readable, else diagnose now."""
    from pellucid.diagnosis.evidence import SCHEMA
    from pellucid.diagnosis.reading import read_diagnosis
    from pellucid.workflows.diagnose import examine_run

    path = run.folder.diagnosis
    if path.is_file() and path.stat().st_mtime >= run.folder.model.stat().st_mtime:
        node = run.folder.read_json(path)
        if node.get("schema") == SCHEMA:
            return read_diagnosis(node, where=path)
    return examine_run(run)


def _choose(
    recipe: Recipe, diagnosis: Diagnosis, wanted: str | None
) -> tuple[Finding, dict[str, Any]]:
    """Return the finding to treat and its patch, or say why there is none."""
    asserted = [found for found in diagnosis.findings if found.asserted]
    if wanted is not None:
        named = [found for found in diagnosis.findings if found.id == wanted]
        if not named:
            raise unknown_name("finding of this run", wanted, [f.id for f in diagnosis.findings])
        asserted = named
    for found in asserted:
        patch = propose(recipe, found)
        if patch:
            return found, patch
    if not asserted:
        raise PellucidError("healthy: nothing to treat", found=diagnosis.verdict)
    raise PellucidError(
        f"a recipe cannot treat {', '.join(found.id for found in asserted)}",
        found=asserted[0].summary,
        hint="; ".join(found.treatment for found in asserted),
    )


def _check(recipe: Recipe) -> None:
    """Build what the recipe names, so that a wrong patch is refused before a folder exists."""
    from pellucid.build.assemble import build_autoencoder, build_objective

    build_autoencoder(recipe, pretrained=False)
    build_objective(recipe)


def train_patched(plan: Treatment, folder: RunFolder, *, progress: bool = True) -> Run:
    """Train the patched recipe into a folder, on the splits of the old run."""
    old, how = plan.before, plan.how
    recipe = apply_patch(old.recipe, plan.patch)
    same_groups = recipe.data.get("group") == old.recipe.data.get("group")
    splits = old.folder.read_json(old.folder.splits) if same_groups else None
    if how == "resumed" and (old.folder.checkpoints / "last").is_dir():
        folder.path.mkdir(parents=True, exist_ok=True)
        shutil.copytree(old.folder.checkpoints, folder.checkpoints)
        for file in (old.folder.splits, old.folder.metrics, old.folder.start):
            if file.is_file():
                shutil.copy2(file, folder.path / file.name)
        write_atomically(folder.recipe, dump_yaml(recipe.to_node()).encode())
        return fit_into(recipe, folder, resume=True, evaluate=False, progress=progress)
    if how == "filtered":
        return filtered_twin(old, recipe, folder, progress=progress)
    start = None if how == "retrained" else old
    return fit_into(recipe, folder, splits=splits, start=start, evaluate=False, progress=progress)


def _report(plan: Treatment, new: Run, progress: bool) -> Treatment:
    """Compare both on the same samples, diagnose the new run, write treatment.json and page."""
    from pellucid.workflows.diagnose import diagnose
    from pellucid.workflows.report import report

    shown = evaluated_before(plan.before, new, progress=progress)
    evaluate(new, like=shown, progress=progress)
    after = diagnose(new)
    report(new)
    comparison = compare_folders([shown, new.folder])
    treatment = dataclasses.replace(
        plan,
        after=Run.open(new.path),
        diagnosis_after=after,
        comparison=comparison,
        page=new.folder.treatment_page,
    )
    chapters = [Chapter(shown, plan.diagnosis), Chapter(new.folder, after)]
    render_treatment(
        chapters, comparison, plan.changes, _story(plan, new), new.folder.treatment_page
    )
    new.folder.write_json(new.folder.treatment, treatment.to_dict())
    return treatment


_HOW: dict[How, Callable[[int], str]] = {
    "resumed": lambda steps: f"training went on from where it had ended, to {steps} steps",
    "continued": lambda steps: f"training went on from the old weights for {steps} steps",
    "retrained": lambda steps: f"a new run was trained from the start for {steps} steps",
    "filtered": lambda steps: f"the old weights, of {steps} steps, got a filter behind the decoder",
}


def _story(plan: Treatment, new: Run) -> str:
    steps = int(new.status().get("step", 0))
    return f"Found in {plan.before.path.name}: {plan.summary}. Treated: {_HOW[plan.how](steps)}."


def _verdict(diagnosis: Diagnosis) -> dict[str, Any]:
    return {"healthy": diagnosis.healthy, "verdict": diagnosis.verdict}


def psnr_gain(treatment: Treatment) -> dict[str, Any]:
    """Return the difference in PSNR, after minus before, with its interval.

    Raises:
        RunError: when the treatment was a dry run.
    """
    if treatment.comparison is None:
        raise RunError("nothing was trained yet", where=treatment.before.path)
    return next(d for d in treatment.comparison["differences"] if d["metric"] == "psnr")
