"""Symmetry: whether latents notice how a tile lies, and what the permuter does about it."""

from __future__ import annotations

from pellucid.report.charts import Series, line_chart
from pellucid.report.contents import RunContents, mapping
from pellucid.report.page import Html, Section, fill
from pellucid.report.wording import finite, is_number, number

_EXACT = 1e-4


def section(contents: RunContents) -> Section:
    """Show invariance, matching, errors by orientation and by position."""
    node = mapping(contents.evaluated("symmetry"))
    html = fill(
        "symmetry.html.j2",
        measured=bool(node),
        words=_words(node) if node else "",
        rows=_rows(node),
        elements=_elements(node),
        grid=_grid(node),
        charts=_charts(contents),
        run=contents.path,
    )
    return Section("symmetry", "Symmetry", html)


def _words(node) -> str:
    error = node.get("invariance_error")
    what = {"dihedral": "turned or mirrored", "nodes": "cut up and laid out in another order"}
    group = what.get(str(node.get("group")), "moved")
    if not is_number(error):
        return ""
    moved = f"When a tile is {group}, its latents move by {number(100 * error, places=3)} %"
    if not node.get("promised"):
        return f"{moved}. No permuter promises that they would not."
    return f"{moved}: " + (
        "exactly as the permuter promises." if error < _EXACT else "they should not move at all."
    )


def _rows(node) -> list[tuple[str, str, str]]:
    """Return (name, value, what it means)."""
    meanings = {
        "invariance_error": "‖μ(g·x) − μ(x)‖ / ‖μ(x)‖, pooled over samples and elements",
        "invariance_worst": "the same, of the worst sample and element",
        "equivariance_error": "‖x̂(g·x) − g·x̂(x)‖ / ‖x̂(x)‖; only tiles that are their own mirror "
        "image, empty ones say, keep it from 0",
        "error_before": "FVU of the canonical reconstruction against the input as it lies",
        "error_after": "FVU once it is put back into the input's order",
        "error_best": "FVU of the best of its eight orientations, by an oracle that sees the input",
        "pose_bits": "side information per tile, in bits",
    }
    rows = [
        (key.replace("_", " "), f"{node[key]:.3g}", words)
        for key, words in meanings.items()
        if is_number(node.get(key))
    ]
    permuter, active = mapping(node.get("permuter")), mapping(node.get("active"))
    if permuter:
        rows.append(
            (
                "permuter entropy",
                f"{permuter.get('entropy'):.3g}",
                "of the soft choice, 0 decided … 1 undecided",
            )
        )
        rows.append(
            (
                "soft − hard error",
                f"{permuter.get('soft_minus_hard'):.3g}",
                "FVU with the soft choice minus FVU with the hard one",
            )
        )
    if active:
        rows.append(
            (
                "active units",
                f"{active.get('units')} of {active.get('of')}",
                f"the linear VAE of this weight would use {active.get('closed_form')}",
            )
        )
    return rows


def _elements(node) -> list[tuple[str, str]]:
    found = mapping(node.get("by_element")).items()
    return [(str(name), f"{value:.4f}") for name, value in found if is_number(value)]


def _grid(node) -> list[list[tuple[str, int]]]:
    """Return the error per position as text and as a shade from 0 to 100."""
    rows = node.get("by_position")
    rows = rows if isinstance(rows, list) else []
    values = [v for row in rows for v in finite(row)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = max(high - low, 1e-12)
    return [[(f"{v:.3f}", round(100 * (v - low) / span)) for v in finite(row)] for row in rows]


def _charts(contents: RunContents) -> list[Html]:
    """Draw the permuter's entropy and soft-hard gap over training, where it learns."""
    charts = []
    for name, title in (
        ("bottleneck.entropy", "Permuter entropy"),
        ("bottleneck.soft_hard_gap", "Distance of the soft from the hard arrangement"),
    ):
        lines = [
            (line["step"], line["values"][name])
            for line in contents.lines
            if line.get("split") == "train" and is_number(line["values"].get(name))
        ]
        if len(lines) > 2:
            steps, values = zip(*lines, strict=True)
            charts.append(
                line_chart(
                    title,
                    [Series(title, list(steps), list(values))],
                    x_label="step",
                    y_label="share",
                    zero=True,
                )
            )
    return charts
