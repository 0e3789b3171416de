"""`pellucid reconstruct` and `release`: a model at work, and on its way to others."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.app import app
from pellucid.cli.console import JsonFlag, OutOption, QuietFlag, number, out, print_json, table
from pellucid.cli.judge import RunArgument


@app.command()
def reconstruct(
    run: RunArgument,
    path: Annotated[str, typer.Argument(help="An image or a folder of images.")],
    out_: OutOption = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Send images of any size through a model and write what comes back as PNG.

    Example: [cyan]pellucid reconstruct runs/patch-vq-1 photos/ -o rebuilt/[/]
    """
    from pellucid.workflows.reconstruct import reconstruct as workflow

    result = workflow(run, path, out=out_, progress=not quiet)
    if json:
        print_json(result)
        return
    rows = [
        (item["name"], f"{item['width']}×{item['height']}", number(item["psnr"], "dB"))
        for item in result["images"][:20]
    ]
    table(("image", "size", "PSNR"), rows)
    if len(result["images"]) > 20:
        out.print(f"… and {len(result['images']) - 20} more")
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
