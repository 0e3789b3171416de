"""Where a run stands: fresh, interrupted or finished; and whether it may be continued like this."""

from __future__ import annotations

import shutil
from typing import Any

from pellucid.errors import RunError
from pellucid.run_folder import RunFolder
from pellucid.training.checkpoint import clean, read_progress
from pellucid.training.machine import barrier
from pellucid.training.plan import Machine, Plan
from pellucid.training.selection import Selection


def standing(
    folder: RunFolder, plan: Plan, machine: Machine, *, resume: bool, samples: int
) -> dict[str, Any] | None:
    """Return the progress of the last checkpoint, or None for a run that starts at step 0.

    A run killed before its first checkpoint starts again.

    Raises:
        RunError: when the folder holds a run and `resume` is off, when the checkpoint is
            damaged, or when the continuation would see other samples than the run did.
    """
    if machine.is_main:
        try:
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
            clean(folder.checkpoints)
        except OSError as error:
            raise RunError(
                "the run folder cannot be written", where=folder.path, found=error.strerror
            ) from error
    barrier(machine.world)
    progress = read_progress(folder.checkpoints / "last")
    if progress is None:
        if machine.is_main:
            shutil.rmtree(folder.checkpoints / "best", ignore_errors=True)
        return None
    if not resume:
        raise RunError(
            "this folder already holds a run",
            where=folder.path,
            found=f"a checkpoint at step {progress['step']}",
            hint="continue it with resume=True (pellucid train --resume), or choose another folder",
        )
    wanted = plan.fingerprint(samples=samples, world=machine.world)
    for name, found in progress["fingerprint"].items():
        if found != wanted[name]:
            raise RunError(
                f"a resumed run must keep '{name}', or its samples would change",
                where=folder.path,
                expected=found,
                found=wanted[name],
            )
    return progress


def is_finished(progress: dict[str, Any], plan: Plan, selection: Selection) -> bool:
    """Whether nothing is left to train under these steps and this patience."""
    selection.load_state_dict(progress["selection"])
    return progress["step"] >= plan.steps or selection.exhausted
