"""The entry point: one Typer application, readable errors, no traceback unless asked for."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Annotated

import typer

from pellucid.cli.console import err
from pellucid.errors import PellucidError

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


def main() -> None:
    """Run the command line; exit 1 for bad input and 2 for a misused command."""
    from pellucid.cli import apply, judge, learn, look  # noqa: F401 - they register commands

    if "--debug" in sys.argv:  # accepted anywhere on the line, like --json
        sys.argv.remove("--debug")
        os.environ["PELLUCID_DEBUG"] = "1"
    try:
        app()
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        _explain(error)
        sys.exit(1)


def _explain(error: Exception) -> None:
    if os.environ.get("PELLUCID_DEBUG"):
        traceback.print_exception(error)
        return
    if isinstance(error, PellucidError):
        message = str(error)
    elif isinstance(error, OSError):
        message = f"{error.strerror or error}\n  where: {error.filename or 'the operating system'}"
    else:
        message = f"unexpected {type(error).__name__}: {error}\n  hint: --debug shows where"
    if "--json" in sys.argv:
        print(json.dumps({"error": message}))
    err.print("[bold red]error:[/] ", end="")
    err.print(message, markup=False, highlight=False)
