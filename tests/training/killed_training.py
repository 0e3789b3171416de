"""A child process that trains and kills itself with SIGKILL at a chosen moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

# preloaded once by the fork server, so that a child costs milliseconds
import lightning  # noqa: F401
import tiny_training
import torch

from pellucid import run_folder
from pellucid.bottlenecks import gaussian, vq  # noqa: F401
from pellucid.training import callbacks, checkpoint, deploy, module, session  # noqa: F401

# (owner, name): every call of these is a moment to die, before it and after it
MOMENTS: list[tuple[Any, str]] = [
    (module.TrainingModule, "training_step"),
    (module.TrainingModule, "on_before_optimizer_step"),
    (module.TrainingModule, "optimizer_step"),
    (checkpoint, "save_file"),
    (checkpoint, "_flush"),
    (checkpoint.os, "rename"),
    (checkpoint.shutil, "rmtree"),
    (run_folder.RunFolder, "append_metrics"),
    (os, "replace"),
    (callbacks, "validate"),
    (deploy, "read_checkpoint"),
]


def fork_server() -> ForkServerContext:
    """Return a context whose children start with torch and Lightning imported."""
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_training"])
    return context


def train_and_die(folder: Path, die_at: int | None, settings: dict[str, Any]) -> None:
    """Fit with `resume=True`; die at the given moment, counted from 0 (None lives)."""
    torch.set_num_threads(1)
    # a fork server's child would start a fork server of its own for its data workers
    multiprocessing.set_start_method("fork", force=True)
    if die_at is not None:
        countdown = iter(range(die_at + 1))
        for owner, name in MOMENTS:
            setattr(owner, name, _deadly(getattr(owner, name), countdown))
    tiny_training.tiny_fit(folder, resume=True, **settings)


def _deadly(function: Callable[..., Any], countdown: Any) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if next(countdown, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if next(countdown, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return wrapped
