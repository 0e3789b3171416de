"""`pellucid evaluate`, `compare` and `report`: what a run reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CODEC,CODEC",
            help="Codecs to compare with: jpeg, webp for images; opus, codec2, speex or "
            "lyra=FOLDER (with its TFLite files) for audio.",
        ),
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Measure a run on held-out data, with intervals and references, and write its page.

    Examples:

    [cyan]pellucid evaluate runs/patch-vq-1 --json[/]

    [cyan]pellucid evaluate runs/speech-codec-tiny-1 --against opus,codec2[/]
    """
    from pellucid.workflows.evaluate import evaluate as workflow
    from pellucid.workflows.report import report as write_page
    from pellucid.workflows.run import Run

    opened = Run.open(run)
    codecs = None if against is None else [name for name in against.split(",") if name]
    workflow(opened, split=split, against=codecs, progress=not quiet)
    write_page(opened)
    print_run(opened, json)


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN... | RUN | RUN:CODEBOOK...",
            help="Runs; or the codebooks of one run; or named ones.",
        ),
    ],
    out_: OutOption = None,
    json: JsonFlag = False,
) -> None:
    """Set runs, or codebooks, side by side; differences are paired on the same held-out samples.

    Examples:

    [cyan]pellucid compare runs/patch-vq-1 runs/patch-vq-2[/]

    [cyan]pellucid compare runs/posthoc-geodesic-1[/]

    [cyan]pellucid compare runs/a:kmeans-512 runs/b:kmeans-512[/]
    """
    from pellucid.workflows.compare_codebooks import compare_codebooks, names_codebooks

    if names_codebooks(runs):
        from pellucid.cli.codebooks_view import print_codebooks

        comparison, page = compare_codebooks(runs, out=out_)
        if json:
            print_json({**comparison, "page": str(page)})
        else:
            print_codebooks(comparison)
            out.print(f"page: {page}", soft_wrap=True)
        return
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
    if evaluation.get("kind") == "audio":
        _print_codecs(evaluation)
    elif evaluation.get("kind") in ("stacks", "cells"):
        _print_markers(evaluation)
    else:
        _print_references(evaluation)
    out.print("conventions and notes: on the page, and with --json", style="dim")
    out.print(f"page: {run.folder.report}", soft_wrap=True)


def _print_references(evaluation: Mapping[str, Any]) -> None:
    differences = evaluation.get("differences", {})
    rows = [
        (name, metric(node["psnr"]), _ahead(differences.get(name), "psnr"), _bits(node))
        for name, node in evaluation.get("references", {}).items()
    ]
    if rows:
        table(("reference", "PSNR", "this run, paired", "bits per pixel"), rows)


def _print_markers(evaluation: Mapping[str, Any]) -> None:
    differences = evaluation["differences"]
    rows = [
        (name, node["numbers"], metric(node["r2"]), _ahead(differences.get(name), "r2"),
         _ahead(differences.get(name), "pearson"))
        for name, node in evaluation["references"].items()
    ]  # fmt: skip
    table(("reference", "numbers", "median R²", "this run", "this run, Pearson"), rows)
    live = sorted((m for m in evaluation["markers"] if m["live"]), key=lambda m: -m["r2"])
    rows = [
        (m["name"], number(m["r2"]), number(m["pearson"]), number(m["nonzero_held_out"]))
        for m in live
    ]
    table(("live marker", "R²", "Pearson", "not zero"), rows, title=evaluation["judged"])
    for remark in evaluation["remarks"]:
        out.print(f"[yellow]note[/] {remark}")


def _print_codecs(evaluation: Mapping[str, Any]) -> None:
    differences = evaluation["differences"]
    rows = []
    for name, node in evaluation["references"].items():
        own = [_ahead(differences.get(name), key) for key in ("pesq", "stoi")]
        measured = [number(node[key]["value"]) for key in ("file_kbps", "pesq")]
        rows.append((name, *measured, own[0], number(node["stoi"]["value"]), own[1]))
    if rows:
        ahead = "this run, paired"
        table(("codec", "kb/s of files", "PESQ", ahead, "STOI", ahead), rows)
    for metric_name, clips in evaluation["failures"].items():
        out.print(f"[yellow]note[/] {metric_name} could not be measured on {len(clips)} clips")
    for codec, why in evaluation["left_out"].items():
        out.print(f"[yellow]note[/] not compared with {codec}: {why}")


def _ahead(differences: Mapping[str, Any] | None, name: str) -> str:
    known = differences and differences.get(name)
    return signed_metric(known) if known else "–"


def _bits(node: dict) -> str:
    bits = node.get("bits_per_pixel")
    return number(bits["value"] if isinstance(bits, dict) else bits)
