"""`pellucid treat` and `sharpen`: a new run beside the old one, before and after on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli.app import app
from pellucid.cli.console import (
    JsonFlag,
    OutOption,
    QuietFlag,
    err,
    out,
    print_json,
    signed_metric,
    table,
)

if TYPE_CHECKING:
    from pellucid.workflows.treat import Treatment

_HOW = {
    "resumed": "training goes on from where it ended",
    "continued": "training goes on from the old weights",
    "retrained": "a new run is trained from the start",
    "filtered": "the old weights get a filter behind the decoder; nothing is trained",
}


@app.command()
def treat(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder; it is not touched.")],
    finding: Annotated[
        str | None,
        typer.Option("--finding", help="Which finding; else the first that a recipe can treat."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Optimiser steps; else the recipe's.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the recipe patch; train and write nothing.")
    ] = False,
    out_: OutOption = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Patch a run's recipe against its diagnosis, train anew and show before and after.

    Examples:

    [cyan]pellucid treat runs/patch-vq-1 --dry-run[/]

    [cyan]pellucid treat runs/patch-vq-1 -o runs/patch-vq-better[/]
    """
    from pellucid.workflows.treat import treat as workflow

    with err.status("reading the diagnosis (about a minute when there is none)") as status:
        if quiet or json:
            status.stop()
        plan = workflow(run, finding=finding, steps=steps, dry_run=True)
    if not json:
        print_plan(plan)
    if dry_run:
        if json:
            print_json(plan.to_dict())
        return
    treated = workflow(
        run,
        finding=plan.finding,
        steps=steps,
        out=out_,
        progress=not quiet,
        diagnosis=plan.diagnosis,
    )
    if json:
        print_json(treated.to_dict())
    else:
        print_outcome(treated)


@app.command()
def sharpen(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run of images; it is not touched.")],
    strength: Annotated[
        float,
        typer.Option(
            "--strength",
            help="Share of the missing power to bring back: 0 least error, 1 all of it.",
        ),
    ] = 0.5,
    taps: Annotated[int, typer.Option("--taps", help="Side of each filter in pixels, odd.")] = 9,
    out_: OutOption = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Fit a linear filter behind a run's decoder: sharper images, nothing trained.

    Coherence is kept at every frequency: no detail is made up. The table says what each strength
    costs and buys.

    Example: [cyan]pellucid sharpen runs/ear-vae-1 --strength 0.5[/]
    """
    from pellucid.workflows.sharpen import sharpen as workflow

    sharpened = workflow(run, strength=strength, taps=taps, out=out_, progress=not quiet)
    if json:
        print_json(sharpened.to_dict())
        return
    _print_strengths(sharpened.fitted)
    gain = next(d for d in sharpened.comparison["differences"] if d["metric"] == "psnr")
    out.print(f"test images: PSNR {signed_metric(gain)}, paired, n = {gain['n']}", highlight=False)
    out.print(f"new run: {sharpened.after.path}", soft_wrap=True)
    out.print(f"page: {sharpened.page}", soft_wrap=True)


def _print_strengths(fitted: dict[str, Any]) -> None:
    from pellucid.report.sections.postfilter import COLUMNS

    listed = [("decoder", fitted["before"])]
    for point in fitted["points"]:
        chosen = " ←" if point["strength"] == fitted["strength"] else ""
        listed.append((f"{point['strength']:g}{chosen}", point))
    rows = [
        (name, *(f"{point[column]:.{places}f}" for column, places in COLUMNS.items()))
        for name, point in listed
    ]
    table(("strength", *COLUMNS), rows)


def print_plan(plan: Treatment) -> None:
    """Print the finding and the recipe patch as a diff."""
    from pellucid.diagnosis.wording import value_text

    out.print(f"[bold]{plan.finding}[/] in {plan.before.path}", highlight=False)
    out.print(f"  {plan.summary}", markup=False, highlight=False)
    for change in plan.changes:
        before, after = value_text(change.before), value_text(change.after)
        out.print(f"- {change.key}: {before}", style="red", markup=False, highlight=False)
        out.print(f"+ {change.key}: {after}", style="green", markup=False, highlight=False)
    out.print(_HOW[plan.how], style="dim")


def print_outcome(treated: Treatment) -> None:
    """Print what the treatment won and where to look."""
    from pellucid.workflows.treat import psnr_gain

    assert treated.after is not None
    assert treated.diagnosis_after is not None
    gain = psnr_gain(treated)
    how = "paired" if gain["paired"] else "unpaired"
    out.print(f"PSNR {signed_metric(gain)}, {how}, n = {gain['n']}", highlight=False)
    out.print(f"diagnosis now: {treated.diagnosis_after.verdict}", markup=False, highlight=False)
    out.print(f"new run: {treated.after.path}", soft_wrap=True)
    out.print(f"page: {treated.page}", soft_wrap=True)
