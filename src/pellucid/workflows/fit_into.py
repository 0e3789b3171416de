"""Carry a finished recipe into a run folder: build, train, evaluate, report."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pellucid.atomic_files import write_atomically
from pellucid.errors import RecipeError, RunError
from pellucid.recipe import Recipe, dump_yaml
from pellucid.run_folder import RunFolder
from pellucid.workflows.ancestry import ancestry
from pellucid.workflows.code_tables import fit_code_tables
from pellucid.workflows.evaluate import evaluate as evaluate_run
from pellucid.workflows.evaluate import evaluation_keywords
from pellucid.workflows.postfilter import fit_run_postfilter
from pellucid.workflows.report import report as write_report
from pellucid.workflows.run import Run

# what `fit` is given by the workflow rather than by the recipe's `training:` section
_GIVEN_TO_FIT = (
    "autoencoder",
    "objective",
    "train_set",
    "validation_set",
    "folder",
    "value_range",
    "adversary",
    "seed",
    "resume",
    "progress",
)


def fit_into(
    recipe: Recipe,
    folder: RunFolder,
    *,
    resume: bool = False,
    splits: Mapping[str, Any] | None = None,
    start: Run | None = None,
    evaluate: bool = True,
    progress: bool = True,
) -> Run:
    """Train a finished recipe into a folder.

    Args:
        recipe: what to do; overrides are applied already.
        folder: the run; a resumed one holds recipe, splits and checkpoints.
        resume: continue the folder's checkpoint.
        splits: the splits of an earlier run to keep to; None draws them.
        start: begin with this run's weights instead of the recipe's seed.
        evaluate: evaluate and write the page afterwards.
        progress: draw progress bars.

    Raises:
        RunError: when the weights belong to another model.
    """
    from pellucid.build.adversary import build_adversary
    from pellucid.build.assemble import build_autoencoder, build_data, build_objective
    from pellucid.build.stacks import needs_settling, settled
    from pellucid.models.weights import load_weights
    from pellucid.training.data_start import start_from_data
    from pellucid.training.fit import fit

    run = Run(folder)
    keywords = training_keywords(recipe)
    evaluation_keywords(recipe)  # a misspelt key there must not wait until training is over
    data = None
    if needs_settling(recipe):
        data = build_data(recipe, splits=splits)
        recipe = settled(recipe, data)
    autoencoder = build_autoencoder(recipe, pretrained=start is None and not resume)
    if start is not None:
        load_weights(autoencoder, start.folder.model, leave="postfilter")
    objective = build_objective(recipe)
    adversary = build_adversary(recipe)
    if data is None:
        data = run.data() if resume else build_data(recipe, splits=splits)
    _check_batch(len(data.train), keywords, recipe.seed)
    if recipe.postfilter is not None and len(data.validation) == 0:
        raise RecipeError(
            "a postfilter is fitted on validation images",
            where="data.validation",
            expected="a share above 0",
            found="no validation image",
        )
    before = None if start is None else ancestry(start)
    if start is None and not resume:
        start_from_data(autoencoder, data.train, seed=recipe.seed)
    with _unbegun_leaves_nothing(run):
        if run.is_main_process:
            _write_start(recipe, folder, data)
            if before is not None:
                folder.write_json(folder.start, before)
            folder.postfilter.unlink(missing_ok=True)  # of weights that are about to change
        fit(
            autoencoder,
            objective,
            data.train,
            data.validation,
            folder,
            value_range=data.value_range,
            adversary=adversary,
            seed=recipe.seed,
            resume=resume,
            progress=progress,
            **keywords,
        )
    if run.is_main_process:
        run = Run.open(folder.path)
        fit_run_postfilter(run, data=data, progress=progress)
        fit_code_tables(run, data=data, progress=progress)
    if run.is_main_process and evaluate:
        evaluate_run(run, progress=progress)
        write_report(run)
    return run


@contextmanager
def _unbegun_leaves_nothing(run: Run) -> Iterator[None]:
    """Remove a folder made for a run that was refused before its first step."""
    folder = run.folder
    fresh = not folder.path.exists()
    try:
        yield
    except RecipeError:
        if fresh and run.is_main_process and not (folder.checkpoints / "last").exists():
            shutil.rmtree(folder.path)
        raise


def _check_batch(samples: int, keywords: Mapping[str, Any], seed: int) -> None:
    """Refuse a batch larger than the set before a folder is written."""
    from pellucid.data import EpochOrder
    from pellucid.training.fit import fit

    default = inspect.signature(fit).parameters["batch_size"].default
    world = int(os.environ.get("WORLD_SIZE", "1"))
    EpochOrder(samples, keywords.get("batch_size", default), seed, rank=0, world=world)


def training_keywords(recipe: Recipe) -> dict[str, Any]:
    """Check the recipe's `training:` section, the keywords of `training.fit.fit`.

    Raises:
        RecipeError: for an unknown or wrong keyword.
    """
    from pellucid.build.construct import check_keywords
    from pellucid.training.fit import fit

    parameters = inspect.signature(fit).parameters
    given = {name: None for name in _GIVEN_TO_FIT if name in parameters}
    return check_keywords(fit, recipe.training, where="training", given=given)


def _write_start(recipe: Recipe, folder: RunFolder, data: Any) -> None:
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            "cannot make the run folder", where=folder.path, found=error.strerror
        ) from error
    header = f"# run of {recipe.name}; `pellucid train --resume` continues it\n"
    write_atomically(folder.recipe, (header + dump_yaml(recipe.to_node())).encode())
    folder.write_json(folder.data, data.report.to_json())
    folder.write_json(folder.splits, data.splits)
    if hasattr(data, "normaliser"):
        data.normaliser.save(folder.normaliser)


def choose_folder(name: str, out: str | Path | None) -> Path:
    """Return `out`, which must be free, or the next free `runs/NAME-N`.

    Raises:
        RunError: when it is taken.
    """
    if out is not None:
        path = Path(out)
        if path.is_dir() and any(path.iterdir()):
            raise RunError(
                "the run folder is not empty",
                where=path,
                hint=f"choose another, or continue it: pellucid train --resume {path}",
            )
        if path.exists() and not path.is_dir():
            raise RunError("the run folder is a file", where=path)
        return path
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError(
            "several processes must agree on one run folder", expected="-o RUN on the command line"
        )
    taken = {path.name for path in Path("runs").glob(f"{name}-*")}
    number = next(k for k in range(1, len(taken) + 2) if f"{name}-{k}" not in taken)
    return Path("runs") / f"{name}-{number}"
