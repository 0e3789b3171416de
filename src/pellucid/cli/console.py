"""How the command line speaks: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
OutOption = Annotated[
    str | None, typer.Option("--out", "-o", help="Where to write; a sensible default is printed.")
]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]

out = Console()
err = Console(stderr=True)


def print_json(node: Any) -> None:
    """Write one JSON document to stdout, undecorated, so that programs can read it."""
    print(json.dumps(node, indent=2, ensure_ascii=False, allow_nan=False))


def facts(rows: Mapping[str, object], *, title: str | None = None) -> None:
    """Print a two-column list of facts."""
    table = Table(show_header=False, box=None, title=title, title_justify="left", pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, str(value))
    out.print(table)


def table(
    columns: Iterable[str], rows: Iterable[Iterable[object]], *, title: str | None = None
) -> None:
    """Print a table; the first column is text, the rest are right-aligned."""
    grid = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    out.print(grid)


def number(value: float | None, unit: str = "") -> str:
    """Format a number to four significant digits with its unit."""
    if value is None:
        return "–"
    text = f"{value:.4g}"
    return f"{text} {unit}".rstrip() if unit not in {"", "1"} else text


def metric(node: Mapping[str, Any]) -> str:
    """Format a metric of evaluation.json with its interval."""
    text = number(node["value"], node["unit"])
    if node.get("low") is None:
        return text
    return f"{text}  ({number(node['low'])} … {number(node['high'])})"


def signed_metric(node: Mapping[str, Any]) -> str:
    """Format a difference with its sign and its interval."""
    text = f"{node['value']:+.4g} {node['unit'] if node['unit'] != '1' else ''}".rstrip()
    if node.get("low") is None:
        return text
    return f"{text}  ({node['low']:+.4g} … {node['high']:+.4g})"
