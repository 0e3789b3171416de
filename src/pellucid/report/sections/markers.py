"""Markers one by one: R² with its interval beside PCA's, and mosaics of held-out tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pellucid.errors import RunError
from pellucid.report import pictures
from pellucid.report.contents import RunContents, mapping, part
from pellucid.report.page import Section, fill
from pellucid.report.sections.marker_verdict import judged_on, label
from pellucid.report.wording import capitalised, interval, is_number, number, percent, title


@dataclasses.dataclass(frozen=True)
class Row:
    """One marker of the table."""

    name: str
    live: bool
    r2: str
    spread: str
    bar: float
    reference: str
    tick: float
    lead: str
    relation: str
    pearson: str
    gradient: str
    masked: str
    nonzero: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """One mosaic."""

    heading: str
    caption: str
    picture: pictures.Picture | None


def section(contents: RunContents) -> Section:
    """Show every fed marker, the best first, those too sparse to be judged last."""
    markers = contents.evaluated("markers")
    nodes = [mapping(node) for node in markers] if isinstance(markers, list) else []
    fair = _fairest(contents)
    nodes.sort(key=lambda n: (not n.get("live"), -float(n.get("r2") or 0)))
    rows = [_row(node, fair) for node in nodes]
    html = fill(
        "markers.html.j2",
        rows=rows,
        live=sum(row.live for row in rows),
        reference=label(fair) if fair else "",
        masked=any(row.masked for row in rows),
        gradient=any(row.gradient for row in rows),
        judged_on=judged_on(contents),
        mosaics=_mosaics(contents),
        selection=capitalised(str(mapping(contents.reconstructions).get("selection") or "")),
        judged=contents.evaluated("judged") or "values",
        remarks=contents.evaluated("remarks") or [],
        run=contents.path,
    )
    return Section("reconstructions", "Markers", html)


def _fairest(contents: RunContents) -> str:
    """Return the reference with as many numbers as the model: of patches where there is one."""
    fair = contents.evaluated("latent", "fair")
    if fair is not None:
        return str(fair)
    numbers = contents.evaluated("latent", "numbers")
    known = mapping(contents.evaluated("references"))
    return next((n for n in (f"patch-pca-{numbers}", f"pca-{numbers}") if n in known), "")


def _row(node: Mapping[str, Any], fair: str) -> Row:
    r2, low, high = (node.get(key) for key in ("r2", "r2_low", "r2_high"))
    reference = part(node, "references", fair)
    gap = r2 - reference if is_number(r2) and is_number(reference) else None
    return Row(
        name=str(node.get("name")),
        live=bool(node.get("live")),
        r2=number(r2, places=3),
        spread=interval(low, high, places=3),
        bar=_percent(r2),
        reference=number(reference, places=3) if is_number(reference) else "",
        tick=_percent(reference),
        lead=number(gap, places=3, signed=True) if gap is not None else "",
        relation="" if gap is None else "ahead" if gap > 0 else "behind",
        pearson=number(node.get("pearson"), places=3),
        gradient=number(node["gradient"], places=2) if is_number(node.get("gradient")) else "",
        masked=number(node["masked_r2"], places=3) if is_number(node.get("masked_r2")) else "",
        nonzero=percent(node["nonzero_held_out"]) if is_number(node.get("nonzero_held_out"))
        else "",
    )  # fmt: skip


def _percent(r2: Any) -> float:
    return round(100 * min(1.0, max(0.0, float(r2))), 1) if is_number(r2) else 0.0


def _mosaics(contents: RunContents) -> list[tuple[str, list[Cell]]]:
    index = mapping(contents.reconstructions)
    columns = [str(column) for column in index.get("columns") or []]
    folder = contents.path / "reconstructions"
    found = []
    for sample in index.get("samples") or []:
        files, cells = mapping(part(sample, "files")), []
        for column in columns:
            path = folder / str(files.get(column))
            picture = None
            if column in files and path.resolve().is_relative_to(folder.resolve()):
                try:
                    picture = pictures.inline(pictures.read_levels(path))
                except RunError:
                    picture = None
            r2 = part(sample, "r2", column)
            caption = (
                f"R² {number(r2, places=3)} on all {judged_on(contents)}" if is_number(r2) else ""
            )
            cells.append(Cell(_heading(column), caption, picture))
        found.append((str(part(sample, "name")), cells))
    return found


def _heading(column: str) -> str:
    linear = "pca" in column or column.endswith("-mean")
    return capitalised(label(column)) if linear else title(column)
