"""The command line: parse, call a workflow, print."""

from pellucid.cli.main import main

__all__ = ["main"]
