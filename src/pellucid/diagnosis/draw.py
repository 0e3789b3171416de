"""Draw a Plot as inline SVG: no script, nothing fetched, readable by screen readers and in print.

What cannot be drawn is left out, never guessed: NaN and infinity are gaps, and zero on a
logarithmic axis is a gap in a line and the figure 0 under a bar.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from pellucid.diagnosis.axis import Axis, axis_over
from pellucid.diagnosis.evidence import escaped
from pellucid.diagnosis.plot import Plot, Series

WIDTH, HEIGHT = 480, 300
_LEFT, _RIGHT, _BOTTOM, _TITLE, _LEGEND_ROW = 66, 14, 46, 26, 17
_INK, _SOFT, _HAIR, _GREY = "#15212b", "#566573", "#e3e8ec", "#4f5b66"
_WIDEST_BAR = 60.0
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0568a", "#b98300", "#6a5acd")
_DASHES = ("6 4", "2 3", "9 3 2 3")
_LETTER = 6.1
"""Average width of a letter at 11 px: SVG text cannot be measured without a browser."""


def svg(plot: Plot) -> str:
    """Return one `<svg>` element, 480 × 300 units, that scales with the page."""
    legend, rows = _legend(plot.series)
    top = _TITLE + rows * _LEGEND_ROW + 6
    frame = (_LEFT, top, WIDTH - _RIGHT, HEIGHT - _BOTTOM)
    title = escaped(plot.title)
    described = escaped(_description(plot))
    shapes = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="17" font-size="13" font-weight="600">{title}</text>',
        *legend,
    ]
    x_axis, y_axis = _axes(plot)
    if x_axis is None or y_axis is None:
        middle = (frame[1] + frame[3]) / 2
        shapes.append(
            f'<text x="{WIDTH / 2}" y="{middle:.0f}" text-anchor="middle" fill="{_SOFT}">'
            "no finite numbers to draw</text>"
        )
    else:
        shapes += [
            *_grid(plot, x_axis, y_axis, frame),
            *_marks(plot, x_axis, y_axis, frame),
        ]
    return (
        f'<svg class="pld-plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{title}: {described}" font-family="system-ui,sans-serif" font-size="11" '
        f'fill="{_INK}" xmlns="http://www.w3.org/2000/svg"><title>{title}</title>'
        f"<desc>{described}</desc>{''.join(shapes)}</svg>"
    )


# --- axes -----------------------------------------------------------------------------------------


def _axes(plot: Plot) -> tuple[Axis | None, Axis | None]:
    """Fit both axes to every finite number, bars down to zero."""
    xs = [x for s in plot.series for x in s.x]
    ys = [y for s in plot.series for y in s.y]
    if plot.kind == "bars":
        half = 0.5 * _spacing(plot)
        own = [x for s in plot.series if not s.reference for x in s.x] or xs
        finite = [x for x in own if math.isfinite(x)]
        if finite:
            xs = [min(finite) - half, max(finite) + half]
    return (
        axis_over(xs, log=plot.x_log and plot.kind != "bars", room=plot.kind == "points"),
        axis_over(ys, log=plot.y_log, room=True, zero=plot.kind == "bars"),
    )


def _grid(plot: Plot, x_axis: Axis, y_axis: Axis, frame: tuple[int, int, int, int]) -> list[str]:
    """Draw the ticks, their labels and the names of the axes."""
    left, top, right, bottom = frame
    shapes = []
    for value, label in y_axis.ticks(5):
        y = bottom - y_axis.place(value) * (bottom - top)
        shapes.append(
            f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_HAIR}"/>'
            f'<text x="{left - 7}" y="{y + 4:.1f}" text-anchor="end" fill="{_SOFT}">{label}</text>'
        )
    names = [(float(i), escaped(_short(t, plot))) for i, t in enumerate(plot.ticks)]
    for value, label in names or x_axis.ticks(6):
        x = left + x_axis.place(value) * (right - left)
        if not left - 1 <= x <= right + 1:
            continue
        stroke = "" if names else f'<path d="M{x:.1f} {bottom}v4" stroke="{_GREY}"/>'
        shapes.append(
            f'{stroke}<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" '
            f'fill="{_SOFT}">{label}</text>'
        )
    middle = (top + bottom) / 2
    shapes.append(
        f'<path d="M{left} {bottom}H{right}" stroke="{_GREY}"/>'
        f'<text x="{(left + right) / 2:.0f}" y="{HEIGHT - 9}" text-anchor="middle">'
        f"{escaped(plot.x_label)}</text>"
        f'<text transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escaped(plot.y_label)}</text>"
    )
    return shapes


def _short(name: str, plot: Plot) -> str:
    """Cut a tick's name to the room it has."""
    room = int((WIDTH - _LEFT - _RIGHT) / max(1, len(plot.ticks)) / _LETTER)
    return name if len(name) <= room else f"{name[: max(1, room - 1)]}…"


# --- marks ----------------------------------------------------------------------------------------


def _marks(plot: Plot, x_axis: Axis, y_axis: Axis, frame: tuple[int, int, int, int]) -> list[str]:
    """Draw the series, references last so that they stay visible."""
    own = [s for s in plot.series if not s.reference]
    shapes: list[str] = []
    for index, series in enumerate(own):
        colour = _COLOURS[index % len(_COLOURS)]
        if plot.kind == "bars":
            width = 0.8 * _spacing(plot) / max(1, len(own))
            shift = (index - (len(own) - 1) / 2) * width
            shapes += _bars(series, x_axis, y_axis, frame, colour, width, shift)
        elif plot.kind == "points":
            shapes += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}" fill-opacity=".55"/>'
                for run in _runs(series, x_axis, y_axis, frame)
                for x, y in run
            ]
        else:
            shapes += _line(series, x_axis, y_axis, frame, f'stroke="{colour}" stroke-width="1.8"')
    for index, series in enumerate(s for s in plot.series if s.reference):
        dash = _DASHES[index % len(_DASHES)]
        style = f'stroke="{_GREY}" stroke-width="1.6" stroke-dasharray="{dash}"'
        shapes += _line(series, x_axis, y_axis, frame, style)
    return shapes


def _bars(
    series: Series,
    x_axis: Axis,
    y_axis: Axis,
    frame: tuple[int, int, int, int],
    colour: str,
    width: float,
    shift: float,
) -> list[str]:
    left, top, right, bottom = frame
    base = bottom - y_axis.place(y_axis.base) * (bottom - top)
    room = width / (x_axis.high - x_axis.low) * (right - left)
    wide = min(max(0.7, room - 0.6), _WIDEST_BAR)
    shapes = []
    for value, height in zip(series.x, series.y, strict=True):
        if not math.isfinite(value) or not math.isfinite(height):
            continue
        x = left + x_axis.place(value + shift) * (right - left) - wide / 2
        if not y_axis.holds(height):
            if wide > 6:  # zero on a logarithmic axis
                shapes.append(
                    f'<text x="{x + wide / 2:.1f}" y="{bottom - 4}" text-anchor="middle" '
                    f'fill="{colour}">0</text>'
                )
            continue
        y = bottom - y_axis.place(height) * (bottom - top)
        shapes.append(
            f'<rect x="{x:.1f}" y="{min(y, base):.1f}" width="{wide:.1f}" '
            f'height="{max(abs(base - y), 0.5):.1f}" fill="{colour}" fill-opacity=".85">'
            f"<title>{height:.4g}</title></rect>"
        )
    return shapes


def _line(
    series: Series, x_axis: Axis, y_axis: Axis, frame: tuple[int, int, int, int], style: str
) -> list[str]:
    """Draw a line with gaps; a lone point becomes a dot."""
    shapes = []
    for run in _runs(series, x_axis, y_axis, frame):
        if len(run) == 1:
            x, y = run[0]
            shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="none" {style}/>')
        else:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            shapes.append(f'<polyline points="{points}" fill="none" {style}/>')
    return shapes


def _runs(
    series: Series, x_axis: Axis, y_axis: Axis, frame: tuple[int, int, int, int]
) -> list[list[tuple[float, float]]]:
    """Return stretches of drawable points in units of the picture."""
    left, top, right, bottom = frame
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(series.x, series.y, strict=True):
        if x_axis.holds(x) and y_axis.holds(y):
            across, up = x_axis.place(x), y_axis.place(y)
            runs[-1].append((left + across * (right - left), bottom - up * (bottom - top)))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _spacing(plot: Plot) -> float:
    """Return the distance between neighbouring bars."""
    own = {x for s in plot.series if not s.reference for x in s.x if math.isfinite(x)}
    ordered = sorted(own)
    gaps = [b - a for a, b in itertools.pairwise(ordered) if b > a]
    return min(gaps, default=1.0)


# --- words ----------------------------------------------------------------------------------------


def _legend(series: Sequence[Series]) -> tuple[list[str], int]:
    """Return the legend's shapes and how many rows they take."""
    shapes, x, row = [], float(_LEFT), 0
    own = dashed = 0
    for one in series:
        colour = _GREY if one.reference else _COLOURS[own % len(_COLOURS)]
        dash = f' stroke-dasharray="{_DASHES[dashed % len(_DASHES)]}"' if one.reference else ""
        own, dashed = own + (not one.reference), dashed + one.reference
        if not one.name:
            continue
        width = 26 + _LETTER * len(one.name) + 14
        if x > _LEFT and x + width > WIDTH:
            x, row = float(_LEFT), row + 1
        y = _TITLE + row * _LEGEND_ROW + 8
        shapes.append(
            f'<path d="M{x:.0f} {y}h20" stroke="{colour}" '
            f'stroke-width="{2 if one.reference else 4}"{dash}/>'
            f'<text x="{x + 26:.0f}" y="{y + 4}" fill="{_SOFT}">{escaped(one.name)}</text>'
        )
        x += width
    return shapes, row + 1 if shapes else 0


def _description(plot: Plot) -> str:
    """Say in words what a reader who cannot see the picture needs."""
    parts = [f"{plot.y_label} against {plot.x_label}"]
    for one in plot.series:
        finite = [y for y in one.y if math.isfinite(y)]
        name = one.name or "values"
        parts.append(
            f"{name} from {min(finite):.3g} to {max(finite):.3g}"
            if finite
            else f"{name}: no finite value"
        )
    return "; ".join(parts)
