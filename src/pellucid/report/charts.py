"""Line charts as inline SVG: axes with ticks and units, a legend, gaps where values are missing.

Colours are CSS classes (`s0` … `s5`), so that a page follows dark mode and print. The page's
script reads the drawn paths for its hover read-out; without it the chart is complete.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

from pellucid.report.axes import Axis, axis_over, exact_axis, tick_labels
from pellucid.report.page import Html, fill
from pellucid.report.wording import is_number

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 16, 40
MOST_POINTS = 240
COLOURS = 6

Point = tuple[float, float | None]


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a chart.

    Args:
        name: its entry in the legend and the read-out.
        x: positions, ascending.
        y: values; None or a non-finite number leaves a gap.
        colour: an index into the page's six colours; from 6 on they return, dashed.
        dots: draw each point (few, important values).
        faint: draw thin and light (many, noisy values).
        filled: fill the area down to the axis.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: int = 0
    dots: bool = False
    faint: bool = False
    filled: bool = False


@dataclasses.dataclass(frozen=True)
class Rule:
    """A straight reference line with a label: at one x (`vertical`) or at one y."""

    at: float
    label: str
    vertical: bool = False


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    log: bool = False,
    zero: bool = False,
    x_ends: Sequence[float] = (),
    rules: Sequence[Rule] = (),
    note: str = "",
) -> Html:
    """Draw series over one pair of axes, as a figure with title, legend and note.

    Args:
        title: what is shown; also the text a screen reader hears.
        x_label: quantity and unit of x; likewise `y_label`.
        log: logarithmic y axis; values ≤ 0 become gaps.
        zero: the y axis includes zero.
        x_ends: further positions the x axis must hold, so that charts share one axis.
        rules: reference lines.
        note: small print under the chart.
    """
    thinned = [_thin(one, log) for one in series]
    values = [v for t in thinned for v in (*t.low, *t.high) if v is not None]
    values += [rule.at for rule in rules if not rule.vertical]
    x_axis = exact_axis([*x_ends, *(x for one in series for x in one.x)], LEFT, WIDTH - RIGHT)
    y_axis = axis_over(values, HEIGHT - BOTTOM, TOP, log=log, zero=zero)

    parts = [_frame(x_axis, y_axis, x_label, y_label)]
    parts += [_rule(rule, x_axis, y_axis) for rule in rules]
    for one, thin in zip(series, thinned, strict=True):
        parts.append(_band(one, thin, x_axis, y_axis))
        parts.append(_line(one, thin, x_axis, y_axis))
    svg = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}"'
        f' data-x="{_scale(x_axis)}" data-y="{_scale(y_axis)}"'
        f' data-x-label="{html.escape(x_label)}">{"".join(parts)}</svg>'
    )
    left_out = sum(not is_number(v) for one in series for v in one.y)
    if left_out:
        noun = "value" if left_out == 1 else "values"
        note = f"{note} {left_out} non-finite {noun} left as gaps.".strip()
    return fill("chart.html.j2", title=title, series=series, svg=Html(svg), note=note)


@dataclasses.dataclass(frozen=True)
class _Thinned:
    """A series in at most MOST_POINTS buckets: mean, lowest and highest value of each."""

    x: list[float]
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]


def _thin(one: Series, log: bool) -> _Thinned:
    points: list[Point] = [
        (float(x), float(y) if is_number(y) and y is not None and (y > 0 or not log) else None)
        for x, y in zip(one.x, one.y, strict=True)
    ]
    size = -(-len(points) // MOST_POINTS)
    thinned = _Thinned([], [], [], [])
    for start in range(0, len(points), max(1, size)):
        bucket = points[start : start + max(1, size)]
        values = [y for _, y in bucket if y is not None]
        thinned.x.append(sum(x for x, _ in bucket) / len(bucket) if size > 1 else bucket[0][0])
        thinned.mean.append(sum(values) / len(values) if values else None)
        thinned.low.append(min(values, default=None))
        thinned.high.append(max(values, default=None))
    return thinned


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    ticks = y_axis.ticks(5)
    for tick, label in zip(ticks, tick_labels(ticks), strict=True):
        y = y_axis(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 3.6:.1f}" {_END}>{label}</text>')
    ticks = x_axis.ticks(6)
    for tick, label in zip(ticks, tick_labels(ticks), strict=True):
        x = x_axis(tick)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
            f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" {_MIDDLE}>{label}</text>'
        )
    middle = (TOP + bottom) / 2
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
        f'<text class="label" x="{right}" y="{HEIGHT - 6}" {_END}>{html.escape(x_label)}</text>'
        f'<text class="label" transform="translate(13 {middle}) rotate(-90)" {_MIDDLE}>'
        f"{html.escape(y_label)}</text>"
    )
    return "".join(parts)


def _rule(rule: Rule, x_axis: Axis, y_axis: Axis) -> str:
    label = html.escape(rule.label)
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    if not rule.vertical:
        y = y_axis(rule.at)
        place = y - 4 if y > TOP + 14 else y + 12
        return (
            f'<line class="rule" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="note" x="{right - 2}" y="{place:.1f}" {_END}>{label}</text>'
        )
    x = x_axis(rule.at)
    anchor = _END if x > right - 40 else "" if x < LEFT + 40 else _MIDDLE
    return (
        f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'
        f'<text class="note" x="{x:.1f}" y="{TOP - 5}" {anchor}>{label}</text>'
    )


def _line(one: Series, thin: _Thinned, x_axis: Axis, y_axis: Axis) -> str:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(thin.x, thin.mean, strict=True):
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x_axis(x), y_axis(y)))
    runs = [run for run in runs if run]
    path = " ".join("M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in run) for run in runs)
    parts = []
    if one.filled:
        base = HEIGHT - BOTTOM
        area = " ".join(
            f"M{run[0][0]:.2f},{base}L"
            + "L".join(f"{x:.2f},{y:.2f}" for x, y in run)
            + f"L{run[-1][0]:.2f},{base}Z"
            for run in runs
        )
        parts.append(f'<path class="area s{one.colour % COLOURS}" d="{area}"/>')
    kind = "line faint" if one.faint else "line"
    kind += " dashed" if one.colour >= COLOURS else ""
    parts.append(
        f'<path class="{kind} s{one.colour % COLOURS}" data-name="{html.escape(one.name)}"'
        f' d="{path}"><title>{html.escape(one.name)}</title></path>'
    )
    # A lone point draws no line, so it always gets its dot.
    dots = [p for run in runs for p in run if (one.dots and len(thin.x) <= 40) or len(run) == 1]
    parts += [
        f'<circle class="dot s{one.colour % COLOURS}" cx="{x:.2f}" cy="{y:.2f}" r="2.6"/>'
        for x, y in dots
    ]
    return "".join(parts)


def _band(one: Series, thin: _Thinned, x_axis: Axis, y_axis: Axis) -> str:
    """Draw what thinning hid: the span from the lowest to the highest value of each bucket."""
    if len(thin.x) == len(one.x):
        return ""
    spans = [
        (x_axis(x), y_axis(low), y_axis(high))
        for x, low, high in zip(thin.x, thin.low, thin.high, strict=True)
        if low is not None and high is not None
    ]
    if not spans:
        return ""
    upper = "L".join(f"{x:.1f},{high:.1f}" for x, _, high in spans)
    lower = "L".join(f"{x:.1f},{low:.1f}" for x, low, _ in reversed(spans))
    return f'<path class="band s{one.colour % COLOURS}" d="M{upper}L{lower}Z"/>'


def _scale(axis: Axis) -> str:
    return f"{axis.start},{axis.end},{axis.low:.8g},{axis.high:.8g},{int(axis.log)}"


_END = 'text-anchor="end"'
_MIDDLE = 'text-anchor="middle"'
