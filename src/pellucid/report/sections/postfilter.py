"""Postfilter: what each strength of the filter behind the decoder costs and buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.report.charts import Rule, Series, line_chart
from pellucid.report.contents import RunContents, mapping
from pellucid.report.page import Html, Section, fill
from pellucid.report.wording import is_number, number, title

COLUMNS = {
    "psnr": 2,
    "ssim": 3,
    "perceptual": 4,
    "sharpness": 3,
    "coherence": 3,
    "detail": 3,
}
"""What is shown of every strength, and with how many decimals."""


def section(contents: RunContents) -> Section:
    """Draw the trade-off over strengths, beside the decoder's own output."""
    node = mapping(contents.postfilter)
    points = _points(node)
    before = mapping(node.get("before"))
    html = fill(
        "postfilter.html.j2",
        fitted=bool(points),
        words=_words(node, points) if points else "",
        charts=_charts(node, points, before) if points else [],
        columns=[title(name) for name in COLUMNS],
        rows=_rows(points, before, node.get("strength")),
        run=contents.path,
    )
    return Section("postfilter", "Postfilter", html)


def _points(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = node.get("points")
    found = [mapping(point) for point in listed] if isinstance(listed, list) else []
    whole = [p for p in found if all(is_number(p.get(k)) for k in ("strength", *COLUMNS))]
    return sorted(whole, key=lambda point: point["strength"])


def _words(node: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str:
    before = mapping(node.get("before"))
    chosen = next((p for p in points if p["strength"] == node.get("strength")), None)
    if chosen is None or not all(is_number(before.get(name)) for name in COLUMNS):
        return ""
    change = chosen["psnr"] - before["psnr"]
    return (
        f"A linear filter behind the decoder, at strength {chosen['strength']:g}: around half "
        f"Nyquist {number(before['sharpness'], places=2)} → {number(chosen['sharpness'], places=2)}"
        f" of the power of x, coherence {number(before['coherence'], places=3)} → "
        f"{number(chosen['coherence'], places=3)}, perceptual distance "
        f"{number(before['perceptual'], places=4)} → {number(chosen['perceptual'], places=4)}, "
        f"PSNR {number(change, places=2, signed=True)} dB, on {node.get('samples')} validation "
        "images. Strength 0 is the filter of least squared error, 1 the one that makes the power "
        "of every frequency whole."
    )


def _charts(
    node: Mapping[str, Any], points: Sequence[Mapping[str, Any]], before: Mapping[str, Any]
) -> list[Html]:
    plane = sorted((p["psnr"], p["perceptual"], p["strength"]) for p in points)
    series = [Series("strength 1 … 0", [p[0] for p in plane], [p[1] for p in plane], 0, dots=True)]
    if is_number(before.get("psnr")) and is_number(before.get("perceptual")):
        own = Series("the decoder's own", [before["psnr"]], [before["perceptual"]], 1, dots=True)
        series.append(own)
    strengths = [point["strength"] for point in points]
    charts = [
        line_chart(
            "Distortion and perception",
            series,
            x_label="PSNR, dB (right is nearer)",
            y_label="perceptual distance (down is better)",
        ),
        line_chart(
            "Around half Nyquist",
            [
                Series(title(name), strengths, [p[name] for p in points], colour, dots=True)
                for colour, name in enumerate(("sharpness", "coherence", "detail"))
            ],
            x_label="strength",
            y_label="share of x",
            zero=True,
            rules=[Rule(1.0, "faithful")],
        ),
    ]
    frequency, gain = node.get("frequency"), node.get("gain")
    if isinstance(frequency, list) and isinstance(gain, list) and len(frequency) == len(gain):
        charts.append(
            line_chart(
                "Gain of strength 1",
                [Series("gain", frequency, gain)],
                x_label="spatial frequency, cycles per pixel",
                y_label="amplitude",
                zero=True,
                rules=[Rule(1.0, "unchanged")],
            )
        )
    return charts


def _rows(
    points: Sequence[Mapping[str, Any]], before: Mapping[str, Any], chosen: object
) -> list[tuple[str, list[str], bool]]:
    def cells(point: Mapping[str, Any]) -> list[str]:
        return [number(point.get(name), places=places) for name, places in COLUMNS.items()]

    rows = [("the decoder's own", cells(before), False)] if before else []
    for point in points:
        own = point["strength"] == chosen
        rows.append(
            (f"strength {point['strength']:g}{', this run' if own else ''}", cells(point), own)
        )
    return rows
