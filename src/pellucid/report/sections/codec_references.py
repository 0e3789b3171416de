"""Codecs on the same clips: what they spend, what they reach, and by how much the run differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pellucid.report.charts import Series, line_chart
from pellucid.report.codec_standing import codec_standings, signed
from pellucid.report.contents import RunContents, mapping, measured, part
from pellucid.report.page import Html, Section, fill
from pellucid.report.wording import interval, number, places_for, title

COLUMNS = ("pesq", "stoi")
CURVES = ("pesq", "stoi")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One quality of one method: value, interval, and the run's lead over it."""

    text: str
    spread: str
    lead: str
    relation: str


@dataclasses.dataclass(frozen=True)
class Line:
    """One row of the table, printed."""

    name: str
    own: bool
    kbps: str
    payload: str
    cells: list[Cell]
    note: str


def section(contents: RunContents) -> Section:
    """Show rate–quality curves and the table of codecs."""
    metrics = mapping(contents.evaluated("metrics"))
    lines = [_line(contents, "This run", metrics, None)] if metrics else []
    known = {one.name: one for one in codec_standings(contents, "stoi")}
    known |= {one.name: one for one in codec_standings(contents, "pesq")}
    for name, node in mapping(contents.evaluated("references")).items():
        label = known[name].label if name in known else title(str(name))
        lines.append(_line(contents, label, mapping(node), str(name)))
    remarks = contents.evaluated("remarks")
    html = fill(
        "codec_references.html.j2",
        charts=[c for metric in CURVES if (c := _curve(contents, metric))],
        titles=[title(column) for column in COLUMNS],
        lines=lines,
        left_out=mapping(contents.evaluated("left_out")),
        remarks=remarks if isinstance(remarks, list) else [],
        run=contents.path,
    )
    return Section("references", "Rate and quality", html)


def _line(contents: RunContents, name: str, node: Mapping[str, Any], key: str | None) -> Line:
    own = key is None
    return Line(
        name=name,
        own=own,
        kbps=_rate(node, "file_kbps"),
        payload=_rate(node, "payload_kbps"),
        cells=[_cell(contents, node, key, column) for column in COLUMNS],
        note="" if own else str(node.get("note") or ""),
    )


def _cell(contents: RunContents, node: Mapping[str, Any], key: str | None, column: str) -> Cell:
    value = measured(node.get(column))
    if value is None:
        return Cell("—", "", "", "")
    places = places_for(value.value, value.low, value.high, value.unit)
    text = number(value.value, places=places)
    spread = interval(value.low, value.high, places=places)
    gap = measured(contents.evaluated("differences", key, column)) if key else None
    relation = ""
    if gap is not None and gap.low is not None and gap.high is not None:
        relation = "ahead" if gap.low > 0 else "behind" if gap.high < 0 else "level"
    return Cell(text, spread, signed(gap), relation)


def _rate(node: Mapping[str, Any], name: str) -> str:
    value = measured(node.get(name))
    return f"{value.value:.2f}" if value else "—"


def _curve(contents: RunContents, metric: str) -> Html | None:
    """Draw one quality over the kilobits per second of files: the run's levels, each codec."""
    points = contents.evaluated("rate_quality")
    curves = {"this run": points if isinstance(points, list) else []}
    for name, node in mapping(contents.evaluated("references")).items():
        curves.setdefault(title(str(name).split("-")[0]), []).append(node)
    series = []
    for name, nodes in curves.items():
        pairs = sorted(pair for node in nodes if (pair := _point(node, metric)))
        if pairs:
            x, y = zip(*pairs, strict=True)
            series.append(Series(name, x, y, colour=len(series), dots=True))
    if not series:
        return None
    return line_chart(
        f"{title(metric)} over bits",
        series,
        x_label="kb/s of files, headers included",
        y_label=title(metric),
        x_ends=(0, 1.05 * max(x for one in series for x in one.x)),
        note="Each dot of this run spends another number of residual levels of the same model."
        if len(curves["this run"]) > 1
        else "",
    )


def _point(node: Any, metric: str) -> tuple[float, float] | None:
    rate, value = measured(part(node, "file_kbps")), measured(part(node, metric))
    return (rate.value, value.value) if rate and value else None
