"""`pellucid pipeline`: from raw images to samples, stage by stage."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.app import app
from pellucid.cli.console import JsonFlag, OutOption, QuietFlag, err, out, print_json


@app.command()
def pipeline(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name or file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY.PATH=VALUE]...",
            help="Of the recipe, or of the stages: codebooks., tuning., prior., samples.",
        ),
    ] = None,
    out_: OutOption = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train, fit codebooks, tune decoders, train a prior, draw and judge samples, write the page.

    Stages that are up to date are skipped; after an interruption the same command goes on. A model
    with codes of its own (patch-vq, cifar-vq) has no codebooks to fit and goes on to its prior.

    Examples:

    [cyan]pellucid pipeline posthoc-geodesic data.path=cifar10.npz[/]

    [cyan]pellucid pipeline posthoc-geodesic-mnist data.path=digits.npz codebooks.size=1024
    prior.steps=4000 -o runs/digits[/]

    [cyan]pellucid pipeline patch-vq data.path=clothing/ samples.guidance=1.5[/]
    """
    from pellucid.workflows.pipeline import pipeline as workflow
    from pellucid.workflows.stages import Outcome

    def tell(outcome: Outcome) -> None:
        if not json:
            took = f" in {outcome.seconds:.0f} s" if outcome.state == "done" else ""
            err.print(f"{outcome.name}: {outcome.state}{took}", highlight=False)

    result = workflow(recipe, overrides=overrides or [], out=out_, progress=not quiet, tell=tell)
    if json:
        print_json(result)
        return
    out.print(f"page: {result['page']}", soft_wrap=True)
