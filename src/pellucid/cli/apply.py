"""`pellucid reconstruct`: a user's own files through a model."""

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
