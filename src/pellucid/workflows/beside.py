"""A new run beside an old one: its folder, and the old one's numbers to compare with."""

from __future__ import annotations

import shutil
from pathlib import Path

from pellucid.run_folder import RunFolder
from pellucid.workflows.evaluate import evaluate
from pellucid.workflows.run import Run


def folder_beside(path: Path, what: str) -> Path:
    """Return RUN-what, or the next free RUN-what-N."""
    first = path.resolve().with_name(f"{path.resolve().name}-{what}")
    number, free = 2, first
    while free.exists():
        free, number = first.with_name(f"{first.name}-{number}"), number + 1
    return free


def evaluated_before(old: Run, new: Run, *, progress: bool) -> RunFolder:
    """Return a folder with the old run's test numbers: its own, or one inside the new run."""
    known = old.evaluation()
    if known is not None and known.get("split") == "test":
        return old.folder
    copy = RunFolder(new.path / "before" / old.path.resolve().name)
    copy.path.mkdir(parents=True)
    for file in (old.folder.recipe, old.folder.metrics, old.folder.run):
        if file.is_file():
            shutil.copy2(file, copy.path / file.name)
    evaluate(old, into=copy, progress=progress)
    return copy
