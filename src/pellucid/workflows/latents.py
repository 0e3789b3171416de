"""Export the latents of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.codebooks import Latents


def latents(run: str | Path | Run, *, seed: int = 0, progress: bool = True) -> Latents:
    """Write RUN/latents/: means, log-variances, samples and labels of every split, in order.

    Latents of these very weights and this seed that are there already are opened, not made again.

    Args:
        run: the run or its folder.
        seed: of the sampled z.
        progress: draw a progress bar.

    Raises:
        RunError: when the run has no weights.
        DataError: when its data is gone, or is not images.
    """
    from pellucid.codebooks import export_latents

    opened = Run.open(run)
    autoencoder = opened.load()
    with progress_bar("exporting latents", shown=progress) as report:
        return export_latents(opened.folder, autoencoder, opened.data, seed=seed, progress=report)
