"""`pellucid diagnose`: why a reconstruction is bad."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.app import app
from pellucid.cli.console import JsonFlag, QuietFlag, err, out
from pellucid.errors import PellucidError


@app.command()
def diagnose(
    subject: Annotated[
        str, typer.Argument(metavar="RUN | MODULE:FACTORY", help="A run, or a function's name.")
    ],
    data: Annotated[str | None, typer.Option("--data", help="Data for a factory's model.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of crops of --data: images and stacks.")
    ] = None,
    length: Annotated[
        int | None, typer.Option(help="Samples of crops of --data: waveforms.")
    ] = None,
    sample_rate: Annotated[
        float | None, typer.Option("--sample-rate", help="In hertz, of --data: waveforms.")
    ] = None,
    colour: Annotated[
        bool, typer.Option("--colour/--grayscale", help="How --data is read.")
    ] = True,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Prove findings by short interventions.")
    ] = False,
    goal: Annotated[
        str | None, typer.Option("--goal", help='What you hope for, e.g. "psnr>40".')
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Time to keep to.")] = 60,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Say why reconstructions are bad, with the numbers, and what to change.

    Examples:

    [cyan]pellucid diagnose runs/patch-vq-1 --confirm[/]

    [cyan]pellucid diagnose mymodels.vae:build --data photos/ --size 64[/]

    [cyan]pellucid diagnose mymodels.codec:build --data speech/ --length 16000[/]
    """
    from pellucid.cli.diagnosis_view import show
    from pellucid.workflows.diagnose import diagnose as diagnose_run
    from pellucid.workflows.diagnose import diagnose_factory
    from pellucid.workflows.report import report

    with err.status(f"diagnosing, at most about {seconds:g} s", spinner="dots") as status:
        if quiet:
            status.stop()
        if Path(subject).exists() or ":" not in subject:
            found = diagnose_run(subject, None, None, confirm, seconds, goal)
            page = report(subject)
        else:
            if data is None:
                raise PellucidError(
                    "a factory's model is diagnosed on data", expected="--data PATH"
                )
            page = None
            found = diagnose_factory(
                subject, data, size=size, channels=3 if colour else 1, length=length,
                sample_rate=sample_rate, confirm=confirm, budget_seconds=seconds, goal=goal,
            )  # fmt: skip
    if json:
        print(found.to_json())
        return
    show(found, out)
    if any(finding.asserted and finding.patch for finding in found.findings):
        out.print(f"apply the patch: pellucid treat {subject}", soft_wrap=True, highlight=False)
    if page is not None:
        out.print(f"page: {page}", soft_wrap=True)
