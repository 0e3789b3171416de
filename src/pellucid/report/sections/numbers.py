"""Key numbers: each with its interval and the convention it was measured under."""

from __future__ import annotations

import dataclasses

from pellucid.report.charts import Series, line_chart
from pellucid.report.contents import RunContents, mapping, measured
from pellucid.report.page import Html, Section, fill
from pellucid.report.tree import tree
from pellucid.report.wording import (
    count,
    finite,
    interval,
    is_number,
    number,
    percent,
    places_for,
    short_unit,
    title,
)


@dataclasses.dataclass(frozen=True)
class Card:
    """One number as printed."""

    name: str
    text: str
    unit: str
    spread: str
    samples: str
    convention: str


def section(contents: RunContents) -> Section:
    """Show every metric of evaluation.json."""
    metrics = mapping(contents.evaluated("metrics"))
    cards = [card(str(name), node) for name, node in metrics.items()]
    html = fill(
        "numbers.html.j2",
        charts=_one_by_one(contents),
        one_by_one="Clip by clip" if contents.is_audio else "Image by image",
        colour=_colour(contents),
        labels=_labels(contents),
        precision=contents.evaluated("precision"),
        cards=cards,
        weights=contents.evaluated("weights"),
        split=contents.evaluated("split"),
        run=contents.path,
    )
    return Section("numbers", "Key numbers", html)


def _one_by_one(contents: RunContents) -> list[Html]:
    """Draw the metrics of every held-out image or clip, sorted: what a mean hides."""
    one, names = ("clip", ("pesq", "stoi")) if contents.is_audio else ("image", ("psnr", "ssim"))
    samples = mapping(contents.evaluated("samples"))
    charts = []
    for name in names:
        column = samples.get(name)
        values = sorted(finite(column)) if isinstance(column, list) else []
        if len(values) < 3:
            continue
        share = [100 * (k + 0.5) / len(values) for k in range(len(values))]
        chart = line_chart(
            f"{title(name)} of every held-out {one}, worst first",
            [Series(title(name), share, values, filled=True)],
            x_label=f"share of the {one}s, %",
            y_label="dB" if name == "psnr" else title(name),
            x_ends=(0, 100),
        )
        charts.append(chart)
    return charts


def _labels(contents: RunContents) -> Html | None:
    """Return a table of the metrics per label, worst PSNR first."""
    found = [
        {"Label": label, **{title(str(key)): value for key, value in mapping(node).items()}}
        for label, node in mapping(contents.evaluated("labels")).items()
    ]
    found.sort(key=lambda row: row["PSNR"] if is_number(row.get("PSNR")) else float("inf"))
    return tree(found) if found else None


def _colour(contents: RunContents) -> Html | None:
    """Return a table of colour and grayscale images apart, where there are both."""
    found = []
    for name, metrics in mapping(contents.evaluated("colour")).items():
        values = {str(key): measured(node) for key, node in mapping(metrics).items()}
        kept = {title(key): value.value for key, value in values.items() if value is not None}
        n = next((value.n for value in values.values() if value is not None), 0)
        found.append({"Images": f"{name} ({count(n)})", **kept})
    return tree(found) if found else None


def card(name: str, node: object) -> Card:
    """Print one metric; a value that is not finite is said so."""
    metric = measured(node)
    convention = str(mapping(node).get("convention") or "")
    if metric is None:
        return Card(title(name), "—", "", "not finite, or not measured", "", convention)
    unit = short_unit(metric.unit)
    places = places_for(metric.value, metric.low, metric.high, metric.unit)
    spread = interval(metric.low, metric.high, places=places)
    is_share = metric.unit in ("1", "share", "ratio") and name.endswith("usage")
    text = percent(metric.value) if is_share else number(metric.value, places=places)
    samples = f"n = {count(metric.n)}" if metric.n else ""
    return Card(title(name), text, unit, spread, samples, metric.convention)
