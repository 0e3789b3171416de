"""`pellucid latents`, and what is fitted on them afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from pellucid.cli.app import app
from pellucid.cli.console import (
    JsonFlag,
    QuietFlag,
    facts,
    out,
    print_json,
    table,
)
from pellucid.cli.console import metric as metric_text
from pellucid.cli.judge import RunArgument


@app.command()
def latents(
    run: RunArgument,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampled z.")] = 0,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Export means, log-variances, samples and labels of every split as memory-mapped arrays.

    Example: [cyan]pellucid latents runs/posthoc-geodesic-1[/]
    """
    from pellucid.workflows.latents import latents as workflow
    from pellucid.workflows.run import Run

    found = workflow(run, seed=seed, progress=not quiet)
    folder = Run.open(run).folder.latents
    splits = {name: list(split.mean.shape) for name, split in found.splits.items()}
    if json:
        node = {"folder": str(folder), "model": found.model, "seed": found.seed, "splits": splits}
        print_json(node)
        return
    rows: dict[str, object] = {
        name: f"{shape[0]} samples of {' × '.join(map(str, shape[1:]))}"
        for name, shape in splits.items()
    }
    facts({**rows, "model": found.model, "folder": folder})


@app.command()
def codebook(
    run: RunArgument,
    method: Annotated[
        Literal["kmeans", "kmedoids", "geodesic", "pullback", "decoder"],
        typer.Option(help="Latent L2, medoids, along a graph, as the decoder sees it, by pixels."),
    ] = "kmeans",
    source: Annotated[
        Literal["mean", "sample"], typer.Option(help="Fit on posterior means or samples.")
    ] = "mean",
    size: Annotated[int, typer.Option(help="Codes.")] = 512,
    name: Annotated[
        str | None, typer.Option(help="Of its folder; else METHOD-SIZE.", show_default=False)
    ] = None,
    points: Annotated[int, typer.Option(help="Fit on at most so many latents.")] = 50_000,
    neighbours: Annotated[int, typer.Option(help="Of every point of the graph.")] = 20,
    join: Annotated[
        Literal["union", "mutual"], typer.Option(help="Edges that either end chose, or both.")
    ] = "union",
    metric: Annotated[
        Literal["l2", "cosine"], typer.Option(help="By what neighbours are near.")
    ] = "l2",
    seed: Annotated[int, typer.Option(help="Of the start.")] = 0,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Fit a codebook on a run's latents, score it on held-out samples and store it in the run.

    Examples:

    [cyan]pellucid codebook runs/posthoc-geodesic-1[/]

    [cyan]pellucid codebook runs/posthoc-geodesic-1 --method geodesic --size 1024[/]
    """
    from pellucid.workflows.codebook import codebook as workflow
    from pellucid.workflows.run import Run

    book = workflow(
        run,
        method=method,
        source=source,
        size=size,
        name=name,
        points=points,
        neighbours=neighbours,
        join=join,
        metric=metric,
        seed=seed,
        progress=not quiet,
    )
    if json:
        print_json(dict(book.record))
        return
    _print_codebook(book.name, book.size, book.record)
    folder = Run.open(run).folder.codebook(book.name)
    out.print(f"codebook: {folder}", soft_wrap=True)


def _print_codebook(name: str, size: int, record: Mapping[str, Any]) -> None:
    rows = [(key, metric_text(node), node["n"]) for key, node in record["scores"].items()]
    table(("held out", "value (95 %)", "n"), rows, title=f"codebook {name}")
    known = record["preflight"]
    if known is not None:
        out.print(
            f"a token carries {known['kl_bits_per_token']:.1f} bits of KL; "
            f"a codebook of {size} says {known['log2_size']:.1f}",
            highlight=False,
        )
    graph = record["settings"].get("connectivity")
    if graph is not None:
        stranded = record["settings"]["unreachable"]
        out.print(
            f"the graph has {graph['components']} components, {graph['outside']:.1%} of the "
            f"latents outside the largest; {stranded:.1%} reach no medoid and take the nearest "
            "vector",
            highlight=False,
        )


@app.command("tune-decoder")
def tune_decoder(
    run: RunArgument,
    codebook: Annotated[
        str | None, typer.Option(help="Which codebook, when the run has several.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Samples per step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak of AdamW's.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of the order.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Of torch.", show_default=False)] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train the decoder on codes, encoder and codebook frozen; store it beside the codebook.

    Example: [cyan]pellucid tune-decoder runs/posthoc-geodesic-1 --codebook kmeans-512[/]
    """
    from pellucid.workflows.tune_decoder import tune_decoder as workflow

    found = workflow(
        run,
        codebook=codebook,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        threads=threads,
        progress=not quiet,
    )
    if json:
        print_json(found)
        return
    rows = [(node["convention"], metric_text(node), node["n"]) for node in found["scores"].values()]
    table(("held out", "value (95 %)", "n"), rows, title=f"decoder tuned for {found['codebook']}")
