"""Clips to listen to: original, reconstruction and codecs, each with its spectrogram."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import RunError
from pellucid.report import sounds
from pellucid.report.contents import RunContents, mapping, part
from pellucid.report.page import Html, Section, fill
from pellucid.report.pictures import Picture, scale_gradient
from pellucid.report.wording import capitalised, is_number, number, title

SECONDS = 5.0
"""Longest excerpt on the page; whole clips stay in the run folder."""
MOST_CLIPS = 8
# Base64 characters spent on sound and spectrograms.
BUDGET = 8_000_000
_METRICS = ("pesq", "stoi")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One column of one clip."""

    heading: str
    caption: str
    picture: Picture | None
    sound: str


@dataclasses.dataclass(frozen=True)
class Row:
    """One clip."""

    name: str
    cells: list[Cell]


def section(contents: RunContents) -> Section:
    """Show the stored clips, as many as the page's size allows."""
    index = mapping(contents.reconstructions)
    columns = [str(column) for column in index.get("columns") or []]
    samples = [s for s in index.get("samples") or [] if isinstance(s, Mapping)]
    folder = contents.path / "reconstructions"
    headings = {column: _heading(column) for column in columns}
    rows = [
        lambda sample=sample: _row(sample, _waves(folder, sample, columns), headings)
        for sample in samples
    ]
    selection = capitalised(str(index.get("selection") or ""))
    html = _fill(rows, len(columns), contents.path, selection)
    return Section("reconstructions", "Listen", html)


def clips_side_by_side(runs: Mapping[str, RunContents]) -> Html:
    """Show the clips that every run reconstructed: the original, then each run.

    Args:
        runs: the runs by the names their columns get.
    """
    names = list(runs)
    by_digest = {name: _by_digest(run) for name, run in runs.items()}
    shared = [key for key in by_digest[names[0]] if all(key in by_digest[n] for n in names)]
    headings = {"original": "Original", **{name: name for name in names}}

    def row(key: str) -> Row:
        waves, values = {}, {metric: {} for metric in _METRICS}
        for name in names:
            sample = by_digest[name][key]
            found = _waves(
                runs[name].path / "reconstructions", sample, ["original", "reconstruction"]
            )
            if "original" in found:
                waves["original"] = found["original"]
            if "reconstruction" in found:
                waves[name] = found["reconstruction"]
            for metric in _METRICS:
                values[metric][name] = part(sample, metric, "reconstruction")
        return _row({"name": by_digest[names[0]][key].get("name"), **values}, waves, headings)

    return _fill([lambda key=key: row(key) for key in shared], len(headings), None, "")


Wave = tuple[np.ndarray, int]


def _fill(rows: Sequence[Callable[[], Row]], width: int, run: Path | None, selection: str) -> Html:
    """Build rows until the page's budget is spent, at least one."""
    shown: list[Row] = []
    spent = 0
    for build in rows[:MOST_CLIPS]:
        row = build()
        spent += sum(len(c.sound) + len(c.picture.uri) for c in row.cells if c.picture)
        if shown and spent > BUDGET:
            break
        shown.append(row)
    return fill(
        "listening.html.j2",
        rows=shown,
        width=width,
        total=len(rows),
        seconds=number(SECONDS, places=0),
        range_db=number(sounds.RANGE_DB, places=0),
        gradient=scale_gradient(),
        selection=selection,
        run=run,
    )


def _waves(folder: Path, sample: Mapping[str, Any], columns: list[str]) -> dict[str, Wave]:
    """Read the clips of one sample; what is missing is left out and its cell says so."""
    files = mapping(sample.get("files"))
    waves = {}
    for column in columns:
        path = folder / str(files.get(column))
        if column not in files or not path.resolve().is_relative_to(folder.resolve()):
            continue  # an index may only name clips of its own run
        try:
            waves[column] = sounds.read_samples(path)
        except RunError:
            continue
    return waves


def _by_digest(contents: RunContents) -> dict[str, Mapping[str, Any]]:
    samples = mapping(contents.reconstructions).get("samples") or []
    return {str(s["digest"]): s for s in samples if isinstance(s, Mapping) and s.get("digest")}


def _row(sample: Mapping[str, Any], waves: Mapping[str, Wave], headings: Mapping[str, str]) -> Row:
    """Build one clip's cells: the same excerpt and the same scale of colours for every column."""
    first = waves.get("original") or next(iter(waves.values()), None)
    cells = []
    where, loudest = slice(0, 0), 0.0
    if first is not None:
        where = sounds.excerpt(*first, SECONDS)
        loudest = float(sounds.log_spectrum(first[0][where], first[1]).max())
    for column, heading in headings.items():
        if column not in waves:
            cells.append(Cell(heading, "", None, ""))
            continue
        samples_T, rate = waves[column]
        heard = samples_T[where]
        picture = sounds.spectrogram(sounds.log_spectrum(heard, rate), loudest)
        cells.append(
            Cell(heading, _caption(sample, column), picture, sounds.audio_uri(heard, rate))
        )
    seconds = sample.get("seconds")
    length = f" · {number(seconds, places=1)} s" if is_number(seconds) else ""
    return Row(f"{sample.get('name', '')}{length}", cells)


def _caption(sample: Mapping[str, Any], column: str) -> str:
    found = []
    for metric in _METRICS:
        value = part(sample, metric, column)
        if is_number(value):
            found.append(f"{title(metric)} {number(value, places=2)}")
    return " · ".join(found)


def _heading(column: str) -> str:
    """Return a column in words: `opus-6` → Opus, 6 kb/s asked."""
    codec, _, setting = column.partition("-")
    asked = {"opus": f"{setting} kb/s asked", "codec2": f"{setting} b/s"}
    return f"{title(codec)}, {asked.get(codec, setting)}" if setting else title(column)
