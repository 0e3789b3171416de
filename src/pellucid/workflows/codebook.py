"""Fit a codebook on a run's latents, score it on held-out samples, leave it in the run."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import PellucidError, RunError
from pellucid.workflows.latents import latents as export
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.codebooks import Codebook
    from pellucid.codebooks.fitting import Method, Source
    from pellucid.functional.value_range import ValueRange
    from pellucid.geometry.graph import Join
    from pellucid.geometry.neighbours import Metric


def codebook(
    run: str | Path | Run,
    *,
    method: Method = "kmeans",
    source: Source = "mean",
    size: int = 512,
    name: str | None = None,
    points: int = 50_000,
    neighbours: int = 20,
    join: Join = "union",
    metric: Metric = "l2",
    seed: int = 0,
    progress: bool = True,
) -> Codebook:
    """Fit, score and store a codebook; latents are exported first where they are missing.

    Args:
        run: the run or its folder.
        method: "kmeans", "kmedoids", "geodesic", "pullback" or "decoder".
        source: fit on posterior "mean"s or on one "sample" each.
        size: number of codes K.
        name: of its folder; by default METHOD-SIZE, with "-sample" where the source is that.
        points: fit on at most so many latents of the training split.
        neighbours: of the graph of "geodesic" and "pullback"; so are the next two.
        join: "union" or "mutual".
        metric: "l2" or "cosine".
        seed: of the start.
        progress: draw progress bars.

    Returns:
        The codebook; its `record` holds the scores.

    Raises:
        PellucidError: when there are fewer latents than codes, or the name cannot be a folder's.
        RunError: when the run has no weights.
        DataError: when its data is gone.
    """
    from pellucid.codebooks import Codebook
    from pellucid.codebooks.codebook import save_codebook
    from pellucid.codebooks.fitting import Settings, fit_codebook
    from pellucid.codebooks.gallery import save_originals, save_strip
    from pellucid.codebooks.methods.geodesic import GraphSettings
    from pellucid.codebooks.scoring import held_out, preflight, score

    opened = Run.open(run)
    graph = GraphSettings(neighbours, join, metric)
    settings = Settings(method, source, size, points, graph, seed)
    name = _checked_name(name or default_name(method, source, size))
    value_range = _range_of(opened)
    latents = export(opened, progress=progress)
    autoencoder = opened.load()
    started = time.perf_counter()
    with progress_bar(f"fitting {name}", shown=progress) as report:
        fitted = fit_codebook(latents.splits["train"], autoencoder, settings, progress=report)
    seconds = time.perf_counter() - started
    book = Codebook(name, fitted.vectors_KD, fitted.rule, autoencoder)
    data = opened.data()
    samples = held_out(data.test, latents.splits["test"], value_range)
    with progress_bar(f"scoring {name}", shown=progress):
        scores = score(book, samples)
    record = {
        "method": method,
        "source": source,
        "settings": {**dataclasses.asdict(settings), **fitted.facts},
        "seconds": seconds,
        "preflight": preflight(latents.splits["test"], size),
        "scores": {key: value.to_json() for key, value in scores.metrics.items()},
        "samples": scores.per_sample(),
    }
    book.record = record
    with progress_bar(f"encoding with {name}", shown=progress) as report:
        codes = _codes(book, latents, report)
    save_codebook(opened.folder, book, codes, record)
    save_originals(opened.folder, autoencoder, samples)
    save_strip(opened.folder, book, samples)
    return Codebook.open(opened.folder, name, autoencoder)


def _range_of(run: Run) -> ValueRange:
    """Return the range of a run's samples; stacks of channels have none in common.

    Raises:
        RunError: for a run of stacks.
    """
    if run.value_range is None:
        raise RunError(
            "codebooks are fitted on runs whose samples have one range",
            where=run.path,
            expected="a run of images or waveforms",
            found="stacks, whose channels have units of their own",
        )
    return run.value_range


def default_name(method: str, source: str, size: int) -> str:
    """Return METHOD-SIZE or METHOD-sample-SIZE."""
    return f"{method}-{size}" if source == "mean" else f"{method}-{source}-{size}"


def _checked_name(name: str) -> str:
    if not name or name != Path(name).name or name.startswith("."):
        raise PellucidError(
            "a codebook's name is the name of its folder",
            where="--name",
            expected="letters, digits, '-' and '_'",
            found=name,
        )
    return name


def _codes(book: Codebook, latents: Any, report: Any) -> dict[str, Any]:
    """Return the codes of every split's means, by the codebook's own rule."""
    import numpy as np
    import torch

    from pellucid.codebooks import Codes

    total = sum(len(split.mean) for split in latents.splits.values())
    done, found = 0, {}
    for name, split in latents.splits.items():
        parts = []
        for start in range(0, len(split.mean), 512):
            mean = torch.from_numpy(np.array(split.mean[start : start + 512]))
            parts.append(book.encode(mean))
            done += len(mean)
            report(done, total)
        labels = None if split.labels is None else torch.from_numpy(split.labels.copy())
        found[name] = Codes(torch.cat(parts), labels)
    return found
