"""The demo: one command from nothing to a trained, evaluated tokenizer and its page."""

from __future__ import annotations

from pathlib import Path

from pellucid.workflows.run import Run
from pellucid.workflows.train import train


def demo(*, out: str | Path | None = None, progress: bool = True) -> Run:
    """Train `photos-vq` on the photographs that come with the dependencies; write its page.

    Args:
        out: the run folder; by default the next free `runs/photos-vq-N`.
        progress: draw progress bars.
    """
    return train("photos-vq", out=out, progress=progress)
