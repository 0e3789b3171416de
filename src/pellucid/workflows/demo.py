"""The demo: a tokenizer, a twin that is sick, the diagnosis of both, the cure, one page."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.workflows.diagnose import diagnose
from pellucid.workflows.evaluate import evaluate
from pellucid.workflows.fit_into import choose_folder
from pellucid.workflows.report import report
from pellucid.workflows.run import Run
from pellucid.workflows.train import train
from pellucid.workflows.treat import Treatment, require_finished, treat
from pellucid.workflows.treatment_page import Chapter, compare_folders, render_treatment

if TYPE_CHECKING:
    from pellucid.diagnosis import Diagnosis

RECIPE = "photos-vq"
STEPS = 200
"""Of the sick twin and of its cure: enough to see both; the healthy run has the recipe's 500."""

FAULT = {"init": "normal", "restart_threshold": 0, "decay": 0.99}
"""A codebook as many tutorials build it: random start, no restart of dead codes, slow average."""


@dataclasses.dataclass(frozen=True)
class Demo:
    """What the demo leaves.

    Args:
        healthy: the recipe as it is shipped.
        diagnosis: of the healthy run.
        treatment: of the sick twin; `before` is the twin, `after` the repaired run.
        page: all three on one page.
        seconds: time it took.
    """

    healthy: Run
    diagnosis: Diagnosis
    treatment: Treatment
    page: Path
    seconds: float


def demo(
    *,
    out: str | Path | None = None,
    steps: int = STEPS,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Demo:
    """Train `photos-vq`, a twin with a collapsing codebook, diagnose both, treat the twin.

    The photographs come with the dependencies; nothing is downloaded.

    Args:
        out: the folder of the three runs and the page `demo.html`; by default `runs/demo-N`.
        steps: optimiser steps of the sick twin and of its cure.
        progress: draw progress bars.
        say: receives one line per chapter.

    Raises:
        RunError: when the folder is taken, or training is interrupted.
    """
    began = time.monotonic()
    folder = choose_folder("demo", out)
    say(f"1/5  training {RECIPE}")
    healthy = train(RECIPE, out=folder / "healthy", progress=progress)
    require_finished(healthy)
    say("2/5  diagnosing it")
    diagnosis = _diagnose(healthy)
    say(f"     {diagnosis.verdict}")
    say(f"3/5  training a twin for {steps} steps: codebook {_in_words(FAULT)}")
    sick = train(
        RECIPE,
        bottleneck=FAULT,
        training={"steps": steps},
        out=folder / "sick",
        evaluate=False,
        progress=progress,
    )
    require_finished(sick)
    evaluate(sick, like=healthy.folder, progress=progress)
    say("4/5  diagnosing it")
    found = _diagnose(sick)
    say(f"     {found.verdict}")
    say("5/5  treating it: the recipe patch, a new run, its diagnosis")
    treatment = treat(sick, out=folder / "treated", diagnosis=found, progress=progress)
    page = _page(folder / "demo.html", healthy, diagnosis, treatment, steps)
    return Demo(healthy, diagnosis, treatment, page, time.monotonic() - began)


def _diagnose(run: Run) -> Diagnosis:
    found = diagnose(run)
    report(run)
    return found


def _page(path: Path, healthy: Run, diagnosis: Diagnosis, treatment: Treatment, steps: int) -> Path:
    assert treatment.after is not None
    assert treatment.diagnosis_after is not None
    chapters = [
        Chapter(treatment.before.folder, treatment.diagnosis),
        Chapter(treatment.after.folder, treatment.diagnosis_after),
        Chapter(healthy.folder, diagnosis),
    ]
    comparison = compare_folders([chapter.folder for chapter in chapters])
    story = (
        f"Three runs of {RECIPE}. In “sick” the codebook has {_in_words(FAULT)}, as many tutorials "
        f"have it. The diagnosis was not told: {treatment.summary}. “treated” is that recipe with "
        f"the patch below, trained anew; both had {steps} steps. “healthy” is the recipe as it is "
        "shipped, with all its steps."
    )
    return render_treatment(chapters, comparison, treatment.changes, story, path)


def _in_words(fault: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in fault.items())
