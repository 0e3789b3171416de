"""`pellucid train` and `pellucid demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.app import app
from pellucid.cli.console import (
    JsonFlag,
    OutOption,
    QuietFlag,
    err,
    facts,
    number,
    out,
    print_json,
)
from pellucid.errors import RecipeError


@app.command()
def train(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE [KEY.PATH=VALUE]...", help="A recipe's name or file, then overrides."
        ),
    ] = None,
    out_: OutOption = None,
    resume: Annotated[
        str | None, typer.Option("--resume", help="Continue this run folder exactly.")
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN", help="Start from this model's weights: fine-tune."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate memory, time and cost; write nothing.")
    ] = False,
    price: Annotated[
        float | None, typer.Option("--price", help="Price of this machine per hour, for --dry-run.")
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate/--no-evaluate", help="Evaluate and write the page after.")
    ] = True,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train a recipe, evaluate it on held-out data and write its page.

    Examples:

    [cyan]pellucid train patch-vq data.path=photos/ bottleneck.codes=1024[/]

    [cyan]pellucid train patch-vq data.path=photos/ --dry-run[/]

    [cyan]pellucid train --resume runs/patch-vq-1[/]

    [cyan]pellucid train speech-codec-tiny data.path=mine/ --from runs/speech training.steps=2000[/]
    """
    from pellucid.workflows import train as workflow

    recipe, overrides = _split(arguments or [], needs_recipe=resume is None)
    if dry_run:
        _print_estimate(workflow.estimate(recipe, overrides=overrides, price=price), json)
        return
    if resume is not None and start_from is not None:
        raise RecipeError(
            "a resumed run starts from its own checkpoint",
            where="--from",
            expected="--resume RUN, or RECIPE --from RUN",
            found=f"--resume {resume} --from {start_from}",
        )
    if resume is not None:
        run = workflow.resume(resume, overrides=overrides, evaluate=evaluate, progress=not quiet)
    else:
        run = workflow.train(
            recipe,
            overrides=overrides,
            start_from=start_from,
            out=out_,
            evaluate=evaluate,
            progress=not quiet,
        )
    if run.is_main_process:
        from pellucid.cli.judge import print_run

        print_run(run, json)


def _split(arguments: list[str], *, needs_recipe: bool) -> tuple[str, list[str]]:
    plain = [text for text in arguments if "=" not in text]
    overrides = [text for text in arguments if "=" in text]
    if needs_recipe and len(plain) != 1:
        raise RecipeError(
            "name one recipe",
            expected="pellucid train RECIPE key.path=value …",
            found=" ".join(plain) or "nothing",
            hint="`pellucid recipes` lists them",
        )
    if not needs_recipe and plain:
        raise RecipeError(
            "a resumed run has its recipe already",
            expected="--resume RUN key.path=value …",
            found=plain[0],
        )
    return (plain[0] if plain else ""), overrides


def _print_estimate(estimate: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(estimate)
        return
    facts(
        {
            key.replace("_", " "): number(value) if isinstance(value, float) else value
            for key, value in estimate.items()
        },
        title="Estimate from a few real steps (nothing was written)",
    )


@app.command()
def demo(out_: OutOption = None, quiet: QuietFlag = False, json: JsonFlag = False) -> None:
    """Train a tokenizer and a sick twin on bundled photographs, diagnose both, cure the twin.

    Example: [cyan]pellucid demo[/]
    """
    from pellucid.cli.cure import print_outcome, print_plan
    from pellucid.workflows.demo import demo as workflow

    silent = quiet or json
    told = workflow(
        out=out_,
        progress=not silent,
        say=lambda line: None if silent else err.print(line, markup=False, highlight=False),
    )
    if json:
        print_json(
            {
                "healthy": str(told.healthy.path),
                "treatment": told.treatment.to_dict(),
                "page": str(told.page),
                "seconds": told.seconds,
            }
        )
        return
    print_plan(told.treatment)
    print_outcome(told.treatment)
    out.print(f"\n{told.seconds:.0f} s. Open [bold]{told.page}[/] in a browser.", soft_wrap=True)
