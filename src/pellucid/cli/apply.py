"""`pellucid reconstruct` and `release`: a model at work, and on its way to others."""

from __future__ import annotations

import statistics
from typing import Annotated, Any

import typer

from pellucid.cli.app import app
from pellucid.cli.console import JsonFlag, OutOption, QuietFlag, number, out, print_json, table
from pellucid.cli.judge import RunArgument


@app.command()
def reconstruct(
    run: RunArgument,
    path: Annotated[str, typer.Argument(help="A file or a folder of images, or of stacks.")],
    out_: OutOption = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Send images of any size through a model and write what comes back as PNG.

    Stacks come back as OME-TIFF, in the unit of the data, their channels named.

    Examples:

    [cyan]pellucid reconstruct runs/patch-vq-1 photos/ -o rebuilt/[/]

    [cyan]pellucid reconstruct runs/tissue-stack-1 tissue/ -o rebuilt/[/]
    """
    from pellucid.workflows.reconstruct import reconstruct as workflow

    result = workflow(run, path, out=out_, progress=not quiet)
    if json:
        print_json(result)
        return
    items = result["images"] if "images" in result else result["stacks"]
    rows = [
        (item["name"], f"{item['width']}×{item['height']}", _fidelity(item)) for item in items[:20]
    ]
    what = ("image", "PSNR") if "images" in result else ("stack", "median R²")
    table((what[0], "size", what[1]), rows)
    if len(items) > 20:
        out.print(f"… and {len(items) - 20} more")
    for skipped in result["skipped"]:
        out.print(f"[yellow]skipped[/] {skipped['name']}: {skipped['reason']}")
    out.print(f"written to {result['folder']}", soft_wrap=True)


@app.command()
def release(
    run: RunArgument,
    out_: Annotated[str, typer.Option("-o", "--out", help="The new folder.")],
    half: Annotated[
        bool, typer.Option("--float16/--float32", help="How weights are stored.")
    ] = True,
    data: Annotated[
        str | None, typer.Option("--data", help="What it was trained on, for the card.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the weights, for the card.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Write a small folder that others use as --model: weights, code tables, numbers, a card.

    The held-out numbers are measured again on the weights as they are stored.

    Example: [cyan]pellucid release runs/speech -o speech-model --licence "CC BY 4.0"[/]
    """
    from pellucid.workflows.release import release as workflow

    released = workflow(run, out_, half=half, data=data, licence=licence, progress=not quiet)
    sizes = {path.name: path.stat().st_size for path in sorted(released.path.iterdir())}
    if json:
        print_json({"folder": str(released.path), "bytes": sizes})
        return
    table(("file", "kB"), [(name, f"{size / 1000:,.0f}") for name, size in sizes.items()])
    out.print(f"written to {released.path}", soft_wrap=True)


def _fidelity(item: dict[str, Any]) -> str:
    if "psnr" in item:
        return number(item["psnr"], "dB")
    known = [value for value in item["r2"].values() if value is not None]
    return number(statistics.median(known)) if known else "–"
