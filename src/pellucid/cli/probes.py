"""`pellucid landmarks` and `latent-space`: what a model knows, in numbers and pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.app import app
from pellucid.cli.console import JsonFlag, QuietFlag, facts, number, out, print_json, table
from pellucid.cli.judge import RunArgument
from pellucid.errors import DataError


@app.command()
def landmarks(
    run: RunArgument,
    points: Annotated[
        str, typer.Option("--points", help="CSV: image, NAME_x, NAME_y, …; or DeepLabCut's.")
    ],
    images: Annotated[
        str | None, typer.Option("--images", help="Their folder; else that of the CSV.")
    ] = None,
    labels: Annotated[
        str, typer.Option("--labels", metavar="N,N,all", help="Labelled images to learn from.")
    ] = "5,10,20,all",
    layers: Annotated[
        str | None,
        typer.Option("--layers", metavar="NAME,NAME", help="Maps of the encoder; else all."),
    ] = None,
    against: Annotated[
        str, typer.Option("--against", metavar="NAME,NAME", help="random, pca, dinov2.")
    ] = "random,pca",
    normaliser: Annotated[
        str, typer.Option("--normaliser", help="extent, diagonal, or NAME-NAME of two landmarks.")
    ] = "extent",
    blocks: Annotated[int, typer.Option("--blocks", help="Blocks of time, each tested once.")] = 5,
    draws: Annotated[
        int, typer.Option("--draws", min=1, help="Random choices of labelled images.")
    ] = 3,
    weights: Annotated[
        str | None, typer.Option("--weights", help="DINOv2's, where timm's cache lacks them.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Measure how few labels find landmarks on the frozen encoder's features.

    Images are tested in blocks of time; the same encoder untrained and PCA are tested beside it.

    Examples:

    [cyan]pellucid landmarks runs/ear-vae-1 --points ears/landmarks.csv[/]

    [cyan]pellucid landmarks runs/mouse --points points.csv --images frames/ --labels 10,50[/]
    """
    from pellucid.workflows.landmarks import landmarks as workflow
    from pellucid.workflows.report import report

    found = workflow(
        run,
        points,
        images=images,
        layers=None if layers is None else [name for name in layers.split(",") if name],
        labels=[_count(word) for word in labels.split(",") if word],
        against=[name for name in against.split(",") if name],  # type: ignore[misc]
        normaliser=normaliser,
        blocks=blocks,
        draws=draws,
        weights=weights,
        progress=not quiet,
    )
    page = report(run)
    if json:
        print_json({**found, "page": str(page)})
        return
    _print_landmarks(found)
    out.print(f"page: {page}", soft_wrap=True)


@app.command("latent-space")
def latent_space(
    run: RunArgument,
    samples: Annotated[
        int, typer.Option("--samples", min=4, help="Training samples to encode at most.")
    ] = 1000,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Interpolate, walk along axes, look up neighbours, count dead dimensions, sample a mixture.

    Example: [cyan]pellucid latent-space runs/mnist-vae-1[/]
    """
    from pellucid.workflows.latent_space import latent_space as workflow
    from pellucid.workflows.report import report

    found = workflow(run, samples=samples, progress=not quiet)
    page = report(run)
    if json:
        print_json({**found, "page": str(page)})
        return
    facts(
        {
            "dimensions": found["dimensions"],
            "active by variance": found["active_by_variance"],
            "active by KL": found["active_by_rate"] or "–",
            "active in closed form": found["active_closed_form"] or "–",
            "effective dimensions": number(found["effective_dimensions"]),
            "discrimination score": number(found["discrimination"]),
            "retrieval": number(found["retrieval"]),
            "mixture components": found["mixture"]["components"],
        }
    )
    out.print(f"page: {page}", soft_wrap=True)


def _count(word: str) -> int | None:
    if word == "all":
        return None
    if not word.isdigit():
        raise DataError("no number of labels", where="--labels", expected="5,10,all", found=word)
    return int(word)


def _print_landmarks(found: dict) -> None:
    methods = found["methods"]
    labels = list(methods["run"])
    rows = []
    for name, by_labels in methods.items():
        cells = [name]
        for label in labels:
            nme = by_labels[label]["nme"]
            interval = f"{number(nme['low'])} … {number(nme['high'])}"
            cells.append(f"{number(nme['value'])}  ({interval})")
        rows.append(cells)
    table(("features", *(f"NME, {label} labels" for label in labels)), rows)
    points = found["points"]
    out.print(
        f"error / {found['normaliser']}; {points['images']} images, {points['missing']} points "
        f"missing, {points['outside']} outside, {points['left_out']} images not found",
        style="dim",
    )
