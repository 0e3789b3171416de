"""`pellucid features`, `landmarks`, `latent-space`: what a model knows, in files and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pellucid.cli.app import app
from pellucid.cli.console import (
    JsonFlag,
    OutOption,
    QuietFlag,
    facts,
    number,
    out,
    print_json,
    table,
)
from pellucid.cli.judge import RunArgument
from pellucid.errors import DataError


@app.command()
def features(
    run: RunArgument,
    path: Annotated[
        str | None,
        typer.Argument(help="Images or clips of any size; without it the run's own samples."),
    ] = None,
    layers: Annotated[
        str, typer.Option("--layers", metavar="NAME,NAME", help="Maps by name; see --list.")
    ] = "latent",
    pool: Annotated[
        Literal["mean", "max", "flatten", "none"],
        typer.Option("--pool", help="Over positions; none keeps whole maps."),
    ] = "mean",
    split: Annotated[
        Literal["all", "train", "validation", "test"],
        typer.Option("--split", help="Which of the run's own samples."),
    ] = "all",
    to: Annotated[
        Literal["npz", "parquet", "zarr", "h5ad"] | None,
        typer.Option("--to", help="The format; else the ending of -o, else npz."),
    ] = None,
    out_: OutOption = None,
    cells: Annotated[
        bool, typer.Option("--cells", help="One row per cell of the label masks; runs of stacks.")
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Say which layers there are; write nothing.")
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Write features of samples by layer, with names, groups and labels, bound to the exact model.

    Examples:

    [cyan]pellucid features runs/ear-vae-1 --list[/]

    [cyan]pellucid features runs/ear-vae-1 --layers stride_8,latent --to parquet -o ears.parquet[/]

    [cyan]pellucid features runs/ear-vae-1 photos/ --pool none --to h5ad -o photos.h5ad[/]

    [cyan]pellucid features runs/tissue-stack-1 --cells --to h5ad -o cells.h5ad[/]
    """
    from pellucid.workflows.feature_cells import write_cells
    from pellucid.workflows.features import feature_info, write_features
    from pellucid.workflows.run import Run

    opened = Run.open(run)
    if list_:
        info = feature_info(opened)
        if json:
            print_json(
                [{"name": i.name, "channels": i.channels, "reduction": i.reduction} for i in info]
            )
        else:
            rows = [(layer.name, layer.channels, layer.reduction or "–") for layer in info]
            table(("layer", "channels", "reduction"), rows)
        return
    target = Path(out_) if out_ else opened.path / f"features.{to or 'npz'}"
    names = [name for name in layers.split(",") if name]
    if cells:
        written = write_cells(opened, path, layers=names, out=target, to=to, progress=not quiet)
    else:
        written = write_features(
            opened, path, layers=names, pool=pool, split=split, out=target, to=to,
            progress=not quiet,
        )  # fmt: skip
    if json:
        print_json(written)
        return
    rows = [
        (layer["name"], layer["channels"], layer["reduction"] or "–") for layer in written["layers"]
    ]
    table(("layer", "channels", "reduction"), rows)
    for skipped in written["skipped"]:
        out.print(f"[yellow]skipped[/] {skipped['name']}: {skipped['reason']}")
    shape = f"{written['rows']:,} {'cells' if cells else 'samples'}"
    shape += f" × {written['numbers']:,} numbers" if written["numbers"] else ", whole maps"
    out.print(f"{shape}, of model {written['model'][:16]}…", highlight=False)
    out.print(f"written to {written['file']}", soft_wrap=True)


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
