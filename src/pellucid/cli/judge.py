"""`pellucid evaluate`, `compare` and `report`: what a run reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pellucid.cli.app import app
from pellucid.cli.console import (
    JsonFlag,
    OutOption,
    QuietFlag,
    metric,
    number,
    out,
    print_json,
    signed_metric,
    table,
)

if TYPE_CHECKING:
    from pellucid.workflows.run import Run

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]


@app.command()
def evaluate(
    run: RunArgument,
    split: Annotated[
        Literal["test", "validation"], typer.Option(help="Which held-out split.")
    ] = "test",
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Measure a run on held-out data, with intervals and references.

    Example: [cyan]pellucid evaluate runs/patch-vq-1 --json[/]
    """
    from pellucid.workflows.evaluate import evaluate as workflow
    from pellucid.workflows.run import Run

    opened = Run.open(run)
    workflow(opened, split=split, progress=not quiet)
    print_run(opened, json)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Run folders.")],
    out_: OutOption = None,
    json: JsonFlag = False,
) -> None:
    """Set runs side by side; differences are paired when they saw the same held-out samples.

    Example: [cyan]pellucid compare runs/patch-vq-1 runs/patch-vq-2[/]
    """
    from pellucid.cli.comparison_page import print_comparison
    from pellucid.workflows.compare import compare as workflow

    comparison, page = workflow(runs, out=out_)
    if json:
        print_json({**comparison, "page": str(page)})
    else:
        print_comparison(comparison)
        out.print(f"page: {page}")


@app.command()
def report(run: RunArgument) -> None:
    """Write the run's page again from what is on disk.

    Example: [cyan]pellucid report runs/patch-vq-1[/]
    """
    from pellucid.workflows.report import report as workflow

    out.print(str(workflow(run)), soft_wrap=True)


def print_run(run: Run, as_json: bool) -> None:
    """Print where a run stands."""
    evaluation = run.evaluation()
    if as_json:
        print_json({"run": str(run.path), "evaluation": evaluation})
        return
    if evaluation is None:
        out.print(f"run: {run.path}")
        return
    rows = [(name, metric(node), node["n"]) for name, node in evaluation["metrics"].items()]
    table(("metric", "value (95 %)", "n"), rows, title=f"{run.path} on {evaluation['split']}")
    differences = evaluation.get("differences", {})
    references = [
        (name, metric(node["psnr"]), _ahead(differences.get(name)), _bits(node))
        for name, node in evaluation.get("references", {}).items()
    ]
    if references:
        table(("reference", "PSNR", "this run, paired", "bits per pixel"), references)
    out.print("conventions and notes: on the page, and with --json", style="dim")
    out.print(f"page: {run.folder.report}", soft_wrap=True)


def _ahead(differences: dict | None) -> str:
    return signed_metric(differences["psnr"]) if differences else "–"


def _bits(node: dict) -> str:
    bits = node.get("bits_per_pixel")
    return number(bits["value"] if isinstance(bits, dict) else bits)
