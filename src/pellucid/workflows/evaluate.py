"""Evaluate a run on held-out data."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

from pellucid.recipe import Recipe
from pellucid.run_folder import RunFolder
from pellucid.workflows.run import Run

# what `evaluate` is given by the workflow rather than by the recipe's `evaluation:` section
_GIVEN = (
    "autoencoder",
    "train_set",
    "held_out_set",
    "value_range",
    "kl_weight",
    "folder",
    "weights",
    "split",
    "shown",
    "names",
    "progress",
)


def evaluation_keywords(recipe: Recipe) -> dict[str, Any]:
    """Check the recipe's `evaluation:` section.

    Raises:
        RecipeError: for an unknown or wrong keyword.
    """
    from pellucid.build.construct import check_keywords
    from pellucid.evaluation.evaluate import evaluate as measure

    parameters = inspect.signature(measure).parameters
    given = {name: None for name in _GIVEN if name in parameters}
    return check_keywords(measure, recipe.evaluation, where="evaluation", given=given)


def evaluate(
    run: str | Path | Run,
    *,
    split: Literal["test", "validation"] = "test",
    into: RunFolder | None = None,
    like: RunFolder | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a run on held-out data; write evaluation.json and reconstructions/.

    Args:
        run: the run or its folder.
        split: which held-out split.
        into: where the files go; by default the run's own folder.
        like: an evaluated run; the samples it shows are shown instead of this run's best to worst.
        progress: draw a progress bar.

    Returns:
        The content of evaluation.json.

    Raises:
        RunError: when the run has no weights.
        DataError: when its data is gone.
    """
    from pellucid.build.assemble import squared_error_kl_weight
    from pellucid.evaluation.evaluate import evaluate as measure
    from pellucid.workflows.progress import progress_bar

    opened = Run.open(run)
    folder = opened.folder if into is None else into
    keywords = evaluation_keywords(opened.recipe)
    data = opened.data()
    autoencoder = opened.load()
    with progress_bar("evaluating", shown=progress) as report_progress:
        measure(
            autoencoder,
            data.train,
            data.test if split == "test" else data.validation,
            value_range=data.value_range,
            kl_weight=squared_error_kl_weight(opened.recipe),
            folder=folder,
            weights=str(opened.status().get("weights", "unknown")),
            split=split,
            shown=None if like is None else _shown(like),
            progress=report_progress,
            **keywords,
        )
    return folder.read_json(folder.evaluation)


def _shown(folder: RunFolder) -> list[str] | None:
    """Return the digests of the samples that an evaluated run shows, where it states them."""
    path = folder.reconstructions / "index.json"
    samples = folder.read_json(path)["samples"] if path.is_file() else []
    digests = [sample.get("digest") for sample in samples]
    return digests if digests and all(digests) else None
