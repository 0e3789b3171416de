"""Train a recipe into a run folder, resume it, or estimate what it would cost."""

from __future__ import annotations

import inspect
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import RecipeError, RunError
from pellucid.recipe import Recipe, apply_overrides, dump_yaml, load_recipe
from pellucid.run_folder import RunFolder, write_atomically
from pellucid.workflows.code_tables import fit_code_tables
from pellucid.workflows.evaluate import evaluate as evaluate_run
from pellucid.workflows.evaluate import evaluation_keywords
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


def train(
    recipe: str | Path | Recipe,
    *,
    overrides: Iterable[str] = (),
    seed: int | None = None,
    data: Mapping[str, Any] | None = None,
    encoder: Mapping[str, Any] | None = None,
    bottleneck: Mapping[str, Any] | None = None,
    decoder: Mapping[str, Any] | None = None,
    permuter: Mapping[str, Any] | None = None,
    objective: Mapping[str, Any] | None = None,
    balancer: Mapping[str, Any] | None = None,
    adversary: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    start_from: str | Path | Run | None = None,
    out: str | Path | None = None,
    evaluate: bool = True,
    progress: bool = True,
) -> Run:
    """Train a recipe, evaluate it on held-out data and write its page.

    Args:
        recipe: a shipped recipe's name, a YAML file, or a `Recipe`.
        overrides: texts like "bottleneck.codes=1024".
        seed: replaces the recipe's seed.
        data: keywords laid over the recipe's section; so are the other sections.
        encoder: see `data`.
        bottleneck: see `data`.
        decoder: see `data`.
        permuter: see `data`.
        objective: see `data`.
        balancer: see `data`.
        adversary: see `data`.
        training: see `data`.
        evaluation: see `data`.
        start_from: a run or a released model whose weights are the start, instead of random ones.
            On the same data its splits are kept, so that what it learnt is not held out.
        out: the run folder; by default the next free `runs/NAME-N`.
        evaluate: evaluate and write the page afterwards.
        progress: draw progress bars.

    Raises:
        RecipeError: before anything is written, when the recipe is wrong.
        DataError: before anything is written, when the data cannot be used.
        RunError: when the run folder is taken or cannot be written.
    """
    sections = {
        "seed": seed,
        "data": data,
        "encoder": encoder,
        "bottleneck": bottleneck,
        "decoder": decoder,
        "permuter": permuter,
        "objective": objective,
        "balancer": balancer,
        "adversary": adversary,
        "training": training,
        "evaluation": evaluation,
    }
    start = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    final = apply_overrides(
        start, overrides, {key: value for key, value in sections.items() if value is not None}
    )
    folder = RunFolder(choose_folder(final.name, out))
    if start_from is None:
        return fit_into(final, folder, evaluate=evaluate, progress=progress)
    source = Run.open(start_from)
    return fit_into(
        final,
        folder,
        splits=_splits_to_keep(source, final),
        weights=source.folder.model,
        evaluate=evaluate,
        progress=progress,
    )


def resume(
    run: str | Path | Run,
    *,
    overrides: Iterable[str] = (),
    evaluate: bool = True,
    progress: bool = True,
) -> Run:
    """Continue a run exactly where its last checkpoint left it.

    Args:
        run: the run or its folder.
        overrides: usually "training.steps=…" to train longer; a change that alters the model or
            the data makes the checkpoint unusable and is refused.
        evaluate: evaluate and write the page afterwards.
        progress: draw progress bars.

    Raises:
        RunError: when there is no checkpoint, or it does not fit the recipe.
    """
    opened = Run.open(run)
    final = apply_overrides(opened.recipe, overrides)
    for section in ("seed", "data", "encoder", "bottleneck", "decoder", "permuter"):
        if getattr(final, section) != getattr(opened.recipe, section):
            raise RunError(
                f"a resumed run cannot change '{section}'",
                where=opened.path,
                expected="overrides of objective, balancer, adversary, training or evaluation",
                hint="train a new run instead",
            )
    return fit_into(final, opened.folder, resume=True, evaluate=evaluate, progress=progress)


def estimate(
    recipe: str | Path | Recipe,
    *,
    overrides: Iterable[str] = (),
    price: float | None = None,
) -> dict[str, Any]:
    """Return parameters, memory, time and cost of a recipe from a few real steps.

    Args:
        recipe: a shipped recipe's name, a YAML file, or a `Recipe`.
        overrides: texts like "training.batch_size=64".
        price: price of this machine per hour, in any currency; None leaves the cost out.
    """
    from pellucid.build.adversary import build_adversary
    from pellucid.build.assemble import build_autoencoder, build_data, build_objective
    from pellucid.build.stacks import needs_settling, settled
    from pellucid.training.estimate import estimate as estimate_training

    start = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    final = apply_overrides(start, overrides)
    keywords = _training_keywords(final)
    data = build_data(final)
    if needs_settling(final):
        final = settled(final, data)
    result = estimate_training(
        build_autoencoder(final),
        build_objective(final),
        data.train,
        adversary=build_adversary(final),
        seed=final.seed,
        price_per_hour=price,
        keywords=keywords,
    )
    return {"recipe": final.name, **result.to_json()}


def fit_into(
    recipe: Recipe,
    folder: RunFolder,
    *,
    resume: bool = False,
    splits: Mapping[str, Any] | None = None,
    weights: Path | None = None,
    evaluate: bool = True,
    progress: bool = True,
) -> Run:
    """Train a finished recipe into a folder.

    Args:
        recipe: what to do; overrides are applied already.
        folder: the run; a resumed one holds recipe, splits and checkpoints.
        resume: continue the folder's checkpoint.
        splits: the splits of an earlier run to keep to; None draws them.
        weights: start from these instead of the recipe's seed.
        evaluate: evaluate and write the page afterwards.
        progress: draw progress bars.

    Raises:
        RunError: when the weights belong to another model.
    """
    from pellucid.build.adversary import build_adversary
    from pellucid.build.assemble import build_autoencoder, build_data, build_objective
    from pellucid.build.stacks import needs_settling, settled
    from pellucid.models.weights import load_weights
    from pellucid.training.fit import fit
    from pellucid.training.linear_start import has_linear_paths, start_linear

    run = Run(folder)
    keywords = _training_keywords(recipe)
    evaluation_keywords(recipe)  # a misspelt key there must not wait until training is over
    data = None
    if needs_settling(recipe):
        data = build_data(recipe, splits=splits)
        recipe = settled(recipe, data)
    autoencoder = build_autoencoder(recipe, pretrained=weights is None and not resume)
    if weights is not None:
        load_weights(autoencoder, weights)
    objective = build_objective(recipe)
    adversary = build_adversary(recipe)
    if data is None:
        data = run.data() if resume else build_data(recipe, splits=splits)
    _check_batch(len(data.train), keywords, recipe.seed)
    if has_linear_paths(autoencoder) and weights is None and not resume:
        start_linear(autoencoder, data.train, seed=recipe.seed)
    fresh = not folder.path.exists()
    if run.is_main_process:
        _write_start(recipe, folder, data)
    try:
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
    except RecipeError:
        # refused before the first step: a run that never began leaves nothing behind
        if fresh and run.is_main_process and not (folder.checkpoints / "last").exists():
            shutil.rmtree(folder.path)
        raise
    if run.is_main_process:
        run = Run.open(folder.path)
        fit_code_tables(run, data=data, progress=progress)
    if run.is_main_process and evaluate:
        evaluate_run(run, progress=progress)
        write_report(run)
    return run


def _splits_to_keep(source: Run, recipe: Recipe) -> Mapping[str, Any] | None:
    """Return the splits of a run that another starts from, where both read the same data."""
    same = all(source.recipe.data.get(key) == recipe.data.get(key) for key in ("path", "name"))
    if not same or not source.folder.splits.is_file():
        return None
    return source.folder.read_json(source.folder.splits)


def _check_batch(samples: int, keywords: Mapping[str, Any], seed: int) -> None:
    """Refuse a batch larger than the set before a folder is written."""
    from pellucid.data import EpochOrder
    from pellucid.training.fit import fit

    default = inspect.signature(fit).parameters["batch_size"].default
    world = int(os.environ.get("WORLD_SIZE", "1"))
    EpochOrder(samples, keywords.get("batch_size", default), seed, rank=0, world=world)


def _training_keywords(recipe: Recipe) -> dict[str, Any]:
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
