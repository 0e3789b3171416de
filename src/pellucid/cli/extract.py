"""`pellucid features`: what a model knows of every sample or cell, as a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pellucid.cli.app import app
from pellucid.cli.console import (
    JsonFlag,
    OutOption,
    QuietFlag,
    out,
    print_json,
    table,
)
from pellucid.cli.judge import RunArgument


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
        layers_ = [dataclasses.asdict(layer) for layer in feature_info(opened)]
        if json:
            print_json(layers_)
        else:
            _print_layers(layers_)
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
    _print_features(written, rows="cells" if cells else "samples")


def _print_layers(layers: Iterable[Mapping[str, Any]]) -> None:
    rows = [(layer["name"], layer["channels"], layer["reduction"] or "–") for layer in layers]
    table(("layer", "channels", "reduction"), rows)


def _print_features(written: Mapping[str, Any], *, rows: str) -> None:
    _print_layers(written["layers"])
    for skipped in written["skipped"]:
        out.print(f"[yellow]skipped[/] {skipped['name']}: {skipped['reason']}")
    numbers = f" × {written['numbers']:,} numbers" if written["numbers"] else ", whole maps"
    shape = f"{written['rows']:,} {rows}{numbers}"
    out.print(f"{shape}, of model {written['model'][:16]}…", highlight=False)
    out.print(f"written to {written['file']}", soft_wrap=True)
