"""Train a recipe into a run folder, resume it, or estimate what it would cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import RunError
from pellucid.recipe import Recipe, apply_overrides, load_recipe
from pellucid.run_folder import RunFolder
from pellucid.workflows.fit_into import choose_folder, fit_into, training_keywords
from pellucid.workflows.run import Run


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
    postfilter: Mapping[str, Any] | None = None,
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
        postfilter: see `data`.
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
        "postfilter": postfilter,
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
        start=source,
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
    if final.postfilter != opened.recipe.postfilter:
        raise RunError(
            "a resumed run cannot change 'postfilter'",
            where=opened.path,
            hint=f"fit another one when it is done: pellucid sharpen {opened.path}",
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
    keywords = training_keywords(final)
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


def _splits_to_keep(source: Run, recipe: Recipe) -> Mapping[str, Any] | None:
    """Return the splits of a run that another starts from, where both read the same data."""
    same = all(source.recipe.data.get(key) == recipe.data.get(key) for key in ("path", "name"))
    if not same or not source.folder.splits.is_file():
        return None
    return source.folder.read_json(source.folder.splits)
