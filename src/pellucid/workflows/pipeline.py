"""From raw images to samples in one resumable command.

train → (latents → codebooks → tuned decoders, for models without codes of their own) → prior →
samples → page. Every stage is an ordinary workflow on one run folder; `stages` decides which run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import RunError
from pellucid.recipe import Recipe, load_recipe
from pellucid.run_folder import RunFolder
from pellucid.workflows.pipeline_plan import Plan
from pellucid.workflows.stages import Ledger, Outcome, Stage

if TYPE_CHECKING:
    from pellucid.codebooks.files import CodebookFiles


def pipeline(
    recipe: str | Path | Recipe,
    *,
    overrides: Iterable[str] = (),
    out: str | Path | None = None,
    progress: bool = True,
    tell: Callable[[Outcome], None] | None = None,
) -> dict[str, Any]:
    """Run every stage that is not up to date, and write the page.

    Args:
        recipe: of the model: a shipped recipe's name, a YAML file, or a `Recipe`.
        overrides: "data.path=…" and other recipe keys; "codebooks.size=512",
            "codebooks.methods=[kmeans, geodesic]", "tuning.steps=500", "prior.steps=2000",
            "samples.guidance=1.5" and other keywords of the stages.
        out: the run folder, continued where it left off; by default `runs/NAME-pipeline`.
        progress: draw progress bars.
        tell: called after every stage.

    Returns:
        `{"run", "stages": [{"name", "state", "seconds"}], "page"}`.

    Raises:
        RecipeError: for an unknown key, before anything is written.
        RunError: when the folder holds another recipe's run, or a stage was interrupted.
        DataError: when the data cannot be used.
    """
    plan = Plan.of(recipe, overrides)
    folder = RunFolder(out or Path("runs") / f"{plan.recipe.name}-pipeline")
    _check_folder(plan, folder)
    ledger = Ledger(folder.pipeline)
    outcomes = []
    for stage in _stages(plan, folder, progress):
        outcome = ledger.perform(stage)
        outcomes.append(outcome)
        if tell is not None:
            tell(outcome)
    return {
        "run": str(folder.path),
        "stages": [dataclasses.asdict(outcome) for outcome in outcomes],
        "page": str(folder.pipeline_page),
    }


def _check_folder(plan: Plan, folder: RunFolder) -> None:
    """Refuse a folder that another recipe's run lives in."""
    if not folder.recipe.is_file():
        if folder.path.is_dir() and any(folder.path.iterdir()):
            raise RunError("this folder is not a run", where=folder.path, hint="choose another -o")
        return
    there = load_recipe(folder.recipe)
    for section in Recipe.model_fields:
        if getattr(there, section) != getattr(plan.recipe, section):
            raise RunError(
                f"this folder holds a run with another '{section}'",
                where=folder.path,
                expected=getattr(plan.recipe, section),
                found=getattr(there, section),
                hint="choose another folder with -o",
            )


def _stages(plan: Plan, folder: RunFolder, progress: bool) -> Iterator[Stage]:
    """Yield stages in order; each is made after the ones before it ran."""
    yield _train(plan, folder, progress)
    chosen = None
    if plan.posthoc:
        yield from _codebooks(plan, folder, progress)
        chosen = best_codebook(folder, plan)
    prior = chosen or "own"
    model = () if chosen is None else (_files(folder, chosen).tensors,)
    yield _prior(plan, folder, chosen, (folder.model, *model), progress)
    yield _samples(plan, folder, prior, chosen, progress)
    yield _page(plan, folder, prior)


def _train(plan: Plan, folder: RunFolder, progress: bool) -> Stage:
    def run() -> None:
        from pellucid.workflows.fit_into import fit_into
        from pellucid.workflows.train import resume
        from pellucid.workflows.treat import require_finished

        if (folder.checkpoints / "last").is_dir():
            trained = resume(folder.path, progress=progress)
        else:
            trained = fit_into(plan.recipe, folder, progress=progress)
        require_finished(trained)

    return Stage("train", (), plan.recipe.to_node(), (folder.model, folder.evaluation), run)


def _codebooks(plan: Plan, folder: RunFolder, progress: bool) -> Iterator[Stage]:
    from pellucid.workflows.codebook import codebook
    from pellucid.workflows.latents import latents
    from pellucid.workflows.tune_decoder import tune_decoder

    yield Stage(
        "latents",
        (folder.model,),
        {},
        (folder.latents,),
        lambda: latents(folder.path, progress=progress),
    )
    for method, name in zip(plan.methods, plan.codebook_names, strict=True):
        yield Stage(
            f"codebook {name}",
            (folder.model,),
            {"method": method, **plan.codebooks},
            (_files(folder, name).record,),
            lambda method=method: codebook(
                folder.path, method=method, progress=progress, **plan.codebooks
            ),
        )
        yield Stage(
            f"tune {name}",
            (folder.model, _files(folder, name).tensors),
            plan.tuning,
            (_files(folder, name).tuning,),
            lambda name=name: tune_decoder(
                folder.path, codebook=name, progress=progress, **plan.tuning
            ),
        )


def best_codebook(folder: RunFolder, plan: Plan) -> str:
    """Return the codebook whose tuned decoder reconstructs held-out samples best."""
    reached = {}
    for name in plan.codebook_names:
        tuning = _files(folder, name).read_tuning()
        assert tuning is not None
        reached[name] = tuning["scores"]["psnr_after"]["value"]
    return max(reached, key=lambda name: reached[name])


def _files(folder: RunFolder, name: str) -> CodebookFiles:
    from pellucid.codebooks.files import CodebookFiles

    return CodebookFiles(folder, name)


def _prior(
    plan: Plan, folder: RunFolder, codebook: str | None, reads: tuple[Path, ...], progress: bool
) -> Stage:
    from pellucid.workflows.prior import OWN, train_prior

    place = folder.prior(codebook or OWN)

    def run() -> None:
        from pellucid.priors.stored import CHECKPOINT

        interrupted = (place / CHECKPOINT).is_dir() and not (place / "prior.json").is_file()
        keywords: dict[str, Any] = dict(codebook=codebook, progress=progress, **plan.prior)
        try:
            train_prior(folder.path, resume=interrupted, overwrite=not interrupted, **keywords)
        except RunError:
            if not interrupted:
                raise
            # what was begun was told something else: begin again
            train_prior(folder.path, overwrite=True, **keywords)

    return Stage("prior", reads, plan.prior, (place / "prior.json",), run)


def _samples(
    plan: Plan, folder: RunFolder, prior: str, codebook: str | None, progress: bool
) -> Stage:
    from pellucid.workflows.generate import GRID, INDEX, JUDGEMENT, generate

    place = folder.generated
    reads = [folder.prior(prior) / "model.safetensors", folder.model]
    if codebook is not None:
        reads.append(_files(folder, codebook).decoder)
    judged = is_judged(plan, folder, prior)
    return Stage(
        "samples",
        tuple(reads),
        plan.samples,
        (place / INDEX, place / GRID, *((place / JUDGEMENT,) if judged else ())),
        lambda: generate(folder.path, prior=prior, judge=judged, progress=progress, **plan.samples),
    )


def is_judged(plan: Plan, folder: RunFolder, prior: str) -> bool:
    """Say whether samples can be judged: there are classes, or a feature network was supplied."""
    record = folder.read_json(folder.prior(prior) / "prior.json")
    return bool(record["classes"]) or plan.samples.get("features") is not None


def _page(plan: Plan, folder: RunFolder, prior: str) -> Stage:
    from pellucid.workflows.generate import INDEX, JUDGEMENT

    names = plan.codebook_names if plan.posthoc else []
    record = folder.prior(prior) / "prior.json"
    reads = [record, folder.evaluation, folder.generated / INDEX]
    if is_judged(plan, folder, prior):
        reads.append(folder.generated / JUDGEMENT)

    def run() -> None:
        from pellucid.report.pipeline import render_pipeline
        from pellucid.workflows.compare_codebooks import codebook_entries

        entries = codebook_entries([(folder, name) for name in names])
        render_pipeline(folder, entries, prior=record)

    for name in names:
        reads += [_files(folder, name).record, _files(folder, name).tuning]
    return Stage("page", tuple(reads), {}, (folder.pipeline_page,), run)
