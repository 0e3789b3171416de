"""Originals, reconstructions, error maps and references, side by side on the same samples."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import RunError
from pellucid.report import pictures
from pellucid.report.contents import RunContents, mapping
from pellucid.report.page import Html, Section, fill
from pellucid.report.wording import capitalised, is_number, number, title

# Base64 characters spent on pictures; what does not fit stays in the run folder, and the page
# says how many samples that is. A picture longer than LONGEST pixels is reduced to it.
BUDGET = 3_600_000
LONGEST = 512
ERROR = "error"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One picture with its caption."""

    heading: str
    caption: str
    picture: pictures.Picture | None


@dataclasses.dataclass(frozen=True)
class Row:
    """One sample."""

    name: str
    cells: list[Cell]


def section(contents: RunContents) -> Section:
    """Show the stored reconstructions, as many samples as the page's size allows."""
    samples = _samples(contents)
    columns = _columns(mapping(contents.reconstructions), samples)
    loaded = [load(contents.path / "reconstructions", sample, columns) for sample in samples]
    headings = {column: _heading(column) for column in columns}
    end = pictures.scale_end([one[ERROR] for one in loaded if ERROR in one])
    rows = [
        lambda sample=sample, levels=levels: _row(sample, levels, headings, end)
        for sample, levels in zip(samples, loaded, strict=True)
    ]
    has_errors = any(ERROR in one for one in loaded)
    selection = str(mapping(contents.reconstructions).get("selection") or "")
    html = _fill(rows, len(columns), end if has_errors else 0, contents.path, selection)
    return Section("reconstructions", "Reconstructions", html)


def rows_side_by_side(runs: Mapping[str, RunContents]) -> Html:
    """Show the samples that every run reconstructed: the original, then each run and its error.

    Samples are the same when their originals' pixels are: crops of one photograph share a name.

    Args:
        runs: the runs by the names their columns get.
    """
    names = list(runs)
    loaded = {name: _by_pixels(run) for name, run in runs.items()}
    shared = [key for key in loaded[names[0]] if all(key in loaded[name] for name in names)]
    end = pictures.scale_end([loaded[name][key][1][ERROR] for key in shared for name in names])
    headings = {"original": "Original"}
    for name in names:
        headings |= {name: name, f"{name} {ERROR}": "Error"}

    def row(key: bytes) -> Row:
        sample, first = loaded[names[0]][key]
        levels = {"original": first["original"]}
        for name in names:
            levels[name] = loaded[name][key][1]["reconstruction"]
            levels[f"{name} {ERROR}"] = loaded[name][key][1][ERROR]
        return _row({"name": sample}, levels, headings, end)

    rows = [lambda key=key: row(key) for key in shared]
    return _fill(rows, len(headings), end, None)


def _fill(
    rows: Sequence[Callable[[], Row]],
    width: int,
    scale_end: int,
    run: Path | None,
    selection: str = "",
) -> Html:
    """Build rows until the page's budget for pictures is spent, at least one."""
    shown: list[Row] = []
    spent = 0
    for build in rows:
        row = build()
        spent += sum(len(cell.picture.uri) for cell in row.cells if cell.picture)
        if shown and spent > BUDGET:
            break
        shown.append(row)
    seen = [cell.picture for row in shown for cell in row.cells if cell.picture]
    return fill(
        "reconstructions.html.j2",
        rows=shown,
        width=width,
        total=len(rows),
        scale_end=scale_end,
        gradient=pictures.scale_gradient(),
        tiny=any(picture.tiny for picture in seen),
        reduced=any(max(picture.width, picture.height) > LONGEST for picture in seen),
        longest=LONGEST,
        selection=capitalised(selection),
        run=run,
    )


def _samples(contents: RunContents) -> list[Mapping[str, Any]]:
    samples = mapping(contents.reconstructions).get("samples")
    return [s for s in samples if isinstance(s, Mapping)] if isinstance(samples, list) else []


def _by_pixels(contents: RunContents) -> dict[bytes, tuple[str, dict[str, np.ndarray]]]:
    """Load originals, reconstructions and errors with their names, keyed by the original."""
    columns = ["original", "reconstruction"]
    found = {}
    for sample in _samples(contents):
        levels = load(contents.path / "reconstructions", sample, columns)
        if ERROR in levels:
            original = levels["original"]
            key = hashlib.sha256(f"{original.shape}".encode() + original.tobytes()).digest()
            found[key] = (str(sample.get("name", "")), levels)
    return found


def _columns(index: Mapping[str, Any], samples: list[Mapping[str, Any]]) -> list[str]:
    """Return the columns in order: original, reconstruction, error map, then references."""
    columns = index.get("columns")
    if not isinstance(columns, list):
        columns = list(dict.fromkeys(c for s in samples for c in mapping(s.get("files"))))
    columns = [str(column) for column in columns]
    if "original" in columns and "reconstruction" in columns:
        columns.insert(columns.index("reconstruction") + 1, ERROR)
    return columns


def _heading(column: str) -> str:
    return {ERROR: "Error", "mean": "Mean image"}.get(column) or title(column)


def load(folder: Path, sample: Mapping[str, Any], columns: list[str]) -> dict[str, np.ndarray]:
    """Read one sample's pictures; the error map's levels are computed from them."""
    files = mapping(sample.get("files"))
    levels = {}
    for column in columns:
        if not isinstance(files.get(column), str):
            continue
        path = folder / files[column]
        if not path.resolve().is_relative_to(folder.resolve()):
            continue  # an index may only name pictures of its own run
        try:
            levels[column] = pictures.read_levels(path)
        except RunError:
            continue  # its cell says that the picture is missing
    original, reconstruction = levels.get("original"), levels.get("reconstruction")
    if original is None or reconstruction is None or original.shape != reconstruction.shape:
        return levels
    return {**levels, ERROR: pictures.error_levels(original, reconstruction)}


def _row(
    sample: Mapping[str, Any],
    levels: Mapping[str, np.ndarray],
    headings: Mapping[str, str],
    end: int,
) -> Row:
    cells = []
    for column, heading in headings.items():
        picture, caption = None, ""
        if column in levels:
            shown = levels[column]
            if shown.ndim == 2:  # errors are one number per pixel, pictures have colours
                shown = pictures.error_map(shown, end)
            picture = pictures.inline(shown, longest=LONGEST)
            caption = _caption(sample, levels, column)
        cells.append(Cell(heading, caption, picture))
    return Row(str(sample.get("name", "")), cells)


def _caption(sample: Mapping[str, Any], levels: Mapping[str, np.ndarray], column: str) -> str:
    """Return the evaluation's own figures, or a PSNR from the pictures where it gave none."""
    if column == "original":
        return ""
    if levels[column].ndim == 2:
        return f"mean {number(float(levels[column].mean()), places=1)} levels"
    psnr, ssim = _figure(sample, "psnr", column), _figure(sample, "ssim", column)
    original = levels.get("original")
    if psnr is None and original is not None and original.shape == levels[column].shape:
        psnr = pictures.psnr(original, levels[column])
    if psnr is None:
        return ""
    parts = ["exact" if math.isinf(psnr) else f"{number(psnr, 'dB')} dB"]
    if ssim is not None:
        parts.append(f"SSIM {number(ssim, places=3)}")
    return " · ".join(parts)


def _figure(sample: Mapping[str, Any], metric: str, column: str) -> float | None:
    """Return what index.json says of one column; a bare number is the reconstruction's."""
    given = sample.get(metric)
    if isinstance(given, Mapping):
        given = given.get(column)
    elif column != "reconstruction":
        given = None
    return float(given) if is_number(given) and given is not None else None
