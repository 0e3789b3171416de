"""`pellucid sweep`: one key at several values, as a rate–distortion curve."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.app import app
from pellucid.cli.console import JsonFlag, OutOption, QuietFlag, err, metric, out, print_json, table
from pellucid.errors import RecipeError


@app.command()
def sweep(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE KEY=LOW..HIGH [KEY.PATH=VALUE]...",
            help="A recipe, the key that is swept, then overrides for every point.",
        ),
    ],
    points: Annotated[int, typer.Option(help="How many values.")] = 6,
    diagnose: Annotated[
        bool, typer.Option("--diagnose/--no-diagnose", help="Diagnose both ends.")
    ] = True,
    out_: OutOption = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Draw the rate–distortion curve of a recipe and pick its knee; the same command resumes.

    Example:
    [cyan]pellucid sweep mnist-vae bottleneck.weight=1e-6..1e-2 training.steps=500 -o runs/curve[/]
    """
    from pellucid.workflows.sweep import sweep as workflow

    recipe, span, overrides = _split(arguments)
    silent = quiet or json
    found = workflow(
        recipe,
        span,
        overrides=overrides,
        points=points,
        out=out_,
        diagnose_ends=diagnose,
        progress=not silent,
        say=lambda line: None if silent else err.print(line, markup=False, highlight=False),
    )
    if json:
        print_json(found.to_json())
        return
    rows = []
    for number, point in enumerate(found.points):
        linear = point["linear"]
        rows.append(
            (
                f"{point['value']:.3g}{'  ← knee' if number == found.knee else ''}",
                metric(point["psnr"]),
                "–" if point["kl"] is None else metric(point["kl"]),
                "–" if point["bits_per_dim"] is None else f"{point['bits_per_dim']:.3g}",
                "–" if linear is None else f"{linear['psnr']:.2f} dB, {linear['kl']:.4g} nats",
            )
        )
    key = span.partition("=")[0]
    table((key, "PSNR (95 %)", "KL (95 %)", "bits per dimension", "linear VAE"), rows)
    for warning in found.warnings:
        out.print(f"[yellow]note[/] {warning}")
    out.print(f"page: {found.page}", soft_wrap=True)


def _split(arguments: list[str]) -> tuple[str, str, list[str]]:
    plain = [text for text in arguments if "=" not in text]
    spans = [text for text in arguments if ".." in text.partition("=")[2]]
    rest = [text for text in arguments if "=" in text and text not in spans]
    if len(plain) != 1 or len(spans) != 1:
        raise RecipeError(
            "a sweep needs one recipe and one key with a range",
            expected="pellucid sweep RECIPE KEY=LOW..HIGH [KEY.PATH=VALUE] …",
            found=" ".join(arguments),
        )
    return plain[0], spans[0], rest
