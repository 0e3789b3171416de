"""The filter behind a run's decoder: fitted after training, or added to a finished run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.atomic_files import whole_folder, write_atomically
from pellucid.recipe import Recipe, dump_yaml
from pellucid.run_folder import RunFolder
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.data import AudioData, CellData, ImageData, StackData


def fit_run_postfilter(
    run: str | Path | Run,
    *,
    data: ImageData | AudioData | StackData | CellData | None = None,
    progress: bool = True,
) -> dict[str, Any] | None:
    """Fit the postfilter that a run's recipe asks for; write weights and postfilter.json.

    Args:
        run: the run or its folder, with weights.
        data: its data when they are open already; the filter is fitted on the validation split.
        progress: draw a progress bar.

    Returns:
        The content of postfilter.json, or None when the recipe asks for none.

    Raises:
        RunError: when the run has no weights.
        DataError: when its data is gone.
    """
    from pellucid.evaluation.postfilter import fit_postfilter
    from pellucid.models.weights import save_weights

    opened = Run.open(run)
    if opened.recipe.postfilter is None:
        return None
    autoencoder = opened.load()
    held_out: Any = (opened.data() if data is None else data).validation
    value_range = opened.value_range
    assert value_range is not None  # only models of pictures are built with a postfilter
    with progress_bar("postfilter", shown=progress) as report:
        record = fit_postfilter(autoencoder, held_out, value_range, progress=report)
    save_weights(autoencoder, opened.folder.model)
    opened.folder.write_json(opened.folder.postfilter, record)
    return opened.folder.read_json(opened.folder.postfilter)


def filtered_twin(run: Run, recipe: Recipe, folder: RunFolder, *, progress: bool = True) -> Run:
    """Write a run of the same weights with the postfilter of `recipe`, fitted; `run` stays as is.

    Args:
        run: a finished run of images.
        recipe: the run's, with another `postfilter` section.
        folder: of the new run; free.
        progress: draw a progress bar.

    Raises:
        RecipeError: when the recipe's postfilter is wrong, or not for this kind of data.
        RunError: when the run has no weights, or the folder cannot be written.
        DataError: when its data is gone.
    """
    from pellucid.build.assemble import build_autoencoder
    from pellucid.models.weights import load_weights, save_weights
    from pellucid.workflows.code_tables import fit_code_tables

    run.load()  # refused before anything is written
    autoencoder = build_autoencoder(recipe, pretrained=False)
    load_weights(autoencoder, run.folder.model, leave="postfilter")
    data, old = run.data(), run.folder
    with whole_folder(folder.path) as place:
        new = RunFolder(place)
        for file in (old.data, old.splits, old.metrics, old.run, old.start):
            if file.is_file():
                shutil.copy2(file, place / file.name)
        header = f"# run of {recipe.name}: the weights of {run.path.resolve().name}, filtered\n"
        write_atomically(new.recipe, (header + dump_yaml(recipe.to_node())).encode())
        save_weights(autoencoder, new.model)
        twin = Run.open(place)
        fit_run_postfilter(twin, data=data, progress=progress)
        fit_code_tables(twin, data=data, progress=progress)
    return Run.open(folder.path)
