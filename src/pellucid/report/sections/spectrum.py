"""Spectra: how much of each spatial frequency survives, and whether it is the right detail."""

from __future__ import annotations

from pellucid.report.charts import Rule, Series, line_chart
from pellucid.report.contents import RunContents, mapping
from pellucid.report.page import Html, Section, fill
from pellucid.report.wording import finite, is_number, percent


def section(contents: RunContents) -> Section:
    """Draw the radial power ratio and coherence over spatial frequency."""
    spectrum = mapping(contents.evaluated("spectrum"))
    frequency = spectrum.get("frequency")
    charts = []
    if isinstance(frequency, list) and all(is_number(f) for f in frequency):
        charts = _charts(frequency, spectrum)
    html = fill(
        "spectrum.html.j2", charts=charts, words=_words(frequency, spectrum), run=contents.path
    )
    return Section("spectra", "Spectra", html)


def _charts(frequency: list[float], spectrum: object) -> list[Html]:
    node = mapping(spectrum)
    charts = []
    for key, name, y_label in (
        ("ratio", "Power kept", "power of x̂ / power of x"),
        ("coherence", "Coherence", "squared coherence of x̂ with x"),
    ):
        values = node.get(key)
        if not isinstance(values, list) or len(values) != len(frequency) or not finite(values):
            continue
        series = [Series(name, frequency, values, colour=len(charts), dots=False)]
        charts.append(
            line_chart(
                name,
                series,
                x_label="spatial frequency, cycles per pixel",
                y_label=y_label,
                zero=True,
                rules=[Rule(1.0, "faithful")],
            )
        )
    return charts


def _words(frequency: object, spectrum: object) -> str:
    """Say where the reconstruction loses half of the power, if it does."""
    ratio = mapping(spectrum).get("ratio")
    if not isinstance(frequency, list) or not isinstance(ratio, list):
        return ""
    for f, r in zip(frequency, ratio, strict=False):
        if is_number(f) and is_number(r) and f > 0 and r < 0.5:
            where = f"{f:.2f} cycles per pixel ({percent(2 * f)} of the finest detail)"
            return f"Half of the power is lost from {where} upwards: finer texture is smoothed."
    return "At every measured frequency at least half of the power is kept."
