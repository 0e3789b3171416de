"""`pellucid latents`, and what is fitted on them afterwards."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.app import app
from pellucid.cli.console import JsonFlag, QuietFlag, facts, print_json
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
