"""Evaluate a run on held-out data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pellucid.recipe import Recipe
from pellucid.run_folder import RunFolder
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.bitstream import ContextTables

# what a measurement is given by the workflow rather than by the recipe's `evaluation:` section
_GIVEN = (
    "autoencoder",
    "train_set",
    "held_out_set",
    "held_out",
    "value_range",
    "sample_rate",
    "tables",
    "kl_weight",
    "folder",
    "weights",
    "split",
    "shown",
    "names",
    "progress",
)


def evaluation_keywords(recipe: Recipe) -> dict[str, Any]:
    """Check the recipe's `evaluation:` section, the keywords of what measures its kind of data.

    Raises:
        RecipeError: for an unknown or wrong keyword.
    """
    from pellucid.build.construct import check_keywords

    measure = measurement_of(recipe)
    parameters = inspect.signature(measure).parameters
    given = {name: None for name in _GIVEN if name in parameters}
    return check_keywords(measure, recipe.evaluation, where="evaluation", given=given)


def evaluate(
    run: str | Path | Run,
    *,
    split: Literal["test", "validation"] = "test",
    against: Sequence[str] | None = None,
    into: RunFolder | None = None,
    like: RunFolder | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure a run on held-out data; write evaluation.json and reconstructions/.

    Args:
        run: the run or its folder.
        split: which held-out split.
        against: codecs to compare with instead of the recipe's: "jpeg", "webp" for images, "opus",
            "codec2", "speex" for waveforms, and "lyra=FOLDER" with Lyra v2's TFLite networks.
        into: where the files go; by default the run's own folder.
        like: an evaluated run; the samples it shows are shown instead of this run's best to worst.
        progress: draw a progress bar.

    Returns:
        The content of evaluation.json.

    Raises:
        RunError: when the run has no weights.
        DataError: when its data is gone.
        RecipeError: for an unknown codec.
        MissingExtraError: when a codec of `against` is not installed.
    """
    from pellucid.build.cells import is_cells
    from pellucid.workflows.progress import progress_bar

    opened = Run.open(run)
    folder = opened.folder if into is None else into
    recipe = opened.recipe
    if against is not None:
        section = {**recipe.evaluation, **_codecs(against)}
        recipe = recipe.model_copy(update={"evaluation": section})
    keywords = evaluation_keywords(recipe)
    if against is not None and _is_audio(recipe):
        from pellucid.references.audio_codecs import require_programs

        require_programs(keywords["codecs"])
    data = opened.data()
    keywords |= _facts(opened, data)
    with progress_bar("evaluating", shown=progress) as report_progress:
        measurement_of(recipe)(
            opened.load(),
            *_sets(data, split, audio=_is_audio(recipe)),
            folder=folder,
            weights=str(opened.status().get("weights", "unknown")),
            split=split,
            shown=None if like is None else _shown(like),
            progress=report_progress,
            **keywords,
        )
    if recipe.permuter is not None and not is_cells(recipe):
        _add_symmetry(opened, data, split, folder)
    return folder.read_json(folder.evaluation)


def _codecs(against: Sequence[str]) -> dict[str, Any]:
    """Read codecs as they are typed: a name, or name=FOLDER where one needs files."""
    folders = dict(item.split("=", 1) for item in against if "=" in item)
    return {"codecs": [item.split("=", 1)[0] for item in against], **folders}


def _add_symmetry(run: Run, data: Any, split: str, folder: RunFolder) -> None:
    """Measure what the permuter promises and what latents know, beside the fidelity."""
    from pellucid.build.assemble import squared_error_kl_weight
    from pellucid.evaluation.marker_probe import measure_probe
    from pellucid.evaluation.symmetry import measure_symmetry

    model, sets = run.load(), _sets(data, split, audio=False)
    weight = squared_error_kl_weight(run.recipe)
    further = {
        "symmetry": measure_symmetry(model, *sets, kl_weight=weight).to_json(),
        "probe": [probe.to_json() for probe in measure_probe(model, *sets)],
    }
    folder.write_json(folder.evaluation, {**folder.read_json(folder.evaluation), **further})


def _is_audio(recipe: Recipe) -> bool:
    return recipe.data.get("kind") == "audio"


def measurement_of(recipe: Recipe) -> Callable[..., Any]:
    """Return what measures the recipe's kind of data."""
    if _is_audio(recipe):
        from pellucid.evaluation.evaluate_audio import evaluate_audio

        return evaluate_audio
    if recipe.data.get("kind") == "stacks":
        from pellucid.evaluation.evaluate_stacks import evaluate_stacks

        return evaluate_stacks
    if recipe.data.get("kind") == "cells":
        from pellucid.evaluation.evaluate_cells import evaluate_cells

        return evaluate_cells
    from pellucid.evaluation.evaluate import evaluate as evaluate_images

    return evaluate_images


def _sets(data: Any, split: str, *, audio: bool) -> tuple[Any, ...]:
    """Return the sets to measure on; images also have theirs to fit references on."""
    held_out = data.test if split == "test" else data.validation
    return (held_out,) if audio else (data.train, held_out)


def _facts(run: Run, data: Any) -> dict[str, Any]:
    """Return what the run and its data decide."""
    from pellucid.build.stacks import reads_stacks

    if _is_audio(run.recipe):
        return {"sample_rate": data.sample_rate, "tables": _tables(run)}
    if reads_stacks(run.recipe):
        return {"names": data.names}
    from pellucid.build.assemble import squared_error_kl_weight

    return {
        "value_range": data.value_range,
        "kl_weight": squared_error_kl_weight(run.recipe),
    }


def _tables(run: Run) -> ContextTables | None:
    from pellucid.workflows.coder import read_tables

    return read_tables(run)


def _shown(folder: RunFolder) -> list[str] | None:
    """Return the digests of the samples that an evaluated run shows, where it states them."""
    path = folder.reconstructions / "index.json"
    samples = folder.read_json(path)["samples"] if path.is_file() else []
    digests = [sample.get("digest") for sample in samples]
    return digests if digests and all(digests) else None
