"""`pellucid recipes` and `pellucid inspect`: look before anything is trained."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.app import app
from pellucid.cli.console import JsonFlag, OutOption, QuietFlag, facts, out, print_json


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this one whole.")] = None,
    json: JsonFlag = False,
) -> None:
    """List the recipes, or print one whole.

    Example: [cyan]pellucid recipes patch-vq > mine.yaml[/]
    """
    from pellucid.recipe import recipe_names, shipped_recipe

    if name is not None:
        shipped = shipped_recipe(name)
        if json:
            print_json({"name": shipped.name, "text": shipped.text})
        else:
            print(shipped.text, end="")
        return
    every = [shipped_recipe(known) for known in recipe_names()]
    if json:
        keys = ("name", "summary", "command", "cost", "score")
        print_json([{key: getattr(recipe, key) for key in keys} for recipe in every])
        return
    for recipe in every:
        rows = {"": recipe.summary, "command": recipe.command}
        rows |= {"cost": recipe.cost, "score": recipe.score}
        out.print(f"[bold]{recipe.name}[/]")
        facts({f"  {key}": value for key, value in rows.items() if value})
        out.print()


@app.command()
def inspect(
    path: Annotated[
        str,
        typer.Argument(
            help="A folder (or file) of images, clips or stacks, a manifest, or a named set."
        ),
    ],
    out_: OutOption = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Report what is in a data source, what is wrong with it and which recipe would fit.

    Of stacks, -o writes a page with a picture of every channel.

    Examples:

    [cyan]pellucid inspect photos/[/]

    [cyan]pellucid inspect tissue/ -o tissue.html[/]
    """
    from pellucid.cli.data_page import print_data_report
    from pellucid.workflows.inspect import inspect as inspect_data

    report = inspect_data(path, out=out_, progress=not quiet)
    if json:
        print_json(report)
    else:
        print_data_report(report)
        if out_ is not None:
            out.print(f"page: {out_}", soft_wrap=True)
