"""The entry point: register the commands; readable errors, no traceback unless asked for."""

from __future__ import annotations

import json
import os
import sys
import traceback

from pellucid.cli import (  # noqa: F401 - they register their commands
    apply,
    codebooks,
    codec,
    cure,
    explain,
    extract,
    generation,
    judge,
    learn,
    look,
    probes,
    staged,
    sweeping,
)
from pellucid.cli.app import app
from pellucid.cli.console import err
from pellucid.errors import PellucidError


def main() -> None:
    """Run the command line; exit 1 for bad input and 2 for a misused command."""
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
    err.print(message, markup=False, highlight=False, soft_wrap=True)
