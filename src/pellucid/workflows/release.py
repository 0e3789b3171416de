"""Write what a stranger needs to use a run's model, and nothing of its training.

recipe.yaml              the model's parts; data.path is empty
model.safetensors        the weights, rounded to float16 unless told otherwise
code_tables.safetensors  for entropy coding, of models with codes
run.json                 what training cost
start.json               whose weights it started from; where it did
evaluation.json          held-out numbers of these very weights
README.md                the model card
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from pellucid.atomic_files import whole_folder, write_atomically
from pellucid.errors import RunError
from pellucid.recipe import Recipe
from pellucid.recipe.text import dump_yaml
from pellucid.run_folder import RunFolder
from pellucid.workflows.levelling import level_lost, levelled
from pellucid.workflows.model_card import LEVEL, model_card
from pellucid.workflows.run import Run

_TOLD = ("state", "step", "seconds", "parameters", "selected_step", "weights", "environment")
_LEFT_OUT = ("samples", "codes")
"""Parts of evaluation.json that name somebody's clips and pictures, or count every code."""


def release(
    run: str | Path | Run,
    out: str | Path,
    *,
    half: bool = True,
    data: str | None = None,
    licence: str | None = None,
    progress: bool = True,
) -> Run:
    """Write a folder that `--model` takes, with a model card; the run is left as it is.

    A waveform decoder gets back the level that it loses on the validation clips. Rounding changes a
    few codes, so the code tables are counted again and the held-out numbers are measured again, on
    the rounded weights.

    Args:
        run: a finished run whose data is still there.
        out: the new folder.
        half: round weights to float16: half the size.
        data: for the card, what the model was trained on, in words.
        licence: for the card, of the weights.
        progress: draw progress bars.

    Raises:
        RunError: when the folder exists, the run has no weights, or rounding overflows.
        DataError: when the run's data is gone.
    """
    from pellucid.workflows.code_tables import fit_code_tables
    from pellucid.workflows.evaluate import evaluate

    opened, target = Run.open(run), Path(out)
    if target.exists():
        raise RunError("there is something already", where=target, hint="-o another folder")
    status = {key: value for key, value in opened.status().items() if key in _TOLD}
    start = opened.started_from()
    lost = level_lost(opened)
    if lost:
        status[LEVEL] = round(-lost, 3)
    with whole_folder(target) as place:
        folder = RunFolder(place)
        _write_recipe(folder, opened.recipe)
        shutil.copyfile(opened.folder.splits, folder.splits)
        folder.write_json(folder.run, status)
        if start is not None:
            folder.write_json(folder.start, start)
        write_atomically(folder.model, _rounded(opened, half, lost))
        twin = Run.open(place)
        with tempfile.TemporaryDirectory() as scratch:
            fit_code_tables(twin, progress=progress)
            measured = evaluate(twin, into=RunFolder(scratch), progress=progress)
        measured = {key: value for key, value in measured.items() if key not in _LEFT_OUT}
        folder.write_json(folder.evaluation, measured)
        folder.splits.unlink()
        recipe = _without_path(opened.recipe)
        _write_recipe(folder, recipe)
        card = model_card(
            recipe, status, measured, start=start, half=half, data=data, licence=licence
        )
        write_atomically(folder.path / "README.md", card.encode())
    return Run.open(target)


def _write_recipe(folder: RunFolder, recipe: Recipe) -> None:
    write_atomically(folder.recipe, dump_yaml(recipe.to_node()).encode())


def _rounded(run: Run, half: bool, lost_db: float) -> bytes:
    """Return the weights file without derived tensors; floating ones in float16 when asked."""
    import safetensors.torch

    from pellucid.models.weights import derived_names
    from pellucid.weight_files import read_tensors

    autoencoder = run.load()
    derived = derived_names(autoencoder)
    tensors = {n: v for n, v in read_tensors(run.folder.model).items() if n not in derived}
    tensors = levelled(tensors, autoencoder, lost_db)
    if half:
        tensors = {
            name: value.half() if value.is_floating_point() else value
            for name, value in tensors.items()
        }
        lost = [n for n, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
        if lost:
            raise RunError(
                "these weights do not fit into float16",
                where=run.folder.model,
                expected=f"magnitudes up to {torch.finfo(torch.float16).max:g}",
                found=lost[0],
                hint="release them with --float32",
            )
    return safetensors.torch.save(tensors)


def _without_path(recipe: Recipe) -> Recipe:
    data: dict[str, Any] = {**recipe.data}
    for key in ("path", "captions"):
        if key in data:
            data[key] = None
    return recipe.model_copy(update={"data": data})
