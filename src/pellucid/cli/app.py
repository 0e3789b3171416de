"""The Typer application that commands register with, and the options of `pellucid` itself."""

from __future__ import annotations

import os
from typing import Annotated

import typer

app = typer.Typer(
    name="pellucid",
    help="Train, diagnose and ship reconstruction models. Start with: [bold]pellucid demo[/]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        print(f"pellucid {version('pellucid')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Train, diagnose and ship reconstruction models."""
    del version
    if debug:
        os.environ["PELLUCID_DEBUG"] = "1"
